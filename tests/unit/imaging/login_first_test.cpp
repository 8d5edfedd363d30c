#include "imaging/login_first.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/seed_sample.hpp"

namespace noxsup::imaging {
namespace {

using test::full_sample_seed;
using test::sample_seed;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::Not;

std::map<std::string, std::string> files_of(const SeedSpec& spec) {
    std::map<std::string, std::string> files;
    for (const auto& file : login_files(spec)) {
        EXPECT_TRUE(files.emplace(file.name, file.content).second) << file.name;
    }
    return files;
}

TEST(LoginFiles, EachValueHasAFileOfItsOwn) {
    auto spec = sample_seed();
    spec.authorized_keys.emplace_back("ssh-rsa AAAA $(reboot) ' \" `x`");
    const auto files = files_of(spec);
    EXPECT_EQ(files.at("instance-id"), spec.instance_id + "\n");
    EXPECT_EQ(files.at("name"), "testvm\n");
    EXPECT_EQ(files.at("user"), "nox\n");
    EXPECT_EQ(files.at("shell"), "/bin/bash\n");
    EXPECT_EQ(files.at("authorized-keys"),
              spec.authorized_keys[0] + "\n" + spec.authorized_keys[1] + "\n");
    EXPECT_EQ(files.at("host-key"), spec.host_key_private);
    EXPECT_EQ(files.at("host-key.pub"), spec.host_key_public + "\n");
    EXPECT_THAT(files, Not(Contains(Key("password"))));
}

TEST(LoginProgram, WritesEachValueAndTakesNoneForACommand) {
    auto spec = sample_seed();
    spec.authorized_keys = {"ssh-rsa AAAA $(reboot) ' \" `x`"};
    const auto program = login_program(login_files(spec));
    EXPECT_TRUE(program.starts_with("#!/bin/sh\nset -eu\numask 077\n"));
    EXPECT_THAT(program, HasSubstr("printf %s 'ssh-rsa AAAA $(reboot) '\\'' \" `x`\n' "
                                   ">\"$files\"/authorized-keys\n"));
    // The mark is the last thing it makes: what fails before leaves cloud-init where it was.
    EXPECT_TRUE(program.ends_with("\n: >/run/noxsup/login-first\n"));
}

TEST(LoginProgram, StepsAreTheSameForEveryVm) {
    const auto steps_of = [](const SeedSpec& spec) {
        const auto program = login_program(login_files(spec));
        return program.substr(program.find("\numask 022\n"));
    };
    EXPECT_EQ(steps_of(sample_seed()), steps_of(full_sample_seed()));
}

TEST(LoginFiles, AnAddressByDhcpIsAskedForByTheMac) {
    EXPECT_EQ(files_of(sample_seed()).at("05-noxsup-nic0.network"),
              "[Match]\nMACAddress=52:54:00:12:34:56\n\n"
              "[Network]\nLinkLocalAddressing=ipv6\nDHCP=ipv4\n\n"
              "[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseMTU=true\nRouteMetric=100\n");
}

TEST(LoginFiles, FixedAddressesComeWithGatewayAndNameServers) {
    auto spec = full_sample_seed();
    spec.networks[0].search = {"vm.internal"};
    const auto files = files_of(spec);
    EXPECT_EQ(files.at("05-noxsup-nic0.network"),
              "[Match]\nMACAddress=52:54:00:12:34:56\n\n"
              "[Network]\nLinkLocalAddressing=ipv6\nDomains=vm.internal\n"
              "Address=192.168.7.20/24\nGateway=192.168.7.1\nDNS=192.168.7.1\nDNS=9.9.9.9\n");
    EXPECT_EQ(files.at("05-noxsup-nic1.network"),
              "[Match]\nMACAddress=52:54:00:12:34:57\n\n[Link]\nRequiredForOnline=no\n\n"
              "[Network]\nLinkLocalAddressing=ipv6\nAddress=fd00::20/64\nGateway=fd00::1\n");
    EXPECT_EQ(files.at("password"), *spec.password_hash + "\n");
}

TEST(LoginFiles, OfSeveralCardsTheFirstLeadsOut) {
    auto spec = sample_seed();
    spec.networks.push_back({"52:54:00:00:00:02", {}});
    const auto files = files_of(spec);
    EXPECT_THAT(files.at("05-noxsup-nic0.network"), HasSubstr("RouteMetric=100\n"));
    EXPECT_THAT(files.at("05-noxsup-nic1.network"), HasSubstr("RouteMetric=200\n"));
}

TEST(MakeSeed, HasALoginOfItsOwnUnlessTheBootIsTheUsersOrTheVendors) {
    auto spec = sample_seed();
    const auto seed = make_seed(spec);
    ASSERT_TRUE(seed);
    EXPECT_THAT(seed->login, Contains(LoginFile{"network-config", seed->network_config}));
    const auto iso = make_seed_iso(*seed);
    ASSERT_TRUE(iso);
    EXPECT_THAT(*iso, HasSubstr(login_program(seed->login)));
    EXPECT_LT(iso->size(), std::size_t{64} << 10);
    spec.stock = true;
    EXPECT_THAT(make_seed(spec)->login, IsEmpty());
    EXPECT_THAT(make_seed(full_sample_seed())->login, IsEmpty());
}

TEST(MakeSeed, CutsTheFirstBootUnlessItIsTheVendors) {
    auto spec = sample_seed();
    EXPECT_THAT(make_seed(spec)->user_data, HasSubstr("\"grub_dpkg\""));
    spec.stock = true;
    for (const auto* key : {"grub_dpkg", "locale", "no_ssh_fingerprints", "emit_keys"}) {
        EXPECT_THAT(make_seed(spec)->user_data, Not(HasSubstr(key)));
    }
}

}  // namespace
}  // namespace noxsup::imaging
