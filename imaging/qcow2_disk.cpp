#include "imaging/qcow2_disk.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>

#include "imaging/bytes.hpp"

namespace noxsup::imaging {
namespace {

// "Standard Cluster Descriptor", "Compressed Clusters Descriptor" and the L1 entry.
constexpr std::uint64_t offset_mask = 0x00ff'ffff'ffff'fe00;
constexpr std::uint64_t compressed_bit = std::uint64_t{1} << 62U;
constexpr std::uint64_t zero_bit = 1;
constexpr std::uint64_t zstd_feature = 1U << 3U;
constexpr std::uint64_t sector = 512;

Error damaged(const char* what) {
    return {ErrorCode::image_invalid, std::string("the disk image is damaged: ") + what};
}

/// Up to the end of the file; what would lie behind it stays as it is.
Result<std::size_t> read_bytes(int fd, std::uint64_t offset, std::span<std::byte> out) {
    std::size_t have = 0;
    while (have < out.size()) {
        const auto got =
            ::pread(fd, out.data() + have, out.size() - have, static_cast<off_t>(offset + have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("read the disk image", errno, ErrorCode::unreadable_file);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    return have;
}

void zero(std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{0});
}

}  // namespace

Result<Qcow2Disk> Qcow2Disk::open(std::span<const int> chain) {
    Qcow2Disk disk;
    for (const int fd : chain) {
        NOXSUP_TRY_VALUE(auto layer, open_layer(fd));
        disk.layers_.push_back(std::move(layer));
    }
    if (disk.layers_.empty()) return Error{ErrorCode::invalid_argument, "a disk without a file"};
    return disk;
}

Result<Qcow2Disk::Layer> Qcow2Disk::open_layer(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return errno_error("stat", errno, ErrorCode::unreadable_file);
    Layer layer;
    layer.fd = fd;
    layer.file_bytes = static_cast<std::uint64_t>(info.st_size);
    std::vector<std::byte> start(qcow2_header_bytes);
    NOXSUP_TRY_VALUE(const auto got, read_bytes(fd, 0, start));
    start.resize(got);
    NOXSUP_TRY_VALUE(layer.header, parse_own_qcow2_header(start, layer.file_bytes));
    if (layer.header.extended_l2())
        return Error{ErrorCode::image_invalid, "a qcow2 with extended L2 entries"};
    if ((layer.header.incompatible_features & zstd_feature) != 0)
        return Error{ErrorCode::image_invalid, "a qcow2 with zstd clusters"};
    layer.l1.resize(std::size_t{layer.header.l1_entries} * 8);
    NOXSUP_TRY_VALUE(const auto l1_bytes, read_bytes(fd, layer.header.l1_offset, layer.l1));
    if (l1_bytes != layer.l1.size()) return damaged("its L1 table is cut off");
    return layer;
}

Result<> Qcow2Disk::read(std::uint64_t offset, std::span<std::byte> out) {
    return read_from(0, offset, out);
}

Result<> Qcow2Disk::read_from(std::size_t index, std::uint64_t offset, std::span<std::byte> out) {
    while (!out.empty()) {
        if (index == layers_.size() || offset >= layers_[index].header.virtual_bytes) {
            zero(out);
            return {};
        }
        const auto cluster = layers_[index].header.cluster_bytes();
        const auto length = std::min<std::uint64_t>(out.size(), cluster - offset % cluster);
        NOXSUP_TRY(read_piece(index, offset, out.first(length)));
        offset += length;
        out = out.subspan(length);
    }
    return {};
}

Result<> Qcow2Disk::read_piece(std::size_t index, std::uint64_t offset,
                               std::span<std::byte> piece) {
    auto& layer = layers_[index];
    const auto in_cluster = offset % layer.header.cluster_bytes();
    NOXSUP_TRY_VALUE(const auto entry, find_entry(layer, offset));
    if ((entry & compressed_bit) != 0) {
        NOXSUP_TRY(unpack(layer, entry));
        std::ranges::copy(std::span(layer.unpacked).subspan(in_cluster, piece.size()),
                          piece.begin());
        return {};
    }
    const auto host = entry & offset_mask;
    const bool zeros = layer.header.version >= 3 && (entry & zero_bit) != 0;
    if (zeros) {
        zero(piece);
        return {};
    }
    if (host == 0) return read_from(index + 1, offset, piece);
    if (host % layer.header.cluster_bytes() != 0) return damaged("a cluster between two others");
    NOXSUP_TRY_VALUE(const auto got, read_bytes(layer.fd, host + in_cluster, piece));
    // The last cluster of a file need not be whole.
    zero(piece.subspan(got));
    return {};
}

/// The L2 entry for a guest's offset; 0 where the layer has nothing.
Result<std::uint64_t> Qcow2Disk::find_entry(Layer& layer, std::uint64_t offset) {
    const auto cluster = layer.header.cluster_bytes();
    const auto entries = cluster / 8;
    const auto number = offset / cluster;
    if (number / entries >= layer.header.l1_entries) return std::uint64_t{0};
    const auto table = big_endian<std::uint64_t>(layer.l1, number / entries * 8) & offset_mask;
    if (table == 0) return std::uint64_t{0};
    if (table != layer.l2_offset) {
        layer.l2.resize(cluster);
        layer.l2_offset = 0;
        if (table % cluster != 0 || table > layer.file_bytes)
            return damaged("an L2 table outside the file");
        NOXSUP_TRY_VALUE(const auto got, read_bytes(layer.fd, table, layer.l2));
        if (got != cluster) return damaged("an L2 table is cut off");
        layer.l2_offset = table;
    }
    return big_endian<std::uint64_t>(layer.l2, number % entries * 8);
}

/// Inflates the cluster of a compressed entry, unless it is the one that was inflated last.
Result<> Qcow2Disk::unpack(Layer& layer, std::uint64_t entry) {
    if (entry == layer.unpacked_entry) return {};
    layer.unpacked_entry = 0;
    const auto bits = layer.header.cluster_bits;
    const auto offset_bits = 62 - (bits - 8);
    const auto host = entry & ((std::uint64_t{1} << offset_bits) - 1);
    const auto more_sectors = (entry & ~compressed_bit & ~(std::uint64_t{1} << 63U)) >> offset_bits;
    std::vector<std::byte> packed((more_sectors + 1) * sector - host % sector);
    if (host > layer.file_bytes) return damaged("a compressed cluster outside the file");
    NOXSUP_TRY_VALUE(const auto got, read_bytes(layer.fd, host, packed));
    layer.unpacked.assign(layer.header.cluster_bytes(), std::byte{0});
    z_stream stream{};
    // A raw deflate stream (zlib.h, inflateInit2: negative window bits).
    if (inflateInit2(&stream, -15) != Z_OK) return Error{ErrorCode::no_memory, "no memory"};
    // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): zlib's bytes are unsigned
    stream.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_in = static_cast<uInt>(got);
    stream.next_out = reinterpret_cast<Bytef*>(layer.unpacked.data());
    stream.avail_out = static_cast<uInt>(layer.unpacked.size());
    // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
    const int status = inflate(&stream, Z_FINISH);
    const bool whole = stream.avail_out == 0;
    inflateEnd(&stream);
    // What follows the stream in its last sector is another cluster's.
    if (!whole || (status != Z_STREAM_END && status != Z_BUF_ERROR && status != Z_OK))
        return damaged("a compressed cluster does not unpack");
    layer.unpacked_entry = entry;
    return {};
}

}  // namespace noxsup::imaging
