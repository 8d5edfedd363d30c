#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>

#include "imaging/http_response.hpp"
#include "imaging/image_probe.hpp"
#include "imaging/mirror.hpp"
#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr int max_redirects = 10;
constexpr int max_attempts_ever = 100;
constexpr std::uint64_t progress_that_counts = std::uint64_t{1} << 20;
constexpr std::uint64_t max_skipped_body = std::uint64_t{1} << 20;
constexpr auto longest_delay = std::chrono::milliseconds(30'000);

/// What the state file keeps between runs: of which answer the bytes in the part are.
struct PartState {
    std::string url;
    std::string etag;
    std::uint64_t total = 0;
};

Result<> truncate_file(int fd, std::uint64_t bytes) {
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0)
        return errno_error("truncate the download", errno);
    return {};
}

Result<> write_at(int fd, std::string_view data, std::uint64_t offset) {
    while (!data.empty()) {
        const auto put = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno_error("write the download", errno);
        data.remove_prefix(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return {};
}

PartState read_state(int fd) {
    PartState state;
    if (fd < 0 || ::lseek(fd, 0, SEEK_SET) != 0) return state;
    const auto text = read_all(fd, std::size_t{16} << 10, "download state");
    if (!text) return state;
    const auto json = parse_json(*text);
    if (!json) return state;
    auto url = json_member<std::string>(*json, "url");
    auto etag = json_member<std::string>(*json, "etag");
    const auto total = json_member<std::uint64_t>(*json, "total");
    if (!url || !etag || !total) return state;
    return PartState{std::move(*url), std::move(*etag), *total};
}

Result<> write_state(int fd, const PartState& state) {
    if (fd < 0) return {};
    Json json;
    json["url"] = state.url;
    json["etag"] = state.etag;
    json["total"] = state.total;
    NOXSUP_TRY(truncate_file(fd, 0));
    return write_at(fd, dump_json(json) + "\n", 0);
}

/// Why an attempt ended.
struct Attempt {
    enum class End { done, retry, give_up, redirect, again_from_start } end = End::retry;
    Error error;
    std::string location;
};

/// One download over as many attempts as it takes.
class Download {
  public:
    Download(const FetchRequest& request, const std::string& certificates)
        : request_(request), certificates_(certificates), report_("download") {}

    Result<FetchResult> run();

  private:
    Result<> prepare();
    Attempt attempt(const std::string& url);
    Attempt follow(std::string url);
    void configure(CURL* curl, const std::string& url);
    Attempt judge_end(CURL* curl, CURLcode code);
    bool judge_head();
    bool store(std::string_view data);
    Attempt fail(ErrorCode code, std::string message, std::string hint, Attempt::End end) const;
    Attempt transport_error(CURL* curl, CURLcode code) const;
    void pause(int failures) const;

    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);

    const FetchRequest& request_;
    const std::string& certificates_;
    ProgressReport report_;
    PartState state_;
    std::uint64_t have_ = 0;      ///< bytes of the file that are in the part
    std::uint64_t received_ = 0;  ///< in this process
    std::uint64_t skipped_ = 0;   ///< of a body that is not wanted
    ResumePoint asked_;
    ResponseHead head_;
    bool head_too_long_ = false;
    std::optional<Judgement> judgement_;
    std::optional<Error> failure_;  ///< of our own: disk full, too large, ...
    char curl_message_[CURL_ERROR_SIZE] = {};
};

Result<> Download::prepare() {
    struct stat info {};
    if (::fstat(request_.output_fd, &info) != 0) return errno_error("stat the download", errno);
    state_ = read_state(request_.state_fd);
    have_ = static_cast<std::uint64_t>(info.st_size);
    const bool usable = state_.url == request_.url && !state_.etag.empty() &&
                        (state_.total == 0 || have_ <= state_.total) && have_ <= request_.max_bytes;
    if (usable) return {};
    have_ = 0;
    state_ = PartState{};
    return truncate_file(request_.output_fd, 0);
}

void Download::configure(CURL* curl, const std::string& url) {
    const auto set = [curl](CURLoption option, auto value) {
        curl_easy_setopt(curl, option, value);
    };
    set(CURLOPT_URL, url.c_str());
    // check_image_url has judged the address; curl is told once more.
    set(CURLOPT_PROTOCOLS_STR, "https,http");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!certificates_.empty()) {
        // Const in effect: curl copies it.
        curl_blob blob{const_cast<char*>(certificates_.data()), certificates_.size(),
                       CURL_BLOB_COPY};
        set(CURLOPT_CAINFO_BLOB, &blob);
    }
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "noxsup/" NOXSUP_VERSION);
    set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(request_.connect_timeout.count()));
    set(CURLOPT_LOW_SPEED_LIMIT, 1024L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(request_.stall_timeout.count()));
    set(CURLOPT_BUFFERSIZE, 256L * 1024L);
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    set(CURLOPT_ERRORBUFFER, curl_message_);
    set(CURLOPT_HEADERFUNCTION, &Download::on_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &Download::on_body);
    set(CURLOPT_WRITEDATA, this);
    // A proxy is never asked for this machine's own addresses.
    set(CURLOPT_NOPROXY, std::getenv("no_proxy") != nullptr || std::getenv("NO_PROXY") != nullptr
                             ? static_cast<const char*>(nullptr)
                             : "localhost,127.0.0.1,::1");
}

