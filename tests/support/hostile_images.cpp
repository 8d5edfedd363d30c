#include "tests/support/hostile_images.hpp"

#include <functional>

namespace noxsup::test {
namespace {

constexpr std::size_t cluster = 65536;

// Offsets of QEMU's docs/interop/qcow2.txt.
constexpr std::size_t backing_offset_at = 8, backing_size_at = 16, cluster_bits_at = 20,
                      size_at = 24, crypt_at = 32, l1_size_at = 36, l1_at = 40, refcount_at = 48,
                      refcount_clusters_at = 56, snapshots_at = 60, snapshots_offset_at = 64,
                      incompatible_at = 72, refcount_order_at = 96, header_length_at = 100,
                      extensions_at = 104;

using Change = std::function<void(std::string&)>;

HostileImage changed(std::string name, const Change& change) {
    auto bytes = honest_qcow2();
    change(bytes);
    return {std::move(name), std::move(bytes)};
}

HostileImage with_backing(const std::string& backing) {
    return changed("backing file " + backing, [&backing](std::string& bytes) {
        constexpr std::size_t at = 1024;
        bytes.replace(at, backing.size(), backing);
        put_be64(bytes, backing_offset_at, at);
        put_be32(bytes, backing_size_at, static_cast<std::uint32_t>(backing.size()));
    });
}

HostileImage starting_with(std::string name, std::string_view magic, std::size_t offset = 0) {
    std::string bytes(2 * cluster, '\0');
    bytes.replace(offset, magic.size(), magic);
    return {std::move(name), std::move(bytes)};
}

void add_backing(std::vector<HostileImage>& images) {
    for (const auto* backing :
         {"/etc/passwd", "/dev/sda", "/dev/mem", "/proc/self/environ", "../../../../etc/shadow",
          "base.qcow2", "nbd://127.0.0.1:10809/x", "http://127.0.0.1/x", "https://example.org/x",
          "ftp://127.0.0.1/x", "ssh://root@127.0.0.1/etc/shadow", "file:/etc/passwd", "fat:rw:/etc",
          "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
          "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"host_device\",\"filename\":\"/dev/"
          "sda\"}}",
          "/dev/fdset/1", "vvfat:/", "rbd:pool/image", "\x1b[2J/etc/passwd"}) {
        images.push_back(with_backing(backing));
    }
    images.push_back(changed("backing offset without a length",
                             [](std::string& bytes) { put_be64(bytes, backing_offset_at, 1024); }));
    images.push_back(changed("backing length without an offset",
                             [](std::string& bytes) { put_be32(bytes, backing_size_at, 10); }));
    images.push_back(changed("backing offset outside the file", [](std::string& bytes) {
        put_be64(bytes, backing_offset_at, ~std::uint64_t{0});
        put_be32(bytes, backing_size_at, ~std::uint32_t{0});
    }));
}

void add_features(std::vector<HostileImage>& images) {
    const auto feature = [&images](const char* name, std::uint64_t bits) {
        images.push_back(
            changed(name, [bits](std::string& bytes) { put_be64(bytes, incompatible_at, bits); }));
    };
    feature("dirty", 1);
    feature("corrupt", 2);
    feature("external data file bit", 4);
    feature("compression bit without a type", 8);
    feature("unknown feature 5", 1U << 5U);
    feature("unknown feature 63", std::uint64_t{1} << 63U);
    feature("all features", ~std::uint64_t{0});
    images.push_back(changed("data file extension", [](std::string& bytes) {
        put_be32(bytes, extensions_at, 0x44415441);
        put_be32(bytes, extensions_at + 4, 11);
        bytes.replace(extensions_at + 8, 11, "/etc/passwd");
    }));
    images.push_back(changed("extension past the header", [](std::string& bytes) {
        put_be32(bytes, extensions_at, 0x12345678);
        put_be32(bytes, extensions_at + 4, 0xffff'fff0);
    }));
    images.push_back(changed("extension length that wraps", [](std::string& bytes) {
        put_be32(bytes, extensions_at, 0x12345678);
        put_be32(bytes, extensions_at + 4, 0xffff'ffff);
    }));
    images.push_back(changed("extensions without an end", [](std::string& bytes) {
        for (std::size_t at = extensions_at; at + 8 <= cluster; at += 8)
            put_be32(bytes, at, 0x12345678);
    }));
    images.push_back(changed("AES", [](std::string& bytes) { put_be32(bytes, crypt_at, 1); }));
    images.push_back(changed("LUKS", [](std::string& bytes) { put_be32(bytes, crypt_at, 2); }));
    images.push_back(
        changed("unknown encryption", [](std::string& bytes) { put_be32(bytes, crypt_at, 99); }));
    images.push_back(changed("internal snapshots", [](std::string& bytes) {
        put_be32(bytes, snapshots_at, 1);
        put_be64(bytes, snapshots_offset_at, 3 * cluster);
    }));
    images.push_back(changed("snapshot table outside the file", [](std::string& bytes) {
        put_be32(bytes, snapshots_at, 0xffff'ffff);
        put_be64(bytes, snapshots_offset_at, ~std::uint64_t{0} - cluster + 1);
    }));
}

void add_geometry(std::vector<HostileImage>& images) {
    const auto change32 = [&images](const char* name, std::size_t at, std::uint32_t value) {
        images.push_back(changed(name, [=](std::string& bytes) { put_be32(bytes, at, value); }));
    };
    const auto change64 = [&images](const char* name, std::size_t at, std::uint64_t value) {
        images.push_back(changed(name, [=](std::string& bytes) { put_be64(bytes, at, value); }));
    };
    change32("version 0", 4, 0);
    change32("version 4", 4, 4);
    change32("clusters of 2^0", cluster_bits_at, 0);
    change32("clusters of 2^8", cluster_bits_at, 8);
    change32("clusters of 2^22", cluster_bits_at, 22);
    change32("clusters of 2^64", cluster_bits_at, 64);
    change32("clusters of 2^4294967295", cluster_bits_at, 0xffff'ffff);
    change64("a disk of 0 bytes", size_at, 0);
    change64("a disk of 2^63 bytes", size_at, std::uint64_t{1} << 63U);
    change64("a disk of 2^64-1 bytes", size_at, ~std::uint64_t{0});
    change32("no L1 table for the disk", l1_size_at, 0);
    change32("an L1 table of 2^32 entries", l1_size_at, 0xffff'ffff);
    change64("L1 table over the header", l1_at, 0);
    change64("L1 table not aligned", l1_at, 3 * cluster + 8);
    change64("L1 table outside the file", l1_at, std::uint64_t{1} << 40U);
    change64("L1 table whose end wraps", l1_at, ~std::uint64_t{0} - cluster + 1);
    change64("L1 table over the refcount table", l1_at, cluster);
    change64("refcount table over the header", refcount_at, 0);
    change64("refcount table outside the file", refcount_at, std::uint64_t{1} << 50U);
    change32("no refcount table", refcount_clusters_at, 0);
    change32("a refcount table of 2^32 clusters", refcount_clusters_at, 0xffff'ffff);
    change32("refcounts of 2^7 bits", refcount_order_at, 7);
    change32("header length 0", header_length_at, 0);
    change32("header length beyond the cluster", header_length_at, 2 * cluster);
    change32("odd header length", header_length_at, 105);
    images.push_back(changed("L1 entry outside the file", [](std::string& bytes) {
        put_be64(bytes, 3 * cluster, (std::uint64_t{1} << 63U) | (std::uint64_t{1} << 40U));
    }));
    images.push_back(changed("L1 entry into the L1 table", [](std::string& bytes) {
        put_be64(bytes, 3 * cluster, (std::uint64_t{1} << 63U) | 3 * cluster);
    }));
    images.push_back(changed("L1 entry with reserved bits", [](std::string& bytes) {
        put_be64(bytes, 3 * cluster, (std::uint64_t{1} << 60U) | 4 * cluster);
    }));
    images.push_back(changed("two L1 entries share a table", [](std::string& bytes) {
        for (const std::size_t at : {std::size_t{0}, std::size_t{8}})
            put_be64(bytes, 3 * cluster + at, (std::uint64_t{1} << 63U) | 4 * cluster);
    }));
    images.push_back({"only the magic", honest_qcow2().substr(0, 8)});
    images.push_back({"a header of 71 bytes", honest_qcow2().substr(0, 71)});
    images.push_back({"half a cluster", honest_qcow2().substr(0, cluster / 2)});
    images.push_back({"without its tables", honest_qcow2().substr(0, cluster)});
}

void add_other_formats(std::vector<HostileImage>& images) {
    images.push_back(starting_with("VMDK, sparse", "KDMV"));
    images.push_back(starting_with("VMDK, ESX", "COWD"));
    images.push_back(
        starting_with("VMDK descriptor with a host file",
                      "# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"/etc/passwd\" 0\n"));
    images.push_back(starting_with("VHDX", "vhdxfile"));
    images.push_back(starting_with("VHD, dynamic", "conectix"));
    images.push_back(starting_with("VHD, fixed", "conectix", 2 * cluster - 512));
    images.push_back(starting_with("VDI", "\x7f\x10\xda\xbe", 0x40));
    images.push_back(starting_with("QED", std::string_view("QED\0", 4)));
    images.push_back(starting_with("Parallels", "WithoutFreeSpace"));
    images.push_back(starting_with("Parallels, extended", "WithouFreSpacExt"));
    images.push_back(starting_with("Bochs", "Bochs Virtual HD Image"));
    images.push_back(starting_with("cloop", "#!/bin/sh\n#V2.0 Format"));
    images.push_back(starting_with("LUKS disk", "LUKS\xba\xbe"));
    images.push_back(starting_with("DMG", "koly", 2 * cluster - 512));
    images.push_back(starting_with("qcow of version 1", std::string_view("QFI\xfb\0\0\0\1", 8)));
    images.push_back(starting_with("CD image", "CD001", 0x8001));
    images.push_back(starting_with("program",
                                   "\x7f"
                                   "ELF"));
    images.push_back(starting_with("zip archive", "PK\x03\x04"));
    images.push_back(starting_with("web page", "<!DOCTYPE html><html>"));
    images.push_back({"nothing but zeros", std::string(2 * cluster, '\0')});
    images.push_back({"noise", std::string(2 * cluster, 'x')});
    images.push_back({"an empty file", ""});
    images.push_back({"one byte", "Q"});
}

}  // namespace

void put_be32(std::string& bytes, std::size_t offset, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i)
        bytes.at(offset + i) = static_cast<char>(value >> (24 - 8 * i));
}

void put_be64(std::string& bytes, std::size_t offset, std::uint64_t value) {
    put_be32(bytes, offset, static_cast<std::uint32_t>(value >> 32U));
    put_be32(bytes, offset + 4, static_cast<std::uint32_t>(value));
}

std::string honest_qcow2(std::uint64_t virtual_bytes) {
    // Header, refcount table, refcount block, L1 table, and one cluster to point at.
    std::string bytes(5 * cluster, '\0');
    bytes.replace(0, 4, "QFI\xfb");
    put_be32(bytes, 4, 3);
    put_be32(bytes, cluster_bits_at, 16);
    put_be64(bytes, size_at, virtual_bytes);
    const auto per_l1 = cluster * cluster / 8;
    put_be32(bytes, l1_size_at, static_cast<std::uint32_t>((virtual_bytes + per_l1 - 1) / per_l1));
    put_be64(bytes, l1_at, 3 * cluster);
    put_be64(bytes, refcount_at, cluster);
    put_be32(bytes, refcount_clusters_at, 1);
    put_be32(bytes, refcount_order_at, 4);
    put_be32(bytes, header_length_at, 104);
    put_be64(bytes, cluster, 2 * cluster);
    for (std::size_t i = 0; i < 4; ++i) bytes.at(2 * cluster + 2 * i + 1) = 1;
    return bytes;
}

std::vector<HostileImage> hostile_images() {
    std::vector<HostileImage> images;
    add_backing(images);
    add_features(images);
    add_geometry(images);
    add_other_formats(images);
    return images;
}

}  // namespace noxsup::test
