// UEFI firmware: which files a host has, and a VM's own copy of the variables.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "supervisor/base/file.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/launch/host_facts.hpp"

namespace noxsup::launch {
namespace {

constexpr std::size_t descriptor_limit = 65536;

/// Features of firmware that does not boot unsigned systems, or needs what our machines do not
/// have.
constexpr std::array<std::string_view, 4> unwanted_features{"secure-boot", "enrolled-keys",
                                                            "requires-smm", "intel-tdx"};

bool is_regular(const std::filesystem::path& root, const std::string& path) {
    struct stat info {};
    return ::stat((root / path.substr(1)).c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

const Json& at(const Json& json, const char* key) {
    static const Json null;
    const auto found = json.is_object() ? json.find(key) : json.end();
    return found == json.end() ? null : *found;
}

bool is_string(const Json& json, std::string_view text) {
    return json.is_string() && json.get_ref<const std::string&>() == text;
}

bool targets(const Json& descriptor, spec::Arch arch) {
    const std::string_view machine = arch == spec::Arch::arm64 ? "virt-" : "pc-q35-";
    const std::string_view architecture = arch == spec::Arch::arm64 ? "aarch64" : "x86_64";
    for (const auto& target : at(descriptor, "targets")) {
        if (!is_string(at(target, "architecture"), architecture)) continue;
        for (const auto& pattern : at(target, "machines")) {
            if (pattern.is_string() && pattern.get_ref<const std::string&>().starts_with(machine))
                return true;
        }
    }
    return false;
}

/// A raw image file named by the descriptor; empty when it is of another kind or not there.
std::string raw_file(const Json& file, const std::filesystem::path& root) {
    const auto& name = at(file, "filename");
    if (!is_string(at(file, "format"), "raw") || !name.is_string()) return {};
    auto path = name.get<std::string>();
    return path.starts_with('/') && is_regular(root, path) ? path : std::string();
}

std::optional<Firmware> from_descriptor(const Json& descriptor, spec::Arch arch,
                                        const std::filesystem::path& root) {
    if (!targets(descriptor, arch)) return std::nullopt;
    for (const auto& feature : at(descriptor, "features")) {
        if (feature.is_string() &&
            std::ranges::find(unwanted_features, feature.get_ref<const std::string&>()) !=
                unwanted_features.end()) {
            return std::nullopt;
        }
    }
    const auto& mapping = at(descriptor, "mapping");
    if (!is_string(at(mapping, "device"), "flash")) return std::nullopt;
    Firmware firmware;
    firmware.code = raw_file(at(mapping, "executable"), root);
    firmware.vars_template = raw_file(at(mapping, "nvram-template"), root);
    if (firmware.code.empty() || firmware.vars_template.empty()) return std::nullopt;
    return firmware;
}

/// Descriptor files in the order of their names; one in /etc hides one of the same name in
/// /usr/share (QEMU's docs/interop/firmware.json).
std::map<std::string, std::filesystem::path> descriptor_files(const std::filesystem::path& root) {
    std::map<std::string, std::filesystem::path> files;
    for (const auto* directory : {"etc/qemu/firmware", "usr/share/qemu/firmware"}) {
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(root / directory, ignored)) {
            if (entry.path().extension() == ".json")
                files.emplace(entry.path().filename(), entry.path());
        }
    }
    return files;
}

std::vector<Firmware> known_paths(spec::Arch arch) {
    if (arch == spec::Arch::arm64) {
        return {{"/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
                {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"}};
    }
    return {{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
            {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"}};
}

/// Compares the block with itself one byte on: memcmp is many times a loop's speed over 64 MiB.
bool all_zero(std::string_view block) {
    return block.front() == '\0' &&
           std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

/// Copies blocks of 64 KiB; those of zeros are skipped. The last ftruncate gives the file its
/// length.
Result<> copy_sparse(int from, int to, const std::string& source, const std::string& destination) {
    std::vector<char> block(65536);
    off_t offset = 0;
    for (;;) {
        const auto got = ::pread(from, block.data(), block.size(), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read " + source, errno, ErrorCode::unreadable_file);
        if (got == 0) break;
        const std::string_view data(block.data(), static_cast<std::size_t>(got));
        if (!all_zero(data)) {
            if (::lseek(to, offset, SEEK_SET) < 0)
                return errno_error("seek in " + destination, errno);
            NOXSUP_TRY(write_all(to, data, destination));
        }
        offset += got;
    }
    if (::ftruncate(to, offset) != 0) return errno_error("resize " + destination, errno);
    if (::fsync(to) != 0) return errno_error("fsync " + destination, errno);
    return {};
}

}  // namespace

Result<Firmware> find_firmware(spec::Arch arch, const std::filesystem::path& root) {
    for (const auto& [name, path] : descriptor_files(root)) {
        const auto text = read_file(path, descriptor_limit);
        if (!text) continue;
        const auto descriptor = parse_json(*text);
        if (!descriptor) continue;
        if (auto firmware = from_descriptor(*descriptor, arch, root)) return *std::move(firmware);
    }
    for (auto& firmware : known_paths(arch)) {
        if (is_regular(root, firmware.code) && is_regular(root, firmware.vars_template))
            return firmware;
    }
    return Error{
        ErrorCode::host_lacks_firmware,
        "no UEFI firmware for " + std::string(spec::to_string(arch)) + " guests is installed",
        "sudo apt install " + firmware_package(arch)};
}

Result<> copy_firmware_vars(const std::filesystem::path& source,
                            const std::filesystem::path& destination) {
    NOXSUP_TRY_VALUE(const auto from, open_file(source, O_RDONLY));
    UniqueFd to(::open(destination.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!to) {
        return errno_error("make " + destination.string(), errno,
                           errno == EEXIST ? ErrorCode::already_exists : ErrorCode::io_error);
    }
    auto copied = copy_sparse(from.get(), to.get(), source.string(), destination.string());
    if (!copied) ::unlink(destination.c_str());
    return copied;
}

std::string firmware_package(spec::Arch arch) {
    return arch == spec::Arch::arm64 ? "qemu-efi-aarch64" : "ovmf";
}

}  // namespace noxsup::launch
