#include "imaging/guest_identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/seed_sample.hpp"

namespace noxsup::imaging {
namespace {

using test::full_sample_seed;
using test::sample_seed;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const IdentityFacts facts{
    "1764230000.123456789", "00112233", {{"52:54:00:00:00:01", "52:54:00:00:00:02"}}};

Seed seed_of(const SeedSpec& spec) {
    auto seed = make_seed(spec);
    EXPECT_TRUE(seed);
    return *std::move(seed);
}

std::size_t place(const std::string& text, std::string_view of) {
    const auto found = text.find(of);
    EXPECT_NE(found, text.npos) << of;
    return found;
}

TEST(GuestIdentity, EveryValueOfTheFirstLoginGoesIn) {
    auto spec = full_sample_seed();
    spec.documents.clear();
    const auto seed = seed_of(spec);
    ASSERT_FALSE(seed.login.empty());
    const auto orders = identity_orders(seed, facts);
    for (const auto& file : seed.login)
        EXPECT_THAT(orders, HasSubstr("{\"" + file.name + "\"} = \""));
    EXPECT_THAT(orders, HasSubstr("$value{\"name\"} = \"testvm\";\n"));
    EXPECT_THAT(orders, HasSubstr("$mac{\"52:54:00:00:00:01\"} = \"52:54:00:00:00:02\";\n"));
    EXPECT_THAT(orders, HasSubstr("$value{\"clock\"} = \"1764230000.123456789\";\n"));
    EXPECT_THAT(orders,
                HasSubstr("$network{\"05-noxsup-nic1.network\"} = \"[Match]\\x{0a}MACAddress="));
    EXPECT_THAT(orders, HasSubstr("\\x{24}y\\x{24}j9T")) << "the password's hash";
}

TEST(GuestIdentity, NothingOfAValueIsReadAsAProgram) {
    auto spec = sample_seed();
    spec.authorized_keys = {"ssh-rsa AAAA $(reboot) @{[die]} ' \" `x`"};
    const auto orders = identity_orders(seed_of(spec), {"1; reboot", "\"; reboot\n", {}});
    EXPECT_THAT(orders, HasSubstr("\\x{24}(reboot) \\x{40}{[die]} ' \\x{22} `x`\\x{0a}\""));
    EXPECT_THAT(orders, HasSubstr("$value{\"entropy\"} = \"\\x{22}; reboot\\x{0a}\";\n"));
}

/// Nothing reaches the network before the guest is somebody else.
TEST(GuestIdentity, TheCardsComeUpOnceThereIsAnotherGuest) {
    const auto program = settle_orders("nox", {});
    const auto identity = place(program, "sub become_another");
    const auto network = program.find("  begin_network(%card);", identity);
    ASSERT_NE(network, program.npos);
    for (const auto* before : {"  set_clock();", "  change_macs(%card);", "= mix_random_numbers();",
                               "put('/etc/machine-id'", "put('/etc/ssh/ssh_host_ed25519_key'",
                               "put('/proc/sys/kernel/hostname'", "put('/etc/netplan"}) {
        EXPECT_LT(place(program, before), network) << before;
    }
    EXPECT_LT(place(program, "put(\"/run/systemd/network/"),
              place(program, "return reload_network();"));
    EXPECT_LT(place(program, "= mix_random_numbers();"), place(program, "put('/etc/machine-id'"));
}

/// A card that comes up before networkd leaves it alone has a network of the template's.
TEST(GuestIdentity, NetworkdLeavesTheTemplatesCardsAlone) {
    const auto orders = settle_orders("nox", {"52:54:00:00:00:01"});
    const auto start = place(orders, "systemctl start systemd-networkd");
    for (const auto* before :
         {"\nwrite_networks\n", "s/^MACAddress=$mac", "/04-noxsup-hold-", "ip link set dev"}) {
        EXPECT_LT(place(orders, before), start) << before;
    }
    EXPECT_LT(start, place(orders, "ADMIN_STATE=configured"));
}

/// What would be read again behind it would be in every copy's memory.
TEST(GuestIdentity, TheBootIsForgottenOnceItHasEnded) {
    const auto orders = forget_boot_orders();
    EXPECT_LT(place(orders, "is-system-running --wait"), place(orders, "sync\n"));
    EXPECT_LT(place(orders, "sync\n"), place(orders, "echo 3 >/proc/sys/vm/drop_caches\n"));
}

TEST(GuestIdentity, SettlingKnowsNobody) {
    const auto orders = settle_orders("o'nox", {"52:54:00:00:00:01", "52:54:00:00:00:02"});
    EXPECT_THAT(orders, HasSubstr("ip link set dev"));
    EXPECT_THAT(orders, HasSubstr("virtio-pci/unbind"));
    EXPECT_THAT(orders, HasSubstr(": >/etc/machine-id\n"));
    EXPECT_THAT(orders, Not(HasSubstr("testvm")));
    EXPECT_THAT(orders, StartsWith("set -eu\ntoken=$1\nuser='o'\\''nox'\n"));
    EXPECT_THAT(orders, HasSubstr("MACAddress=52:54:00:00:00:01\n"));
    EXPECT_THAT(orders, HasSubstr("' >/run/systemd/network/05-noxsup-nic1.network\n}\n"));
    // Whoever begins behind this knows no machine-id.
    EXPECT_LT(place(orders, ": >/etc/machine-id\n"),
              place(orders, "systemctl start systemd-networkd"));
    EXPECT_LT(place(orders, ": >/etc/machine-id\n"), place(orders, "systemctl start \"user@"));
}

}  // namespace
}  // namespace noxsup::imaging
