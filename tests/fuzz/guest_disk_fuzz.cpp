// What a guest wrote, as its kernel is taken from it: the clusters of a qcow2, a partition table, a
// boot menu, and the worker's report of all that.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "imaging/boot_report.hpp"
#include "imaging/grub_menu.hpp"
#include "imaging/partitions.hpp"
#include "imaging/qcow2_disk.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace {

using namespace noxsup;
using namespace noxsup::imaging;

void read_disk(const std::uint8_t* data, std::size_t size) {
    const UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
    if (!file || ::write(file.get(), data, size) != static_cast<ssize_t>(size)) return;
    // Also as what another one stands on.
    const std::array<int, 2> chain{file.get(), file.get()};
    auto disk = Qcow2Disk::open(chain);
    if (!disk) return;
    const auto read = [&disk](std::uint64_t offset, std::span<std::byte> out) {
        return disk->read(offset, out);
    };
    std::array<std::byte, 3000> piece{};
    for (std::uint64_t at = 0; at < (std::uint64_t{1} << 20); at += 99'991)
        static_cast<void>(disk->read(at, piece));
    static_cast<void>(disk->read(disk->size() - 1, piece));
    const auto partitions = read_partitions(read, disk->size());
    if (!partitions) return;
    for (const auto& partition : *partitions) {
        if (partition.offset + partition.bytes > disk->size()) std::abort();
    }
}

void read_menu(std::string_view text) {
    const auto entry = default_boot_entry(text, {});
    if (!entry) return;
    // What it takes must be something that the supervisor takes from the worker.
    BootReport report;
    report.entry = *entry;
    report.source = std::string(64, '0');
    if (entry->kernel.size() > 1000 || entry->initrd.size() > 1000) return;
    if (!boot_report_from_json(to_json(report))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    read_menu(text);
    if (const auto json = parse_json(text)) static_cast<void>(boot_report_from_json(*json));
    read_disk(data, size);
    return 0;
}
