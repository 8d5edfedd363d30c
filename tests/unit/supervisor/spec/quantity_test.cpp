#include "supervisor/spec/quantity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace noxsup::spec {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
constexpr std::uint64_t gib = std::uint64_t{1} << 30;

struct SizeCase {
    const char* text;
    std::uint64_t as_ram;   ///< bytes, bare numbers being MiB
    std::uint64_t as_disk;  ///< bytes, bare numbers being GiB
};

class SizeTest : public testing::TestWithParam<SizeCase> {};

TEST_P(SizeTest, IsAbsolute) {
    const auto ram = parse_size(GetParam().text, SizeUnit::mebibytes, "--ram");
    const auto disk = parse_size(GetParam().text, SizeUnit::gibibytes, "--disk");
    ASSERT_TRUE(ram) << ram.error().message;
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_EQ(*ram, (Amount{GetParam().as_ram, std::nullopt}));
    EXPECT_EQ(*disk, (Amount{GetParam().as_disk, std::nullopt}));
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, SizeTest,
    testing::Values(SizeCase{"512", 512 * mib, 512 * gib}, SizeCase{"1", mib, gib},
                    SizeCase{"512M", 512 * mib, 512 * mib}, SizeCase{"512m", 512 * mib, 512 * mib},
                    SizeCase{"512MiB", 512 * mib, 512 * mib},
                    SizeCase{"512MB", 512 * mib, 512 * mib},
                    SizeCase{"1.5G", 1536 * mib, 1536 * mib}, SizeCase{"1.0G", gib, gib},
                    SizeCase{"2T", 2048 * gib, 2048 * gib}, SizeCase{"0.5k", 512, 512},
                    SizeCase{"1073741824B", gib, gib}, SizeCase{"0010G", 10 * gib, 10 * gib}));

struct ShareCase {
    const char* text;
    double share;
};

class ShareTest : public testing::TestWithParam<ShareCase> {};

TEST_P(ShareTest, IsAShareOfTheHost) {
    const auto size = parse_size(GetParam().text, SizeUnit::mebibytes, "--ram");
    const auto cpus = parse_cpus(GetParam().text, "--cpus");
    ASSERT_TRUE(size) << size.error().message;
    ASSERT_TRUE(cpus) << cpus.error().message;
    EXPECT_DOUBLE_EQ(size->share.value_or(0), GetParam().share);
    EXPECT_DOUBLE_EQ(cpus->share.value_or(0), GetParam().share);
}

INSTANTIATE_TEST_SUITE_P(Shares, ShareTest,
                         testing::Values(ShareCase{"0.5", 0.5}, ShareCase{"50%", 0.5},
                                         ShareCase{"100%", 1}, ShareCase{"12.5%", 0.125},
                                         ShareCase{"0.01", 0.01}));

class NonsenseTest : public testing::TestWithParam<const char*> {};

TEST_P(NonsenseTest, IsNoSizeAndTheFlagIsNamed) {
    const auto size = parse_size(GetParam(), SizeUnit::gibibytes, "--disk");
    ASSERT_FALSE(size) << "taken as " << size->absolute;
    EXPECT_EQ(size.error().code, ErrorCode::invalid_size);
    EXPECT_THAT(size.error().message, HasSubstr("--disk"));
}

TEST_P(NonsenseTest, IsNoNumberOfCpus) {
    const auto cpus = parse_cpus(GetParam(), "--cpus");
    ASSERT_FALSE(cpus);
    EXPECT_EQ(cpus.error().code, ErrorCode::cpus_out_of_range);
}

INSTANTIATE_TEST_SUITE_P(Nonsense, NonsenseTest,
                         testing::Values("", " ", "0", "-1", "+1", "1.5", "1.", ".5", "0.0", "0%",
                                         "101%", "%", "1e3", "1,5G", "G", "5 G", "5GG", "5X",
                                         "0x10", "1.2.3G", "inf", "nan", "99999999999999999999",
                                         "5G\n", "5%%"));

TEST(QuantityTest, OnePointZeroIsRefusedWithBothSpellings) {
    for (const auto& error :
         {parse_size("1.0", SizeUnit::gibibytes, "--disk").error(),
          parse_cpus("1.0", "--cpus").error(), parse_cpus("1.00", "--cpus").error()}) {
        EXPECT_THAT(error.message, HasSubstr("could mean one or the whole host"));
        EXPECT_THAT(error.hint, HasSubstr("100%"));
        EXPECT_THAT(error.hint, HasSubstr("write 1"));
    }
}

TEST(QuantityTest, ASizeThatDoesNotFitIsRefused) {
    for (const auto* text : {"9000000000G", "18446744073709551615", "9223372036854775807K"}) {
        const auto size = parse_size(text, SizeUnit::gibibytes, "--disk");
        ASSERT_FALSE(size) << text << " " << size->absolute;
        EXPECT_THAT(size.error().message, HasSubstr("too large"));
    }
}

TEST(QuantityTest, OneCpuIsOneCpu) {
    const auto cpus = parse_cpus("1", "--cpus");
    ASSERT_TRUE(cpus);
    EXPECT_EQ(resolve_cpus(*cpus, 16), 1U);
}

TEST(QuantityTest, SharesAreTakenOfTheHost) {
    EXPECT_EQ(resolve_cpus({0, 0.5}, 4), 2U);
    EXPECT_EQ(resolve_cpus({0, 0.01}, 4), 1U);
    EXPECT_EQ(resolve_cpus({0, 1.0}, 4), 4U);
    EXPECT_EQ(resolve_size({0, 0.5}, 4 * gib + 1), 2 * gib);
    EXPECT_EQ(resolve_size({0, 0.001}, 10 * mib), mib);
    EXPECT_EQ(resolve_size({3 * mib, std::nullopt}, gib), 3 * mib);
}

TEST(QuantityTest, ErrorsAreSafeToShow) {
    const auto size = parse_size("5\x1b[31m", SizeUnit::gibibytes, "--disk");
    ASSERT_FALSE(size);
    EXPECT_EQ(size.error().message.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace noxsup::spec
