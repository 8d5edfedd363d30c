#include "imaging/nocloud.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/nocloud_json.hpp"
#include "supervisor/base/json.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/seed_sample.hpp"

namespace noxsup::imaging {
namespace {

using test::sample_seed;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// Compares with tests/golden/seed/NAME.
void expect_golden(const std::string& name, const std::string& text) {
    test::expect_golden(text, "seed/" + name);
}

Json config_of(const SeedSpec& spec) {
    const auto seed = make_seed(spec);
    if (!seed) throw std::runtime_error(seed.error().message);
    constexpr std::string_view header = "#cloud-config\n";
    if (!seed->user_data.starts_with(header)) throw std::runtime_error("no cloud-config");
    return Json::parse(seed->user_data.substr(header.size()));
}

Error error_of(const SeedSpec& spec) {
    const auto seed = make_seed(spec);
    if (seed) throw std::runtime_error("no error");
    return seed.error();
}

TEST(YamlSafeJson, EscapesWhatYamlReadsDifferentlyAndNothingElse) {
    const std::string text =
        "\x7f\xc2\x80\xc2\x85\xc2\xa0\xc2\xa1\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf"
        "\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf\xf0\x9f\x98\x80\xef\xbb\xbc";
    EXPECT_EQ(yaml_safe_json(text),
              "\"\\u007f\\u0080\\u0085\\u00a0\xc2\xa1\xe2\x80\xa7\\u2028\\u2029\\ufeff"
              "\xef\xbf\xbd\\ufffe\\uffff\xf0\x9f\x98\x80\xef\xbb\xbc\"\n");
}

TEST(CheckOneLine, RefusesControlsAndWhatIsNotUtf8) {
    EXPECT_TRUE(check_one_line("caf\xc3\xa9 \"x\" {{ }} #", "the name"));
    for (const auto& text :
         {std::string("a\0b", 3), std::string("a\nb"), std::string("\t"), std::string("\x7f"),
          std::string("\xff"), std::string("\xed\xa0\x80"), std::string("\x1b[0m")}) {
        const auto checked = check_one_line(text, "the name");
        ASSERT_FALSE(checked);
        EXPECT_THAT(checked.error().message, StartsWith("the name"));
        EXPECT_THAT(checked.error().message, Not(HasSubstr("\x1b")));
    }
}

TEST(MakeSeed, GivesTheGoldenFiles) {
    const auto seed = make_seed(sample_seed());
    ASSERT_TRUE(seed) << seed.error().message;
    expect_golden("dhcp.user-data", seed->user_data);
    expect_golden("dhcp.meta-data", seed->meta_data);
    expect_golden("dhcp.network-config", seed->network_config);
}

TEST(MakeSeed, GivesTheGoldenFilesWithEverythingSet) {
    const auto seed = make_seed(test::full_sample_seed());
    ASSERT_TRUE(seed) << seed.error().message;
    expect_golden("full.user-data", seed->user_data);
    expect_golden("full.meta-data", seed->meta_data);
    expect_golden("full.network-config", seed->network_config);
}

TEST(MakeSeed, OfSeveralCardsTheFirstLeadsOut) {
    auto spec = sample_seed();
    spec.networks = {{"52:54:00:00:00:01", {}}, {"52:54:00:00:00:02", {}}};
    const auto config = Json::parse(make_seed(spec)->network_config)["ethernets"];
    EXPECT_EQ(config["nic0"]["dhcp4-overrides"]["route-metric"], 100);
    EXPECT_EQ(config["nic1"]["dhcp4-overrides"]["route-metric"], 200);
    // A card of a network without DHCP is to cost no boot two minutes.
    EXPECT_FALSE(config["nic0"].contains("optional"));
    EXPECT_EQ(config["nic1"]["optional"], true);
}

TEST(MakeSeed, ALeaseBringsNoHostNameButAsTheVendorsSeedsDo) {
    auto spec = sample_seed();
    spec.networks = {{"52:54:00:00:00:01", {}}};
    const auto card_of = [&spec] {
        return Json::parse(make_seed(spec)->network_config)["ethernets"]["nic0"];
    };
    EXPECT_EQ(card_of()["dhcp4-overrides"], Json({{"use-hostname", false}}));
    spec.stock = true;
    EXPECT_FALSE(card_of().contains("dhcp4-overrides"));
}

TEST(MakeSeed, ADomainIsSearchedWhereOneIsSaid) {
    auto spec = sample_seed();
    spec.networks = {{"52:54:00:00:00:01", {}, {"vm.internal"}}, {"52:54:00:00:00:02", {}}};
    const auto config = Json::parse(make_seed(spec)->network_config)["ethernets"];
    EXPECT_EQ(config["nic0"]["nameservers"], (Json{{"search", {"vm.internal"}}}));
    EXPECT_FALSE(config["nic1"].contains("nameservers"));
    spec.networks[0].search = {"a\nb"};
    EXPECT_FALSE(make_seed(spec));
}

TEST(MakeSeed, LocksThePasswordUnlessAsked) {
    auto spec = sample_seed();
    EXPECT_EQ(config_of(spec)["users"][0]["lock_passwd"], true);
    EXPECT_FALSE(config_of(spec)["users"][0].contains("passwd"));
    spec.password_hash = "$y$j9T$salt$hash";
    EXPECT_EQ(config_of(spec)["users"][0]["lock_passwd"], false);
    EXPECT_EQ(config_of(spec)["users"][0]["passwd"], "$y$j9T$salt$hash");
    EXPECT_EQ(config_of(spec)["ssh_pwauth"], false) << "the password is for the console";
    // cloud-init finds nothing to change there, so it leaves the ssh server running.
    const auto file = config_of(spec)["write_files"].at(0);
    EXPECT_EQ(file["path"], "/etc/ssh/sshd_config.d/50-cloud-init.conf");
    EXPECT_EQ(file["content"], "PasswordAuthentication no\n");
}

TEST(MakeSeed, RefusesControlCharactersInEachField) {
    const std::vector<void (*)(SeedSpec&)> spoilers{
        [](SeedSpec& s) { s.name = "a\nb"; },
        [](SeedSpec& s) { s.instance_id = std::string("\0", 1); },
        [](SeedSpec& s) { s.user = "a\tb"; },
        [](SeedSpec& s) { s.authorized_keys.emplace_back("ssh-rsa A\nruncmd: x"); },
        [](SeedSpec& s) { s.authorized_keys.emplace_back("  "); },
        [](SeedSpec& s) { s.host_key_private = "a\rb"; },
        [](SeedSpec& s) { s.host_key_public = "a\nb"; },
        [](SeedSpec& s) { s.password_hash = "\x01"; },
        [](SeedSpec& s) { s.networks[0].mac = "\xff"; },
        [](SeedSpec& s) {
            s.networks[0].address = {"1\n", {}, {}};
        },
        [](SeedSpec& s) {
            s.networks[0].address = {"1", "\n", {}};
        },
        [](SeedSpec& s) {
            s.networks[0].address = {"1", {}, {"\n"}};
        },
    };
    for (std::size_t i = 0; i < spoilers.size(); ++i) {
        auto spec = sample_seed();
        spoilers[i](spec);
        EXPECT_EQ(error_of(spec).code, ErrorCode::invalid_argument) << "spoiler " << i;
    }
}

TEST(CheckUserName, FollowsUseraddsRule) {
    for (const auto* good : {"nox", "_apt", "a-b_c9", "abcdefghijklmnopqrstuvwxyz012345"}) {
        EXPECT_TRUE(check_user_name(good)) << good;
    }
    for (const auto* bad : {"", "root", "9a", "-a", "Nox", "a b", "a:b", "caf\xc3\xa9",
                            "abcdefghijklmnopqrstuvwxyz0123456"}) {
        EXPECT_EQ(check_user_name(bad).error().code, ErrorCode::invalid_argument) << bad;
    }
}

TEST(MakeSeedIso, IsSmallAndReproducible) {
    const auto seed = *make_seed(test::full_sample_seed());
    const auto iso = make_seed_iso(seed);
    ASSERT_TRUE(iso);
    EXPECT_LT(iso->size(), std::size_t{64} << 10);
    EXPECT_EQ(*iso, *make_seed_iso(seed));
    EXPECT_THAT(*iso, HasSubstr(seed.user_data));
}

}  // namespace
}  // namespace noxsup::imaging
