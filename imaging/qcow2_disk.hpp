// Reads what a guest sees on its qcow2 disk: clusters of the disk, of what it stands on, or zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "imaging/qcow2_header.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// A chain of disks, read-only. What their files say of each other is not looked at: the chain is
/// what the caller says. Every offset out of them is checked against the file it leads into (QEMU
/// docs/interop/qcow2.txt, "Cluster mapping").
class Qcow2Disk {
  public:
    /// @param chain borrowed descriptors, the guest's own disk first and the base last
    /// Errors: image_invalid, image_hostile (as check_own_qcow2; extended L2 entries and zstd
    /// clusters, which are not read here), unreadable_file.
    static Result<Qcow2Disk> open(std::span<const int> chain);

    /// Fills `out` with the guest's bytes from `offset` on; beyond the disk there are zeros.
    /// Errors: image_invalid (damaged), unreadable_file.
    Result<> read(std::uint64_t offset, std::span<std::byte> out);

    [[nodiscard]] std::uint64_t size() const { return layers_.front().header.virtual_bytes; }

  private:
    struct Layer {
        int fd = -1;
        Qcow2Header header;
        std::uint64_t file_bytes = 0;
        std::vector<std::byte> l1;
        std::uint64_t l2_offset = 0;  ///< of the table below; 0: none was read yet
        std::vector<std::byte> l2;
        std::uint64_t unpacked_entry = 0;  ///< of the cluster below; 0: none
        std::vector<std::byte> unpacked;
    };

    static Result<Layer> open_layer(int fd);
    Result<> read_from(std::size_t index, std::uint64_t offset, std::span<std::byte> out);
    Result<> read_piece(std::size_t index, std::uint64_t offset, std::span<std::byte> piece);
    static Result<std::uint64_t> find_entry(Layer& layer, std::uint64_t offset);
    static Result<> unpack(Layer& layer, std::uint64_t entry);

    std::vector<Layer> layers_;
};

}  // namespace noxsup::imaging
