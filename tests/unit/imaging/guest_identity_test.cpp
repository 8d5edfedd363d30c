#include "imaging/guest_identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/login_first.hpp"
#include "supervisor/base/text.hpp"
#include "tests/support/seed_sample.hpp"

namespace noxsup::imaging {
namespace {

using test::full_sample_seed;
using test::sample_seed;
using testing::HasSubstr;
using testing::Not;

const IdentityFacts facts{"i-1", "1764230000.123456789", "00112233"};

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

TEST(GuestIdentity, TheFirstLoginsProgramGoesIn) {
    const auto seed = seed_of(sample_seed());
    ASSERT_FALSE(seed.login.empty());
    EXPECT_THAT(identity_orders(seed, facts),
                HasSubstr("printf %s " + shell_quoted(login_program(seed.login)) +
                          " >/run/noxsup/login-program\n"));
}

TEST(GuestIdentity, NothingOfAValueIsReadByTheShell) {
    const auto orders =
        identity_orders(seed_of(sample_seed()), {"i; reboot", "1; reboot", "$(reboot)"});
    EXPECT_THAT(orders, HasSubstr("-s @'1; reboot' "));
    EXPECT_THAT(orders, HasSubstr("printf %s '$(reboot)' >/dev/urandom\n"));
    EXPECT_THAT(orders, HasSubstr("new='i; reboot'\n"));
}

/// Nothing reaches the network, and no key is made, before the guest is somebody else.
TEST(GuestIdentity, TheCardComesBackOnceThereIsAnotherGuest) {
    const auto orders = identity_orders(seed_of(sample_seed()), facts);
    const auto bind = place(orders, "virtio-pci/bind");
    EXPECT_LT(place(orders, "date -u -s @1764230000.123456789"), bind);
    EXPECT_LT(place(orders, "0x5207"), place(orders, ">/etc/machine-id"));
    EXPECT_LT(place(orders, ">/etc/machine-id"), bind);
    EXPECT_LT(bind, place(orders, "\nsh /run/noxsup/login-program"));
    EXPECT_LT(place(orders, "\nsh /run/noxsup/login-program"), place(orders, "kill -HUP"));
}

TEST(GuestIdentity, TheNextBootFindsItsNetworkAndItsInstance) {
    const auto spec = full_sample_seed();
    auto without_documents = spec;
    without_documents.documents.clear();
    const auto orders = identity_orders(seed_of(without_documents), facts);
    EXPECT_THAT(orders, HasSubstr("{\"network\": {"));
    EXPECT_THAT(orders, HasSubstr("192.168.7.20/24"));
    EXPECT_THAT(orders, HasSubstr(" >/etc/netplan/50-cloud-init.yaml\n"));
    EXPECT_THAT(orders, HasSubstr("echo \"$new\" >/var/lib/cloud/data/instance-id\n"));
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
