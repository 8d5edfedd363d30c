#include "imaging/qcow2_header.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/image_probe.hpp"
#include "tests/support/hostile_images.hpp"

namespace noxsup::imaging {
namespace {

using testing::HasSubstr;
using testing::Not;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Qcow2Header, ReadsAnHonestImage) {
    const auto image = test::honest_qcow2();
    const auto header = parse_qcow2_header(bytes_of(image), image.size());
    ASSERT_TRUE(header) << header.error().message;
    EXPECT_EQ(header->version, 3U);
    EXPECT_EQ(header->virtual_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(header->cluster_bytes(), 65536U);
    EXPECT_EQ(header->l1_entries, 2U);
}

TEST(Qcow2Header, ReadsVersionTwo) {
    auto image = test::honest_qcow2();
    test::put_be32(image, 4, 2);
    for (std::size_t at = 72; at < 104; at += 4) test::put_be32(image, at, 0);
    const auto header = parse_qcow2_header(bytes_of(image), image.size());
    ASSERT_TRUE(header) << header.error().message;
    EXPECT_EQ(header->header_length, 72U);
    EXPECT_EQ(header->refcount_order, 4U);
}

TEST(Qcow2Header, TakesKnownFeaturesAndExtensions) {
    auto image = test::honest_qcow2();
    // zstd: the feature bit, a header of 112 bytes with the type, then a feature name table.
    test::put_be64(image, 72, 8);
    test::put_be32(image, 100, 112);
    image[104] = 1;
    test::put_be32(image, 112, 0x6803f857);
    test::put_be32(image, 116, 5);
    EXPECT_TRUE(parse_qcow2_header(bytes_of(image), image.size()));
    image[104] = 2;
    EXPECT_FALSE(parse_qcow2_header(bytes_of(image), image.size()));
}

TEST(Qcow2Header, TellsWhatAnOverlayStandsOn) {
    auto image = test::honest_qcow2();
    EXPECT_EQ(*qcow2_backing_name(bytes_of(image)), "");
    const std::string name = "../../images/sha256-a.qcow2";
    image.replace(1000, name.size(), name);
    test::put_be64(image, 8, 1000);
    test::put_be32(image, 16, static_cast<std::uint32_t>(name.size()));
    EXPECT_EQ(*qcow2_backing_name(bytes_of(image)), name);
    EXPECT_FALSE(qcow2_backing_name(bytes_of(image.substr(0, 1010))));
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{65530}, ~std::uint64_t{0}}) {
        test::put_be64(image, 8, offset);
        EXPECT_FALSE(qcow2_backing_name(bytes_of(image))) << offset;
    }
    test::put_be64(image, 8, 1000);
    for (const std::uint32_t length : {0U, 1024U, ~0U}) {
        test::put_be32(image, 16, length);
        EXPECT_FALSE(qcow2_backing_name(bytes_of(image))) << length;
    }
    EXPECT_FALSE(qcow2_backing_name(bytes_of("QFI\xfb")));
    EXPECT_FALSE(qcow2_backing_name(bytes_of(std::string(65536, '\0'))));
}

TEST(Qcow2Header, ADiskOfOursHoldsItsOwnData) {
    auto image = test::honest_qcow2();
    test::put_be32(image, 60, 3);
    test::put_be64(image, 64, 0x10000);
    test::put_be64(image, 8, 1000);
    EXPECT_TRUE(check_own_qcow2(bytes_of(image))) << "snapshots and a base are fine";
    const auto with_features = [&image](std::uint64_t features) {
        auto other = image;
        test::put_be64(other, 72, features);
        return check_own_qcow2(bytes_of(other.substr(0, 4096)));
    };
    EXPECT_TRUE(with_features(1)) << "a QEMU that was killed";
    EXPECT_EQ(with_features(4).error().code, ErrorCode::image_hostile) << "an external data file";
    EXPECT_EQ(with_features(32).error().code, ErrorCode::image_hostile) << "unknown";
    EXPECT_EQ(with_features(2).error().code, ErrorCode::image_invalid) << "corrupt";
    test::put_be32(image, 32, 2);
    EXPECT_EQ(with_features(0).error().code, ErrorCode::image_hostile) << "encrypted";
    EXPECT_FALSE(check_own_qcow2(bytes_of(image.substr(0, 50))));
}

