#include "imaging/worker_client.hpp"

#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "imaging/worker_protocol.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// Where cmake put things; only a program that runs from the build tree looks there.
constexpr const char* build_directory = NOXSUP_IMAGING_BUILD_DIR;
constexpr const char* source_scripts = NOXSUP_IMAGING_SCRIPTS_DIR;
constexpr const char* install_directory = NOXSUP_IMAGING_LIBEXEC_DIR;

std::vector<fs::path> libexec_candidates(const std::string& name) {
    std::vector<fs::path> places;
    if (const char* own = std::getenv("NOXSUP_LIBEXEC"); own != nullptr && *own != '\0') {
        places.push_back(fs::path(own) / name);
    }
    std::error_code ignored;
    const auto program = fs::read_symlink("/proc/self/exe", ignored);
    places.push_back(program.parent_path().parent_path() / "libexec" / "noxsup" / name);
    if (program.string().starts_with(std::string(build_directory) + "/")) {
        places.push_back(fs::path(build_directory) / "imaging" / name);
        places.push_back(fs::path(source_scripts) / name);
    }
    places.push_back(fs::path(install_directory) / "noxsup" / name);
    return places;
}

/// What a proxy needs to know passes on; everything else of our environment stays here.
std::vector<std::string> proxy_environment() {
    std::vector<std::string> environment;
    for (const auto* name : {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY",
                             "no_proxy", "NO_PROXY"}) {
        if (const char* value = std::getenv(name))
            environment.push_back(std::string(name) + "=" + value);
    }
    return environment;
}

}  // namespace

Result<fs::path> find_libexec(const std::string& name) {
    const auto places = libexec_candidates(name);
    std::vector<std::string> looked;
    for (const auto& place : places) {
        if (::access(place.c_str(), X_OK) == 0) return place;
        looked.push_back(place.string());
    }
    Error error(ErrorCode::host_lacks_tool, name + " is not installed",
                "install noxsup with 'cmake --install'");
    for (auto& place : looked) error.evidence.push_back("looked at " + std::move(place));
    return error;
}

/// One run of the worker.
struct WorkerClient::Call {
    explicit Call(std::string name) : subcommand(std::move(name)) {}
    std::string subcommand;
    Json request = Json::object();
    std::vector<int> descriptors;
    std::vector<std::string> environment;
    std::chrono::steady_clock::duration deadline = 4h;
};

WorkerClient::WorkerClient(CommandRunner& runner, fs::path program)
    : runner_(runner), program_(std::move(program)) {}

asio::awaitable<Result<Json>> WorkerClient::run(Call call, ProgressCallback progress) {
    if (program_.empty()) {
        NOXSUP_CO_TRY_VALUE(program_, find_libexec("noxsup-worker"));
    }
    WorkerAnswer answer(std::move(progress));
    Command command;
    command.argv = {program_.string(), call.subcommand};
    command.input = dump_json(call.request);
    for (const int fd : call.descriptors) {
        if (fd >= 0) command.inherit.push_back(fd);
    }
    command.environment = std::move(call.environment);
    command.deadline = call.deadline;
    command.on_output = [&answer](std::string_view piece) { answer.feed(piece); };
    auto running = runner_.run(command);
    auto output = co_await std::move(running);
    if (!output) co_return std::move(output).error();
    auto result = answer.take();
    if (result) co_return result;
    auto error = std::move(result).error();
    // Without an answer its end says more: a signal, a failed start.
    if (error.code == ErrorCode::protocol_error)
        co_return command_error(command, *output).context(call.subcommand);
    co_return error;
}

asio::awaitable<Result<FetchResult>> WorkerClient::fetch(FetchRequest request,
                                                         ProgressCallback progress) {
    Call call("fetch");
    call.request = to_json(request);
    call.descriptors = {request.output_fd, request.state_fd};
    call.environment = proxy_environment();
    call.deadline = request.text ? 2min : 24h;
    auto running = run(std::move(call), std::move(progress));
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    FetchResult result;
    NOXSUP_CO_TRY_VALUE(result.bytes, json_member<std::uint64_t>(*json, "bytes"));
    NOXSUP_CO_TRY_VALUE(result.resumed, json_member<bool>(*json, "resumed"));
    NOXSUP_CO_TRY_VALUE(result.final_url, json_member<std::string>(*json, "final_url"));
    co_return result;
}

asio::awaitable<Result<DigestResult>> WorkerClient::digest(int fd, ProgressCallback progress) {
    Call call("digest");
    call.request["fd"] = fd;
    call.descriptors = {fd};
    auto running = run(std::move(call), std::move(progress));
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    DigestResult result;
    NOXSUP_CO_TRY_VALUE(result.sha256, json_member<std::string>(*json, "sha256"));
    NOXSUP_CO_TRY_VALUE(result.sha512, json_member<std::string>(*json, "sha512"));
    NOXSUP_CO_TRY_VALUE(result.bytes, json_member<std::uint64_t>(*json, "bytes"));
    co_return result;
}

asio::awaitable<Result<ImageFacts>> WorkerClient::inspect(int fd, bool accept_raw) {
    Call call("inspect");
    call.request["fd"] = fd;
    call.request["accept_raw"] = accept_raw;
    call.descriptors = {fd};
    call.deadline = 60s;
    auto running = run(std::move(call), ProgressCallback());
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    co_return facts_from_json(*json);
}

asio::awaitable<Result<std::uint64_t>> WorkerClient::unpack(UnpackRequest request,
                                                            ProgressCallback progress) {
    Call call("unpack");
    call.request = to_json(request);
    call.descriptors = {request.input_fd, request.output_fd};
    auto running = run(std::move(call), std::move(progress));
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    co_return json_member<std::uint64_t>(*json, "bytes");
}

asio::awaitable<Result<ImageFacts>> WorkerClient::convert(ConvertRequest request,
                                                          ProgressCallback progress) {
    Call call("convert");
    call.request = to_json(request);
    call.descriptors = {request.input_fd, request.output_fd};
    auto running = run(std::move(call), std::move(progress));
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    co_return facts_from_json(*json);
}

asio::awaitable<Result<BootReport>> WorkerClient::read_boot(BootRequest request) {
    Call call("boot");
    call.request = to_json(request);
    call.descriptors = request.chain;
    call.descriptors.push_back(request.kernel_fd);
    call.descriptors.push_back(request.initrd_fd);
    call.deadline = 5min;
    auto running = run(std::move(call), ProgressCallback());
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    co_return boot_report_from_json(*json);
}

asio::awaitable<Result<std::string>> WorkerClient::check_signature(SignatureRequest request) {
    Call call("signature");
    call.request = to_json(request);
    call.descriptors = {request.data_fd, request.signature_fd, request.keyring_fd,
                        request.output_fd};
    call.deadline = 60s;
    auto running = run(std::move(call), ProgressCallback());
    auto json = co_await std::move(running);
    if (!json) co_return std::move(json).error();
    co_return json_member<std::string>(*json, "fingerprint");
}

}  // namespace noxsup::imaging
