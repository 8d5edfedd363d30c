#include "imaging/boot_report.hpp"

#include <algorithm>

namespace noxsup::imaging {
namespace {

constexpr std::size_t max_path = 1024;
constexpr std::size_t max_command_line = 2000;
constexpr std::size_t source_digits = 64;

bool is_line(const std::string& text, std::size_t limit) {
    return text.size() <= limit &&
           std::ranges::all_of(text, [](char c) { return c >= ' ' && c < '\x7f'; });
}

bool is_source(const std::string& text) {
    return text.size() == source_digits &&
           text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Json to_json(const BootRequest& request) {
    return {{"chain", request.chain},
            {"kernel_fd", request.kernel_fd},
            {"initrd_fd", request.initrd_fd},
            {"known", request.known},
            {"max_file_bytes", request.max_file_bytes}};
}

Json to_json(const BootReport& report) {
    return {{"kernel", report.entry.kernel},
            {"initrd", report.entry.initrd},
            {"command_line", report.entry.command_line},
            {"source", report.source},
            {"kernel_arch", report.kernel_arch},
            {"takes_units", report.takes_units},
            {"copied", report.copied}};
}

Result<BootRequest> boot_request_from_json(const Json& json) {
    BootRequest request;
    NOXSUP_TRY_VALUE(const auto chain, json_member<Json>(json, "chain"));
    for (const auto& fd : chain) {
        if (!fd.is_number_integer()) return Error{ErrorCode::protocol_error, "no descriptor"};
        request.chain.push_back(fd.get<int>());
    }
    NOXSUP_TRY_VALUE(request.kernel_fd, json_member<int>(json, "kernel_fd"));
    NOXSUP_TRY_VALUE(request.initrd_fd, json_member<int>(json, "initrd_fd"));
    NOXSUP_TRY_VALUE(request.known, json_member<std::string>(json, "known"));
    NOXSUP_TRY_VALUE(request.max_file_bytes, json_member<std::uint64_t>(json, "max_file_bytes"));
    return request;
}

Result<BootReport> boot_report_from_json(const Json& json) {
    BootReport report;
    NOXSUP_TRY_VALUE(report.entry.kernel, json_member<std::string>(json, "kernel"));
    NOXSUP_TRY_VALUE(report.entry.initrd, json_member<std::string>(json, "initrd"));
    NOXSUP_TRY_VALUE(report.entry.command_line, json_member<std::string>(json, "command_line"));
    NOXSUP_TRY_VALUE(report.source, json_member<std::string>(json, "source"));
    NOXSUP_TRY_VALUE(report.kernel_arch, json_member<std::string>(json, "kernel_arch"));
    NOXSUP_TRY_VALUE(report.takes_units, json_member<bool>(json, "takes_units"));
    NOXSUP_TRY_VALUE(report.copied, json_member<bool>(json, "copied"));
    const bool sound = is_line(report.entry.kernel, max_path) &&
                       is_line(report.entry.initrd, max_path) &&
                       is_line(report.entry.command_line, max_command_line) &&
                       is_line(report.kernel_arch, max_path) && is_source(report.source);
    if (!sound) return Error{ErrorCode::protocol_error, "a boot report that makes no sense"};
    return report;
}

}  // namespace noxsup::imaging