TEST(Qcow2Header, AnyCutIsAnErrorAndNoCrash) {
    const auto image = test::honest_qcow2();
    for (std::size_t length = 0; length < 200; ++length) {
        EXPECT_FALSE(parse_qcow2_header(bytes_of(image.substr(0, length)), length)) << length;
    }
}

TEST(Qcow2Header, EveryByteOfTheHeaderMayLie) {
    const auto honest = test::honest_qcow2();
    for (std::size_t at = 0; at < 120; ++at) {
        for (const char value : {'\x00', '\x01', '\x7f', '\x80', '\xff'}) {
            auto image = honest;
            image[at] = value;
            const auto header = parse_qcow2_header(bytes_of(image), image.size());
            if (!header) continue;
            EXPECT_LE(header->virtual_bytes, max_virtual_bytes);
            EXPECT_LE(header->l1_offset + header->l1_entries * 8, image.size());
        }
    }
}

TEST(Qcow2Header, NamesTheBackingFileWithoutItsEscapes) {
    for (const auto& image : test::hostile_images()) {
        if (!image.name.starts_with("backing file \x1b")) continue;
        const auto header = parse_qcow2_header(bytes_of(image.bytes), image.bytes.size());
        ASSERT_FALSE(header);
        EXPECT_EQ(header.error().code, ErrorCode::image_hostile);
        EXPECT_THAT(header.error().message, HasSubstr("/etc/passwd"));
        EXPECT_THAT(header.error().message, Not(HasSubstr("\x1b")));
    }
}

TEST(L1Table, HonestEntriesPass) {
    const auto image = test::honest_qcow2();
    const auto header = parse_qcow2_header(bytes_of(image), image.size());
    ASSERT_TRUE(header);
    std::string entries(16, '\0');
    EXPECT_TRUE(check_l1_entries(bytes_of(entries), *header, image.size()));
    test::put_be64(entries, 8, (std::uint64_t{1} << 63U) | 4 * 65536);
    EXPECT_TRUE(check_l1_entries(bytes_of(entries), *header, image.size()));
    test::put_be64(entries, 0, 4 * 65536);
    EXPECT_FALSE(check_l1_entries(bytes_of(entries), *header, image.size())) << "shared";
}

TEST(Identify, KnowsDisksByTheirTables) {
    std::string disk(8192, '\0');
    disk[510] = '\x55';
    disk[511] = '\xaa';
    EXPECT_EQ(identify_file(bytes_of(disk)), FileKind::unknown)
        << "a boot sector without partitions";
    disk[446 + 4] = '\x83';
    disk[446 + 12] = '\x10';
    EXPECT_EQ(identify_file(bytes_of(disk)), FileKind::raw_mbr);
    disk[446] = '\x12';
    EXPECT_EQ(identify_file(bytes_of(disk)), FileKind::unknown) << "a status byte no MBR has";
    disk.replace(512, 8, "EFI PART");
    EXPECT_EQ(identify_file(bytes_of(disk)), FileKind::raw_gpt);
    disk.replace(0, 4, "QFI\xfb");
    EXPECT_EQ(identify_file(bytes_of(disk)), FileKind::qcow2)
        << "the header counts, not the table behind it";
}

TEST(Identify, KnowsWhatToUnpack) {
    using namespace std::string_view_literals;
    for (const auto start :
         {"\xfd"
          "7zXZ\0"sv,
          "\x1f\x8b\x08"sv, "\x28\xb5\x2f\xfd"sv, "BZh9"sv, "\x04\x22\x4d\x18"sv}) {
        EXPECT_TRUE(is_packed(identify_file(bytes_of(std::string(start)))));
    }
    EXPECT_FALSE(is_packed(FileKind::zip));
    EXPECT_EQ(identify_file({}), FileKind::empty);
    EXPECT_EQ(identify_file(bytes_of(" \r\n<HTML>")), FileKind::html);
}

TEST(Identify, EveryKindHasATitle) {
    for (int kind = 0; kind <= static_cast<int>(FileKind::unknown); ++kind) {
        EXPECT_FALSE(file_kind_title(static_cast<FileKind>(kind)).empty());
    }
}

}  // namespace
}  // namespace noxsup::imaging
