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

const IdentityFacts facts{"1764230000.123456789", "00112233"};

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
    EXPECT_THAT(orders, HasSubstr("$value{\"clock\"} = \"1764230000.123456789\";\n"));
    EXPECT_THAT(orders,
                HasSubstr("$network{\"05-noxsup-nic1.network\"} = \"[Match]\\x{0a}MACAddress="));
    EXPECT_THAT(orders, HasSubstr("\\x{24}y\\x{24}j9T")) << "the password's hash";
}

TEST(GuestIdentity, NothingOfAValueIsReadAsAProgram) {
    auto spec = sample_seed();
    spec.authorized_keys = {"ssh-rsa AAAA $(reboot) @{[die]} ' \" `x`"};
    const auto orders = identity_orders(seed_of(spec), {"1; reboot", "end of the program\n"});
    EXPECT_THAT(orders, HasSubstr("\\x{24}(reboot) \\x{40}{[die]} ' \\x{22} `x`\\x{0a}\""));
    EXPECT_EQ(orders.find("\nend of the program\n"), orders.size() - 20);
}

/// Nothing reaches the network before the guest is somebody else.
TEST(GuestIdentity, TheCardComesBackOnceThereIsAnotherGuest) {
    const auto orders = identity_orders(seed_of(sample_seed()), facts);
    const auto bind = place(orders, "virtio-pci/bind");
    for (const auto* before :
         {"system('date'", "ioctl($random, 0x5207", "put('/etc/machine-id'",
          "put('/etc/ssh/ssh_host_ed25519_key'", "put('/proc/sys/kernel/hostname'",
          "put(\"/run/systemd/network/", "put('/etc/netplan"}) {
        EXPECT_LT(place(orders, before), bind) << before;
    }
    EXPECT_LT(place(orders, "ioctl($random"), place(orders, "put('/etc/machine-id'"));
    EXPECT_LT(bind, place(orders, "'start', 'systemd-networkd.service'"));
}

TEST(GuestIdentity, SettlingKnowsNobody) {
    const auto orders = settle_orders();
    EXPECT_THAT(orders, HasSubstr("virtio-pci/unbind"));
    EXPECT_THAT(orders, HasSubstr(": >/etc/machine-id\n"));
    EXPECT_THAT(orders, Not(HasSubstr("testvm")));
    EXPECT_TRUE(orders.starts_with("set -eu\n"));
}

}  // namespace
}  // namespace noxsup::imaging
