#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "imaging/iso9660/layout.hpp"
#include "imaging/iso9660/names.hpp"
#include "imaging/iso9660/records.hpp"
#include "imaging/iso9660/rock_ridge.hpp"
#include "imaging/iso9660/tree.hpp"
#include "imaging/iso9660/writer.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::uint32_t little32(std::string_view bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;)
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

std::uint32_t big32(std::string_view bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

std::string image_of(const std::vector<Entry>& entries, const Options& options = {}) {
    auto image = make_image(entries, options);
    if (!image) throw std::runtime_error(image.error().message);
    return *image;
}

Error error_of(const std::vector<Entry>& entries, const Options& options = {}) {
    const auto image = make_image(entries, options);
    if (image) throw std::runtime_error("no error");
    return image.error();
}

TEST(IsoRecords, NumbersStandInTheOrdersOfEcma119) {
    std::string out;
    put_both16(out, 0x1234);
    put_both32(out, 0x12345678);
    EXPECT_EQ(out, std::string("\x34\x12\x12\x34\x78\x56\x34\x12\x12\x34\x56\x78"));
}

TEST(IsoRecords, ADirectoryRecordHasEvenLengthAndPaddedIdentifier) {
    std::string out;
    put_directory_record(out, {"AB", {7, 9}, true, "xyz"}, std::chrono::sys_seconds{});
    EXPECT_EQ(out.size(), record_size(2, 3));
    EXPECT_EQ(out.size(), 40U);
    EXPECT_EQ(out[0], 40);
    EXPECT_EQ(little32(out, 2), 7U);
    EXPECT_EQ(big32(out, 6), 7U);
    EXPECT_EQ(little32(out, 10), 9U);
    EXPECT_EQ(out.substr(18, 7), std::string("\x46\x01\x01\0\0\0\0", 7)) << "1970-01-01, UTC";
    EXPECT_EQ(out[25], 2) << "directory flag";
    EXPECT_EQ(out.substr(32), std::string("\x02"
                                          "AB\0xyz\0",
                                          8));
}

TEST(IsoRecords, DatesFollowTheCalendar) {
    using namespace std::chrono;
    std::string out;
    const sys_seconds leap =
        sys_days{year{2024} / February / 29} + hours{23} + minutes{59} + seconds{58};
    put_directory_record(out, {"A", {}, false, {}}, leap);
    EXPECT_EQ(out.substr(18, 7), std::string("\x7c\x02\x1d\x17\x3b\x3a\0", 7));
    out.clear();
    put_volume_descriptor(out, {}, leap);
    EXPECT_EQ(out.substr(813, 17), std::string("2024022923595800\0", 17));
}

TEST(IsoRecords, PathRecordsDifferInByteOrderOnly) {
    std::string l;
    std::string m;
    put_path_record_l(l, {"DIR", 0x01020304, 0x0506});
    put_path_record_m(m, {"DIR", 0x01020304, 0x0506});
    EXPECT_EQ(l, std::string("\x03\0\x04\x03\x02\x01\x06\x05"
                             "DIR\0",
                             12));
    EXPECT_EQ(m, std::string("\x03\0\x01\x02\x03\x04\x05\x06"
                             "DIR\0",
                             12));
    EXPECT_EQ(l.size(), path_record_size(3));
}

TEST(RockRidge, ShortFieldsStayInTheRecordAndLongOnesContinue) {
    const auto inside = named_fields("user-data", {false, 0444, 1, 2}, 200);
    EXPECT_THAT(inside.continued, testing::IsEmpty());
    EXPECT_THAT(inside.inside, StartsWith(std::string("PX\x2c\x01", 4)));
    EXPECT_EQ(little32(inside.inside, 4), 0100444U);
    EXPECT_THAT(inside.inside, HasSubstr(std::string("NM\x0e\x01\0user-data", 14)));
    const auto outside = named_fields(std::string(192, 'x'), {false, 0444, 1, 2}, 200);
    EXPECT_EQ(outside.inside.size(), 44U);
    EXPECT_EQ(outside.continued.size(), 197U);
    EXPECT_EQ(outside.size(), 44U + ce_size);
    EXPECT_EQ(ce_field(1, 2, 3).size(), ce_size);
}

TEST(RockRidge, TheRootCarriesSpAndContinuesWithEr) {
    const auto root = root_fields({true, 0555, 2, 1});
    EXPECT_THAT(root.inside, StartsWith(std::string("SP\x07\x01\xbe\xef\0PX", 9)));
    EXPECT_THAT(root.continued, StartsWith("ER"));
    EXPECT_EQ(static_cast<unsigned char>(root.continued[2]), root.continued.size());
    EXPECT_THAT(root.continued, HasSubstr("IEEE_P1282"));
}

TEST(IsoNames, JolietTakesUcs2AndSaysWhatItDoesNotTake) {
    EXPECT_EQ(*joliet_name("a\xe2\x82\xac"), std::string("\0a\x20\xac", 4));
    EXPECT_EQ(joliet_name(std::string(64, 'x'))->size(), 128U);
    EXPECT_THAT(joliet_name(std::string(65, 'x')).error().message, HasSubstr("65 characters"));
    EXPECT_THAT(joliet_name("\xf0\x9f\x98\x80").error().message, HasSubstr("U+1F600"));
    EXPECT_THAT(joliet_name("\xff").error().message, HasSubstr("UTF-8"));
    EXPECT_THAT(joliet_name("end.").error().message, HasSubstr("dot"));
    for (const char c : std::string_view("*/:;?\\\n\x01\x1f\0", 10)) {
        EXPECT_FALSE(joliet_name(std::string("a") + c)) << static_cast<int>(c);
    }
    EXPECT_TRUE(joliet_name(" !\"#$%&'()+,-.0<=>@[]^_`{|}~\x7f"));
}

TEST(IsoNames, ShortNamesAreUniqueLevelOneNames) {
    ShortNames names;
    EXPECT_EQ(names.unique("user-data", false), "USER_DAT.;1");
    EXPECT_EQ(names.unique("user-data2", false), "USER_000.;1") << "same first eight";
    EXPECT_EQ(names.unique("USER_DAT", true), "USER_001") << "a reader drops ;1 and the dot";
    EXPECT_EQ(names.unique("a.tar.gz", false), "A_TAR.GZ;1");
    EXPECT_EQ(names.unique("a.tar.gz", true), "A_TAR_GZ");
    EXPECT_EQ(names.unique(".profile", false), "_PROFILE.;1");
    std::set<std::string> seen;
    for (int i = 0; i < 50000; ++i) {
        const auto name = names.unique("clash", false);
        ASSERT_LE(name.size(), 11U);
        ASSERT_TRUE(seen.insert(name).second) << name;
    }
}

TEST(IsoWriter, WritesTheDescriptorsWhereTheyBelong) {
    const auto image = image_of({{"user-data", "x"}}, {.volume_id = "cidata", .timestamp = {}});
    EXPECT_EQ(image.substr(0, 32768), std::string(32768, '\0')) << "system area";
    EXPECT_EQ(image.substr(32768, 7),
              "\x01"
              "CD001\x01");
    EXPECT_EQ(image.substr(32768 + 40, 32), "cidata" + std::string(26, ' '));
    EXPECT_EQ(little32(image, 32768 + 80) * 2048, image.size()) << "volume space size";
    EXPECT_EQ(big32(image, 32768 + 84), little32(image, 32768 + 80));
    const auto joliet = 32768 + 2048;
    EXPECT_EQ(image.substr(joliet, 7),
              "\x02"
              "CD001\x01");
    EXPECT_EQ(image.substr(joliet + 88, 3), "%/E");
    EXPECT_EQ(image.substr(joliet + 40, 12), std::string("\0c\0i\0d\0a\0t\0a", 12));
    EXPECT_EQ(image.substr(joliet + 2048, 7),
              "\xff"
              "CD001\x01");
}

TEST(IsoWriter, PadsNothingBeyondTheLastSector) {
    // 16 system, 3 descriptors, 4 path tables, 2 directories, 1 continuation, 1 file.
    EXPECT_EQ(image_of({{"a", "x"}}).size(), 27U * 2048);
    EXPECT_EQ(image_of({{"a", ""}}).size(), 26U * 2048);
    EXPECT_EQ(image_of({}).size(), 26U * 2048);
    EXPECT_EQ(image_of({{"a", std::string(2048, 'x')}}).size(), 27U * 2048);
    const std::string two(2049, 'x');
    EXPECT_EQ(image_of({{"a", two}}).size(), 28U * 2048);
}

TEST(IsoWriter, TheOrderOfEntriesDoesNotMatter) {
    const auto one =
        image_of({{"b/c", "1"}, {"a", "2"}, {"b", {}, true, 0755}, {"d", {}, true, 0555}});
    const auto two =
        image_of({{"d", {}, true, 0555}, {"b", {}, true, 0755}, {"a", "2"}, {"b/c", "1"}});
    EXPECT_EQ(one, two);
    EXPECT_NE(one,
              image_of({{"b/c", "1"}, {"a", "2"}, {"b", {}, true, 0700}, {"d", {}, true, 0555}}));
}

TEST(IsoWriter, DatesComeFromTheOptionAlone) {
    const auto early = image_of({{"a", "1"}});
    EXPECT_EQ(early, image_of({{"a", "1"}}));
    const Options later{.volume_id = "cidata",
                        .timestamp = std::chrono::sys_seconds{std::chrono::seconds{1700000000}}};
    EXPECT_NE(early, image_of({{"a", "1"}}, later));
}

TEST(IsoWriter, RefusesPathsThatAreNone) {
    for (const auto* path : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b"}) {
        EXPECT_EQ(error_of({{path, "x"}}).code, ErrorCode::invalid_argument) << path;
    }
    EXPECT_THAT(error_of({{"a:b", "x"}}).message, HasSubstr("'a:b'"));
}

TEST(IsoWriter, RefusesWhatClashes) {
    EXPECT_THAT(error_of({{"a", "1"}, {"a", "2"}}).message, HasSubstr("twice"));
    EXPECT_THAT(error_of({{"a", "1"}, {"a/b", "2"}}).message, HasSubstr("file and a directory"));
    EXPECT_THAT(error_of({{"a/b", "2"}, {"a", "1"}}).message, HasSubstr("file and a directory"));
    EXPECT_THAT(error_of({{"a", {}, true}, {"a", {}, true}}).message, HasSubstr("twice"));
    EXPECT_THAT(error_of({{"a", "data", true}}).message, HasSubstr("no data"));
    EXPECT_TRUE(make_image({{"a", {}, true}, {"a/b", "1"}, {"A", "2"}}, {}));
}

TEST(IsoWriter, AllowsEightLevelsAndRefusesNine) {
    EXPECT_TRUE(make_image({{"2/3/4/5/6/7/8/file", "x"}}, {}));
    EXPECT_THAT(error_of({{"2/3/4/5/6/7/8/9/file", "x"}}).message, HasSubstr("8 levels"));
    EXPECT_THAT(error_of({{"2/3/4/5/6/7/8/9", {}, true}}).message, HasSubstr("8 levels"));
}

TEST(IsoWriter, RefusesAFileOf4GiBWithoutReadingIt) {
    // Address space alone: no page of it is touched.
    const std::size_t size = std::size_t{1} << 32;
    void* const area =
        mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(area, MAP_FAILED);
    const auto error = error_of({{"big", {static_cast<const char*>(area), size}}});
    munmap(area, size);
    EXPECT_THAT(error.message, HasSubstr("4 GiB"));
    EXPECT_THAT(error.message, HasSubstr("'big'"));
}

TEST(IsoWriter, RefusesMoreDirectoriesThanPathTablesCount) {
    std::vector<Entry> entries;
    for (int i = 0; i < 65535; ++i) entries.push_back({std::to_string(i), {}, true});
    EXPECT_THAT(error_of(entries).message, HasSubstr("65,535"));
    entries.pop_back();
    // The image of so many would take 256 MiB; its plan says enough.
    const auto nodes = build_tree(entries);
    ASSERT_TRUE(nodes);
    const auto layout = plan(*nodes);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->primary.directories.size(), 65535U);
    EXPECT_EQ(layout->primary.numbers[nodes->size() - 1], 65535U);
}

