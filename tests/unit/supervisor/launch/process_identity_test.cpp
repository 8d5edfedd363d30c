#include "supervisor/launch/process_identity.hpp"

#include <gtest/gtest.h>

namespace noxsup::launch {
namespace {

TEST(ProcessIdentityTest, SurvivesJson) {
    const ProcessIdentity identity{4711, 123456789012345, "a1b2"};
    const auto back = identity_from_json(to_json(identity));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, identity);
}

TEST(ProcessIdentityTest, WrongMembersAreRefused) {
    const auto good = to_json(ProcessIdentity{4711, 1, "a"});
    for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{{"pid", 1},
                                                                              {"pid", 0},
                                                                              {"pid", -1},
                                                                              {"pid", "4711"},
                                                                              {"pid", 1e12},
                                                                              {"start_time", -1},
                                                                              {"boot_id", 7}}) {
        auto json = good;
        json[key] = value;
        EXPECT_FALSE(identity_from_json(json)) << json;
        json.erase(key);
        EXPECT_FALSE(identity_from_json(json)) << json;
    }
}

}  // namespace
}  // namespace noxsup::launch