std::size_t Download::on_header(char* data, std::size_t size, std::size_t count, void* self) {
    auto& download = *static_cast<Download*>(self);
    if (!download.head_.add_line(std::string_view(data, size * count))) {
        download.head_too_long_ = true;
        return 0;
    }
    return size * count;
}

std::size_t Download::on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& download = *static_cast<Download*>(self);
    return download.store(std::string_view(data, size * count)) ? size * count : 0;
}

/// Called once an answer's head is complete. False when the body is not wanted.
bool Download::judge_head() {
    if (judgement_)
        return judgement_->plan == BodyPlan::append || judgement_->plan == BodyPlan::from_start;
    judgement_ = judge_response(head_, asked_, request_.max_bytes, request_.page);
    if (judgement_->plan == BodyPlan::append) {
        report_.begin(have_, judgement_->total);
        return true;
    }
    if (judgement_->plan != BodyPlan::from_start) return false;
    // Empty first, then the new state: whatever cuts us off, state and bytes never belong to two
    // answers.
    have_ = 0;
    state_ = PartState{request_.url, head_.has_strong_etag() ? head_.etag() : "",
                       judgement_->total.value_or(0)};
    auto ready = truncate_file(request_.output_fd, 0);
    if (ready) ready = write_state(request_.state_fd, state_);
    if (!ready) {
        failure_ = std::move(ready).error();
        return false;
    }
    report_.begin(0, judgement_->total);
    return true;
}

bool Download::store(std::string_view data) {
    const auto status = head_.status();
    if (status >= 300 && status < 400) {
        skipped_ += data.size();
        return skipped_ <= max_skipped_body;
    }
    if (!judge_head()) return false;
    if (have_ == 0 && !request_.page) {
        const auto kind = identify_file(std::as_bytes(std::span(data.data(), data.size())));
        if (kind == FileKind::html) {
            failure_ =
                Error(ErrorCode::download_failed, "the server sent a web page instead of the file",
                      "a login page of the network, or a wrong address");
            return false;
        }
    }
    if (data.size() > request_.max_bytes - have_) {
        failure_ =
            Error(ErrorCode::download_failed, "the server sends more than the " +
                                                  format_bytes(request_.max_bytes) + " we take");
        return false;
    }
    if (auto written = write_at(request_.output_fd, data, have_); !written) {
        failure_ = std::move(written).error();
        return false;
    }
    have_ += data.size();
    received_ += data.size();
    report_.update(have_);
    return true;
}

Attempt Download::fail(ErrorCode code, std::string message, std::string hint,
                       Attempt::End end) const {
    Attempt attempt;
    attempt.end = end;
    attempt.error = Error(code, std::move(message), std::move(hint));
    return attempt;
}

Attempt Download::transport_error(CURL* curl, CURLcode code) const {
    std::string message = curl_message_[0] != '\0' ? curl_message_ : curl_easy_strerror(code);
    long verify = 0;
    curl_easy_getinfo(curl, CURLINFO_SSL_VERIFYRESULT, &verify);
    switch (code) {
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR: {
            // X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
            const bool clock = verify == 9 || verify == 10;
            return fail(
                ErrorCode::download_failed, std::move(message),
                clock ? "the host's clock may be wrong: compare 'date' with a watch"
                      : "name the authority's certificate in NOXSUP_IMAGE_CA_FILE if you trust it",
                Attempt::End::give_up);
        }
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_PROXY:
        case CURLE_SSL_CONNECT_ERROR:
            return fail(ErrorCode::vendor_unreachable, std::move(message), {}, Attempt::End::retry);
        default:
            break;
    }
    // Nothing of an answer at all: a proxy that refuses, a firewall that drops.
    const bool silent = head_.status() == 0 && received_ == 0;
    return fail(silent ? ErrorCode::vendor_unreachable : ErrorCode::download_failed,
                std::move(message), {}, Attempt::End::retry);
}

