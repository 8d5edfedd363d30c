#include <openssl/evp.h>

#include <array>
#include <optional>
#include <string_view>

#include "imaging/bytes.hpp"
#include "imaging/partitions.hpp"
#include "imaging/qcow2_disk.hpp"
#include "imaging/worker/ext_files.hpp"
#include "imaging/worker/operations.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::worker {
namespace {

using namespace std::string_view_literals;

constexpr auto menu_path = "/boot/grub/grub.cfg";
constexpr auto environment_path = "/boot/grub/grubenv";
constexpr std::size_t menu_limit = std::size_t{1} << 20;
constexpr std::size_t window_bytes = std::size_t{1} << 20;

/// libext2fs asks for blocks of 4 KiB; the disk gives a window of them at a time.
class Window {
  public:
    explicit Window(Qcow2Disk& disk) : disk_(disk) {}

    Result<> read(std::uint64_t offset, std::span<std::byte> out) {
        while (!out.empty()) {
            const auto start = offset / window_bytes * window_bytes;
            if (start != start_) {
                start_.reset();
                NOXSUP_TRY(disk_.read(start, bytes_));
                start_ = start;
            }
            const auto from = std::span(bytes_).subspan(offset - start);
            const auto length = std::min(from.size(), out.size());
            std::ranges::copy(from.first(length), out.begin());
            offset += length;
            out = out.subspan(length);
        }
        return {};
    }

  private:
    Qcow2Disk& disk_;
    std::optional<std::uint64_t> start_;
    std::vector<std::byte> bytes_ = std::vector<std::byte>(window_bytes);
};

/// The only file system with a boot menu.
Result<ExtFileSystem> find_root(const DiskRead& read, std::uint64_t disk_bytes) {
    NOXSUP_TRY_VALUE(const auto partitions, read_partitions(read, disk_bytes));
    std::optional<ExtFileSystem> root;
    for (const auto& partition : partitions) {
        auto files = ExtFileSystem::open(read, partition.offset);
        if (!files || !files->exists(menu_path)) continue;
        if (root)
            return Error{ErrorCode::invalid_argument,
                         "it has several file systems with a boot menu"};
        root = std::move(*files);
    }
    if (!root) {
        return Error{ErrorCode::invalid_argument,
                     std::string("it has no ext4 file system with ") + menu_path};
    }
    return std::move(*root);
}

/// Both are magic numbers of the kernel's boot protocols (Documentation/arch/x86/boot.rst,
/// Documentation/arch/arm64/booting.rst); QEMU unpacks a gzipped one for arm64.
std::string arch_of_kernel(std::span<const std::byte> start) {
    if (has_at(start, 0x202, "HdrS"sv)) return "amd64";
    const bool packed_efi = has_at(start, 4, "zimg"sv);
    if (has_at(start, 0x38, "ARM\x64"sv) && !packed_efi) return "arm64";
    if (has_at(start, 0, "\x1f\x8b"sv)) return "arm64";
    return {};
}

Result<std::string> sha256(std::string_view text) {
    std::array<std::byte, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes for libcrypto
    auto* const out = reinterpret_cast<unsigned char*>(digest.data());
    if (EVP_Digest(text.data(), text.size(), out, &length, EVP_sha256(), nullptr) != 1)
        return Error{ErrorCode::failed, "SHA-256 failed"};
    return to_hex(std::span<const std::byte>(digest).first(length));
}

Result<> copy(const ExtFileSystem& root, const ExtFile& file, int to) {
    return root.read(file, [to](std::span<const std::byte> piece) {
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
        const std::string_view text(reinterpret_cast<const char*>(piece.data()), piece.size());
        return write_all(to, text, "what the guest boots");
    });
}

/// Whether units reach the system by way of its initial RAM disk.
bool takes_units(const ExtFileSystem& root) {
    return root.exists("/usr/share/initramfs-tools/init") &&
           (root.exists("/usr/lib/systemd/systemd") || root.exists("/lib/systemd/systemd"));
}

Result<std::string> kernel_arch(const ExtFileSystem& root, const ExtFile& kernel) {
    std::string arch;
    bool first = true;
    const Error enough(ErrorCode::interrupted, "enough was read");
    const auto reading = root.read(kernel, [&](std::span<const std::byte> piece) -> Result<> {
        if (first) arch = arch_of_kernel(piece);
        first = false;
        return enough;
    });
    if (!reading && reading.error().code != ErrorCode::interrupted) return reading.error();
    return arch;
}

}  // namespace

Result<BootReport> read_boot(const BootRequest& request) {
    NOXSUP_TRY_VALUE(auto disk, Qcow2Disk::open(request.chain));
    Window window(disk);
    const DiskRead read = [&window](std::uint64_t offset, std::span<std::byte> out) {
        return window.read(offset, out);
    };
    NOXSUP_TRY_VALUE(const auto root, find_root(read, disk.size()));
    NOXSUP_TRY_VALUE(const auto menu, root.read_text(menu_path, menu_limit));
    std::string environment;
    if (root.exists(environment_path)) {
        NOXSUP_TRY_VALUE(environment, root.read_text(environment_path, menu_limit));
    }
    BootReport report;
    NOXSUP_TRY_VALUE(report.entry, default_boot_entry(menu, environment));
    NOXSUP_TRY_VALUE(const auto kernel, root.find(report.entry.kernel));
    NOXSUP_TRY_VALUE(const auto initrd, root.find(report.entry.initrd));
    if (kernel.bytes > request.max_file_bytes || initrd.bytes > request.max_file_bytes)
        return Error{ErrorCode::invalid_argument, "its kernel or initial RAM disk is too large"};
    report.takes_units = takes_units(root);
    NOXSUP_TRY_VALUE(report.kernel_arch, kernel_arch(root, kernel));
    const auto& entry = report.entry;
    NOXSUP_TRY_VALUE(report.source, sha256(join({root.uuid(), entry.kernel, kernel.marks,
                                                 entry.initrd, initrd.marks, entry.command_line},
                                                "\n")));
    if (request.kernel_fd < 0 || report.source == request.known) return report;
    NOXSUP_TRY(copy(root, kernel, request.kernel_fd));
    NOXSUP_TRY(copy(root, initrd, request.initrd_fd));
    report.copied = true;
    return report;
}

}  // namespace noxsup::imaging::worker
