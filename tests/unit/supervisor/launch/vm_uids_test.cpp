#include "supervisor/launch/vm_uids.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(UidRangeTest, TwoNumbersAreARange) {
    const auto range = parse_uid_range("70000-79999");
    ASSERT_TRUE(range);
    EXPECT_EQ(*range, default_vm_uids);
    EXPECT_EQ(*parse_uid_range(" 200000 - 200000 "), (UidRange{200'000, 200'000}));
}

TEST(UidRangeTest, WhatIsTheSystemsIsRefused) {
    for (const auto* text : {"", "-", "70000", "70000-", "-70000", "0-100", "999-2000", "a-b",
                             "80000-70000", "65000-66000", "65534-65534", "65535-70000",
                             "70000-4294967294", "70000-99999999999", "70000-80000x"}) {
        const auto range = parse_uid_range(text);
        ASSERT_FALSE(range) << text;
        EXPECT_EQ(range.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(range.error().hint, HasSubstr("70000-79999"));
    }
}

TEST(UidRangeTest, SubordinateIdsAreRead) {
    const auto ranges = parse_subordinate_ids(
        "alice:100000:65536\nbroken\nbob:70000:1\nnone:5:0\nx:y:z\nlast:4294967290:100\n");
    EXPECT_THAT(ranges, ElementsAre(UidRange{100'000, 165'535}, UidRange{70'000, 70'000},
                                    UidRange{4'294'967'290, 4'294'967'295}));
}

TEST(UidRangeTest, AUserNamespaceMayLackTheRange) {
    EXPECT_TRUE(maps_uids("         0          0 4294967295\n", default_vm_uids));
    EXPECT_FALSE(maps_uids("         0     100000      65536\n", default_vm_uids));
    EXPECT_FALSE(maps_uids("0 1000 1\n", default_vm_uids));
    EXPECT_FALSE(maps_uids("0 100000 75000\n", default_vm_uids)) << "a part is not enough";
    EXPECT_TRUE(maps_uids("0 100000 1000\n1000 200000 100000\n", default_vm_uids));
    EXPECT_FALSE(maps_uids("", default_vm_uids));
}

TEST(ChooseUidTest, AVmGetsTheSameOneAsLongAsItIsFree) {
    const auto all = [](uid_t) { return true; };
    const auto first = choose_uid(default_vm_uids, "3f2a9c41", all);
    ASSERT_TRUE(first);
    EXPECT_TRUE(default_vm_uids.contains(*first));
    EXPECT_EQ(*choose_uid(default_vm_uids, "3f2a9c41", all), *first);
    EXPECT_NE(*choose_uid(default_vm_uids, "3f2a9c42", all), *first);
    const auto next = choose_uid(default_vm_uids, "3f2a9c41", [&](uid_t u) { return u != *first; });
    EXPECT_EQ(*next, *first + 1);
}

TEST(ChooseUidTest, EveryUidIsGivenOutOnceAndThenItSaysSo) {
    const UidRange range{70'000, 70'006};
    std::set<uid_t> given;
    for (int i = 0; i < 7; ++i) {
        const auto uid = choose_uid(range, "0000000" + std::to_string(i * 3 % 10),
                                    [&](uid_t candidate) { return !given.contains(candidate); });
        ASSERT_TRUE(uid);
        EXPECT_TRUE(range.contains(*uid));
        EXPECT_TRUE(given.insert(*uid).second);
    }
    const auto none = choose_uid(range, "1", [&](uid_t uid) { return !given.contains(uid); });
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::no_uids);
    EXPECT_EQ(exit_code_of(none.error().code), 7);
    EXPECT_THAT(none.error().message, HasSubstr("70000-70006"));
    EXPECT_THAT(none.error().hint, HasSubstr("vm_uids"));
}

}  // namespace
}  // namespace noxsup::launch