/// What one transfer came to.
Attempt Download::judge_end(CURL* curl, CURLcode code) {
    if (failure_) {
        Attempt attempt;
        attempt.end = Attempt::End::give_up;
        attempt.error = *std::exchange(failure_, std::nullopt);
        return attempt;
    }
    if (head_too_long_) {
        return fail(ErrorCode::download_failed, "the server's answer has too long a head", {},
                    Attempt::End::give_up);
    }
    const auto status = head_.status();
    if (status >= 300 && status < 400) {
        if (skipped_ > max_skipped_body) {
            return fail(ErrorCode::download_failed,
                        "the server redirects with a page that does not end", {},
                        Attempt::End::give_up);
        }
        char* location = nullptr;
        curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
        if (location == nullptr) {
            return fail(ErrorCode::download_failed,
                        "the server answered " + std::to_string(status) + " without a place to go",
                        {}, Attempt::End::give_up);
        }
        Attempt attempt;
        attempt.end = Attempt::End::redirect;
        attempt.location = location;
        return attempt;
    }
    if (status == 0 && code != CURLE_OK) return transport_error(curl, code);
    judge_head();
    if (failure_) return judge_end(curl, code);
    switch (judgement_->plan) {
        case BodyPlan::complete:
            return fail({}, {}, {}, Attempt::End::done);
        case BodyPlan::again_from_start:
            return fail({}, {}, {}, Attempt::End::again_from_start);
        case BodyPlan::refuse:
            return fail(judgement_->error.code, judgement_->error.message, judgement_->error.hint,
                        judgement_->retry ? Attempt::End::retry : Attempt::End::give_up);
        case BodyPlan::append:
        case BodyPlan::from_start:
            break;
    }
    if (code != CURLE_OK) return transport_error(curl, code);
    if (judgement_->total && have_ != *judgement_->total) {
        return fail(ErrorCode::download_failed, "the server ended early", {}, Attempt::End::retry);
    }
    return fail({}, {}, {}, Attempt::End::done);
}

/// One request, without redirects.
Attempt Download::attempt(const std::string& url) {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                   &curl_easy_cleanup);
    if (!curl) return fail(ErrorCode::failed, "libcurl did not start", {}, Attempt::End::give_up);
    configure(curl.get(), url);
    head_ = ResponseHead();
    judgement_.reset();
    skipped_ = 0;
    curl_message_[0] = '\0';
    asked_ = ResumePoint{have_, state_.etag};
    curl_slist* headers = nullptr;
    std::string range;
    if (have_ > 0) {
        range = std::to_string(have_) + "-";
        curl_easy_setopt(curl.get(), CURLOPT_RANGE, range.c_str());
        headers = curl_slist_append(headers, ("If-Range: " + state_.etag).c_str());
        curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
    }
    const auto code = curl_easy_perform(curl.get());
    auto result = judge_end(curl.get(), code);
    curl_slist_free_all(headers);
    return result;
}

/// One request with its redirects, each judged as strictly as the first address.
Attempt Download::follow(std::string url) {
    const bool secure_before = url.starts_with("https:");
    for (int hop = 0; hop <= max_redirects; ++hop) {
        auto result = attempt(url);
        if (result.end != Attempt::End::redirect) return result;
        auto allowed = check_image_url(result.location, request_.allow_http);
        if (secure_before && !result.location.starts_with("https://")) {
            allowed = Error{ErrorCode::download_failed,
                            "URL " + escape_for_terminal(result.location) + ": it leaves https"};
        }
        if (!allowed) {
            return fail(ErrorCode::download_failed,
                        "the server redirects to a place we do not go: " + allowed.error().message,
                        {}, Attempt::End::give_up);
        }
        url = result.location;
    }
    return fail(ErrorCode::download_failed, "too many redirects", {}, Attempt::End::give_up);
}

void Download::pause(int failures) const {
    const auto delay = request_.retry_delay * (1 << std::min(failures - 1, 10));
    std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(delay, longest_delay));
}

Result<FetchResult> Download::run() {
    NOXSUP_TRY(check_image_url(request_.url, request_.allow_http));
    NOXSUP_TRY(prepare());
    FetchResult result;
    result.resumed = have_ > 0;
    result.final_url = request_.url;
    auto furthest = have_;
    int failures = 0;
    for (int tries = 0; state_.total == 0 || have_ != state_.total || have_ == 0; ++tries) {
        auto outcome = follow(request_.url);
        if (outcome.end == Attempt::End::done) break;
        // Only what no attempt had before is progress: a server without ranges begins anew each
        // time.
        const bool further = have_ >= furthest + progress_that_counts;
        furthest = std::max(furthest, have_);
        if (outcome.end == Attempt::End::again_from_start) {
            have_ = 0;
            state_ = PartState{};
            result.resumed = false;
            NOXSUP_TRY(truncate_file(request_.output_fd, 0));
        }
        failures = further ? 1 : failures + 1;
        const bool last = failures >= request_.attempts || tries + 1 >= max_attempts_ever;
        if (outcome.end == Attempt::End::again_from_start && last) {
            outcome.error =
                Error(ErrorCode::download_failed, "the server keeps changing its answer");
        }
        if (outcome.end == Attempt::End::give_up || last) {
            auto& error = outcome.error;
            if (have_ > 0 && error.hint.empty())
                error.hint = "run it again: it goes on where it stopped";
            return std::move(error.context("download " + escape_for_terminal(request_.url)));
        }
        if (outcome.end == Attempt::End::again_from_start) continue;
        report_note("download", escape_for_terminal(outcome.error.message) + "; trying again");
        pause(failures);
    }
    if (::fsync(request_.output_fd) != 0) return errno_error("fsync the download", errno);
    report_.finish(have_);
    result.bytes = have_;
    return result;
}

}  // namespace

Result<FetchResult> fetch(const FetchRequest& request, const std::string& certificates) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return Error{ErrorCode::failed, "libcurl did not start"};
    }
    auto result = Download(request, certificates).run();
    curl_global_cleanup();
    return result;
}

}  // namespace noxsup::imaging::worker