TEST(IsoWriter, ChecksItsOptions) {
    EXPECT_THAT(error_of({}, {.volume_id = "", .timestamp = {}}).message, HasSubstr("volume id"));
    EXPECT_FALSE(make_image({}, {.volume_id = "12345678901234567", .timestamp = {}}));
    EXPECT_FALSE(make_image({}, {.volume_id = "caf\xc3\xa9", .timestamp = {}}));
    const std::chrono::sys_seconds before{std::chrono::seconds{-1}};
    EXPECT_THAT(error_of({}, {.volume_id = "a", .timestamp = before}).message, HasSubstr("1970"));
    EXPECT_THAT(error_of({{"a", "x", false, 010000}}).message, HasSubstr("mode"));
}

TEST(IsoWriter, ContinuationsStayInOneSectorAndBehindTheirDirectory) {
    std::vector<Entry> entries;
    for (int i = 0; i < 40; ++i) {
        std::string name = std::to_string(100 + i);
        while (name.size() < 3 + 61 * 3) name += "\xe2\x82\xac";
        entries.push_back({name, "x"});
    }
    const auto image = image_of(entries);
    const auto root = little32(image, 32768 + 156 + 2) * std::size_t{2048};
    const auto root_bytes = little32(image, 32768 + 156 + 10);
    std::size_t seen = 0;
    for (auto at = root; at < root + root_bytes;) {
        const auto length = static_cast<unsigned char>(image[at]);
        if (length == 0) {
            at = (at / 2048 + 1) * 2048;
            continue;
        }
        ASSERT_EQ(at / 2048, (at + length - 1) / 2048)
            << "a record ends in the sector it begins in";
        const auto record = std::string_view(image).substr(at, length);
        const auto ce = record.find("CE\x1c\x01");
        if (ce != std::string_view::npos) {
            ++seen;
            EXPECT_GE(little32(record, ce + 4) * std::size_t{2048}, root + root_bytes);
            EXPECT_LE(little32(record, ce + 12) + little32(record, ce + 20), 2048U);
        }
        at += length;
    }
    EXPECT_EQ(seen, 41U) << "the root's own record and forty names";
}

}  // namespace
}  // namespace noxsup::imaging::iso9660
