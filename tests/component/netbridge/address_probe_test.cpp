#include "netbridge/address_probe.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "tests/component/netbridge/bridge_fixture.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;

class AddressProbe : public BridgeTest {
  protected:
    Result<std::optional<MacAddress>> ask(const char* address) {
        boost::asio::io_context context;
        auto asking =
            find_address_owner(find("br0"), boost::asio::ip::make_address_v4(address), {3, 100ms});
        return test::run_async(context, std::move(asking));
    }
};

TEST_F(AddressProbe, FindsWhoAnswersAndNobodyWhereNobodyDoes) {
    const auto guest = make_guest(1);
    std::jthread answering([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const auto frame = guest.receive(50ms);
            const auto wanted = test::address_bytes("192.168.77.20");
            if (!frame || frame->size() < arp_frame_size || (*frame)[13] != 0x06) continue;
            if (!std::equal(wanted.begin(), wanted.end(), frame->begin() + 38)) continue;
            guest.send(test::arp_frame(guest.mac(), "192.168.77.20", "192.168.77.1", 2));
        }
    });
    const auto owner = ask("192.168.77.20");
    ASSERT_TRUE(owner) << owner.error().message;
    EXPECT_EQ(*owner, guest.mac());
    const auto nobody = ask("192.168.77.21");
    ASSERT_TRUE(nobody) << nobody.error().message;
    EXPECT_FALSE(*nobody);
}

TEST_F(AddressProbe, TheHostsOwnAddressesAreKnownWithoutAsking) {
    const auto own = kernel_->addresses(find("br0"));
    ASSERT_TRUE(own) << own.error().message;
    const auto expected = *parse_interface_cidr("192.168.77.1/24");
    EXPECT_NE(std::ranges::find(*own, expected), own->end());
}

}  // namespace
}  // namespace noxsup::netbridge
