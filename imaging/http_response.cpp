#include "imaging/http_response.hpp"

#include <algorithm>

#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t max_head_bytes = std::size_t{64} << 10;

std::string lower(std::string_view text) {
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return result;
}

/// "HTTP/1.1 206 Partial Content" to 206, 0 for nonsense.
int parse_status(std::string_view line) {
    const auto space = line.find(' ');
    if (space == std::string_view::npos) return 0;
    const auto number = whole_number<std::uint64_t>(line.substr(space + 1, 3));
    return number && *number >= 100 && *number <= 999 ? static_cast<int>(*number) : 0;
}

Judgement refuse(ErrorCode code, std::string message, std::string hint, bool retry = false) {
    Judgement judgement;
    judgement.error = Error(code, std::move(message), std::move(hint));
    judgement.retry = retry;
    return judgement;
}

Judgement plan_of(BodyPlan plan, std::optional<std::uint64_t> total = std::nullopt) {
    Judgement judgement;
    judgement.plan = plan;
    judgement.total = total;
    return judgement;
}

Judgement too_large(std::uint64_t bytes, std::uint64_t max_bytes) {
    return refuse(ErrorCode::download_failed,
                  "the server offers " + format_bytes(bytes) + ", more than the " +
                      format_bytes(max_bytes) + " we take",
                  {});
}

Judgement judge_whole(const ResponseHead& head, std::uint64_t max_bytes, bool page) {
    if (!head.content_encoding().empty() && head.content_encoding() != "identity") {
        return refuse(ErrorCode::download_failed,
                      "the server sent an encoded answer (" +
                          escape_for_terminal(head.content_encoding()) + ")",
                      "it was asked for none; use another mirror");
    }
    const bool is_page = head.content_type().starts_with("text/html") ||
                         head.content_type().starts_with("application/xhtml");
    if (is_page && !page) {
        return refuse(ErrorCode::download_failed, "the server sent a web page instead of the file",
                      "a login page of the network, or a wrong address");
    }
    if (head.content_length().value_or(0) > max_bytes)
        return too_large(*head.content_length(), max_bytes);
    return plan_of(BodyPlan::from_start, head.content_length());
}

Judgement judge_partial(const ResponseHead& head, const ResumePoint& asked,
                        std::uint64_t max_bytes) {
    if (asked.offset == 0) {
        return refuse(ErrorCode::download_failed,
                      "the server sent a part of the file that nobody asked for", {});
    }
    const auto range = parse_content_range(head.content_range());
    const bool same = head.has_strong_etag() && head.etag() == asked.etag;
    const bool fits = range && range->first == asked.offset && range->last + 1 == range->total;
    if (!same || !fits || !head.content_encoding().empty())
        return plan_of(BodyPlan::again_from_start);
    if (range->total > max_bytes) return too_large(range->total, max_bytes);
    return plan_of(BodyPlan::append, range->total);
}

Judgement judge_unsatisfiable(const ResponseHead& head, const ResumePoint& asked) {
    const auto range = parse_content_range(head.content_range());
    const bool all_there = range && !range->first && range->total == asked.offset;
    if (asked.offset != 0 && all_there && head.has_strong_etag() && head.etag() == asked.etag) {
        return plan_of(BodyPlan::complete, range->total);
    }
    if (asked.offset != 0) return plan_of(BodyPlan::again_from_start);
    return refuse(ErrorCode::download_failed,
                  "the server answered 416 to a request without a range", {});
}

}  // namespace

bool ResponseHead::add_line(std::string_view line) {
    if (line.starts_with("HTTP/")) {
        *this = ResponseHead();
        status_ = parse_status(line);
        return true;
    }
    bytes_ += line.size();
    if (bytes_ > max_head_bytes) return false;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    const auto name = lower(trim(line.substr(0, colon)));
    const std::string value(trim(line.substr(colon + 1)));
    if (name == "etag") etag_ = value;
    if (name == "content-type") content_type_ = lower(value);
    if (name == "content-encoding") content_encoding_ = lower(value);
    if (name == "content-range") content_range_ = value;
    if (name == "content-length") content_length_ = whole_number<std::uint64_t>(value);
    return true;
}

bool ResponseHead::has_strong_etag() const {
    return etag_.size() > 2 && etag_.size() <= 256 && etag_.front() == '"' && etag_.back() == '"';
}

std::optional<ContentRange> parse_content_range(std::string_view value) {
    constexpr std::string_view unit = "bytes ";
    if (!value.starts_with(unit)) return std::nullopt;
    value = trim(value.substr(unit.size()));
    const auto slash = value.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto total = whole_number<std::uint64_t>(value.substr(slash + 1));
    if (!total) return std::nullopt;
    ContentRange range;
    range.total = *total;
    const auto span = value.substr(0, slash);
    if (span == "*") return range;
    const auto dash = span.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    range.first = whole_number<std::uint64_t>(span.substr(0, dash));
    const auto last = whole_number<std::uint64_t>(span.substr(dash + 1));
    if (!range.first || !last || *range.first > *last || *last >= *total) return std::nullopt;
    range.last = *last;
    return range;
}

Judgement judge_response(const ResponseHead& head, const ResumePoint& asked,
                         std::uint64_t max_bytes, bool page) {
    const auto status = head.status();
    if (status == 200) return judge_whole(head, max_bytes, page);
    if (status == 206) return judge_partial(head, asked, max_bytes);
    if (status == 416) return judge_unsatisfiable(head, asked);
    const auto message = "the server answered " + std::to_string(status);
    const bool busy = status == 408 || status == 429 || (status >= 500 && status <= 599);
    const bool absent =
        status == 403 || status == 404 || status == 407 || status == 410 || status == 451;
    if (busy || absent) return refuse(ErrorCode::vendor_unreachable, message, {}, busy);
    return refuse(ErrorCode::download_failed, message, {});
}

}  // namespace noxsup::imaging
