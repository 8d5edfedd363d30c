// noxsup-worker: reads and rewrites what came from outside, in a process that may do nothing else.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string_view>

#include "imaging/worker/confine.hpp"
#include "imaging/worker/operations.hpp"
#include "imaging/worker/report.hpp"
#include "imaging/worker_protocol.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/process.hpp"

namespace noxsup::imaging::worker {
namespace {

constexpr std::uint64_t memory = std::uint64_t{768} << 20;
constexpr std::uint64_t hours = 3600;
constexpr std::uint64_t slowest_bytes_a_second = std::uint64_t{2} << 20;
constexpr std::size_t certificate_limit = std::size_t{8} << 20;
constexpr auto system_certificates = "/etc/ssl/certs/ca-certificates.crt";

/// Processor time that an honest input of this size may take on a slow machine.
std::uint64_t cpu_seconds_for(std::uint64_t bytes) {
    return 60 + bytes / slowest_bytes_a_second;
}

/// All authorities as text, or nothing where the system's default will do.
Result<std::string> read_certificates(const std::string& own_file) {
    if (own_file.empty()) return std::string();
    NOXSUP_TRY_VALUE(auto own, read_file(own_file, certificate_limit));
    if (auto system = read_file(system_certificates, certificate_limit)) own += "\n" + *system;
    return own;
}

Result<Json> run_fetch(const Json& json) {
    NOXSUP_TRY_VALUE(const auto request, fetch_request_from_json(json));
    NOXSUP_TRY_VALUE(const auto certificates, read_certificates(request.ca_file));
    Confinement confinement;
    confinement.network = true;
    confinement.max_file_bytes = std::max(request.max_bytes, std::uint64_t{64} << 10);
    confinement.max_memory_bytes = memory;
    confinement.max_cpu_seconds = hours;
    NOXSUP_TRY(confine(confinement));
    NOXSUP_TRY_VALUE(const auto result, fetch(request, certificates));
    Json answer;
    answer["bytes"] = result.bytes;
    answer["resumed"] = result.resumed;
    answer["final_url"] = result.final_url;
    return answer;
}

Confinement reader_confinement() {
    Confinement confinement;
    // Nothing is written but the answer, which may go to a file when a developer looks.
    confinement.max_file_bytes = std::uint64_t{1} << 20;
    confinement.max_memory_bytes = memory;
    confinement.max_cpu_seconds = hours;
    return confinement;
}

Result<Json> run_digest(const Json& json) {
    NOXSUP_TRY_VALUE(const auto fd, json_member<int>(json, "fd"));
    NOXSUP_TRY(confine(reader_confinement()));
    NOXSUP_TRY_VALUE(const auto result, digest(fd));
    Json answer;
    answer["sha256"] = result.sha256;
    answer["sha512"] = result.sha512;
    answer["bytes"] = result.bytes;
    return answer;
}

Result<Json> run_inspect(const Json& json) {
    NOXSUP_TRY_VALUE(const auto fd, json_member<int>(json, "fd"));
    NOXSUP_TRY_VALUE(const auto accept_raw, json_member<bool>(json, "accept_raw"));
    NOXSUP_TRY(confine(reader_confinement()));
    NOXSUP_TRY_VALUE(const auto facts, inspect_image(fd, accept_raw));
    return facts_to_json(facts);
}

Result<Json> run_unpack(const Json& json) {
    NOXSUP_TRY_VALUE(const auto request, unpack_request_from_json(json));
    auto confinement = reader_confinement();
    confinement.max_file_bytes = request.max_bytes;
    confinement.max_cpu_seconds = cpu_seconds_for(request.max_bytes);
    NOXSUP_TRY(confine(confinement));
    NOXSUP_TRY_VALUE(const auto bytes, unpack(request));
    Json answer;
    answer["bytes"] = bytes;
    return answer;
}

Result<Json> run_convert(const Json& json) {
    NOXSUP_TRY_VALUE(const auto request, convert_request_from_json(json));
    const auto program = find_program("qemu-img");
    if (!program) {
        return Error{ErrorCode::host_lacks_tool, "qemu-img is not installed",
                     "apt install qemu-utils"};
    }
    Confinement confinement;
    confinement.program = *program;
    confinement.read_again = {request.input_fd};
    confinement.write_again = {request.output_fd};
    // A qcow2 of a full disk is a little larger than the disk: tables of 8 bytes and refcounts of 2
    // a cluster.
    confinement.max_file_bytes =
        request.max_virtual_bytes + request.max_virtual_bytes / 1024 + (1U << 20U);
    confinement.max_memory_bytes = memory + qemu_img_memory;
    confinement.max_cpu_seconds = cpu_seconds_for(request.max_virtual_bytes);
    NOXSUP_TRY(confine(confinement));
    NOXSUP_TRY_VALUE(const auto facts, convert(request, *program));
    return facts_to_json(facts);
}

Result<Json> run_signature(const Json& json) {
    NOXSUP_TRY_VALUE(const auto request, signature_request_from_json(json));
    const auto program = find_program("gpgv");
    if (!program) {
        return Error{ErrorCode::host_lacks_tool,
                     "gpgv, which checks the vendor's signature, is not installed",
                     "apt install gpgv"};
    }
    auto confinement = reader_confinement();
    confinement.program = *program;
    confinement.read_again = {request.data_fd, request.keyring_fd};
    if (request.signature_fd >= 0) confinement.read_again.push_back(request.signature_fd);
    confinement.max_cpu_seconds = 60;
    NOXSUP_TRY(confine(confinement));
    NOXSUP_TRY_VALUE(const auto fingerprint, check_signature(request, *program));
    Json answer;
    answer["fingerprint"] = fingerprint;
    return answer;
}

Result<Json> run_boot(const Json& json) {
    NOXSUP_TRY_VALUE(const auto request, boot_request_from_json(json));
    auto confinement = reader_confinement();
    confinement.max_file_bytes = std::max(request.max_file_bytes, confinement.max_file_bytes);
    confinement.max_cpu_seconds = cpu_seconds_for(request.max_file_bytes);
    NOXSUP_TRY(confine(confinement));
    NOXSUP_TRY_VALUE(const auto report, read_boot(request));
    return to_json(report);
}

Result<Json> dispatch(std::string_view subcommand) {
    NOXSUP_TRY_VALUE(const auto text, read_all(STDIN_FILENO, worker_line_limit, "the request"));
    NOXSUP_TRY_VALUE(const auto json, parse_json(text));
    if (subcommand == "fetch") return run_fetch(json);
    if (subcommand == "digest") return run_digest(json);
    if (subcommand == "inspect") return run_inspect(json);
    if (subcommand == "unpack") return run_unpack(json);
    if (subcommand == "convert") return run_convert(json);
    if (subcommand == "boot") return run_boot(json);
    if (subcommand == "signature") return run_signature(json);
    return Error{ErrorCode::invalid_argument, "unknown subcommand"};
}

}  // namespace
}  // namespace noxsup::imaging::worker

#ifdef __SANITIZE_ADDRESS__
/// LeakSanitizer traces its own process, which the confinement forbids.
extern "C" int __lsan_is_turned_off() {
    return 1;
}
#endif

int main(int argc, char** argv) {
    if (argc != 2 || std::string_view(argv[1]).starts_with('-')) {
        std::cerr << "noxsup-worker is run by noxsup: noxsup-worker "
                     "fetch|digest|inspect|unpack|convert|boot|signature\n";
        return 1;
    }
    try {
        return noxsup::imaging::worker::report_answer(noxsup::imaging::worker::dispatch(argv[1]));
    } catch (const std::exception& e) {
        const noxsup::Error error(noxsup::ErrorCode::failed, e.what());
        return noxsup::imaging::worker::report_answer(noxsup::Result<noxsup::Json>(error));
    }
}
