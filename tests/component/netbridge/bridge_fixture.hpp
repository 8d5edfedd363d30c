// A network namespace with a bridge br0, TAPs on it, and guests that are frames written by the
// test.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "netbridge/kernel_network.hpp"
#include "netbridge/tap_lease.hpp"
#include "tests/support/net_namespace.hpp"
#include "tests/support/packet_builder.hpp"

namespace noxsup::netbridge {

/// The guest at the other end of a TAP: what QEMU would read and write.
class GuestStub {
  public:
    GuestStub(MacAddress mac, TapLease lease) : mac_(mac), lease_(std::move(lease)) {}

    [[nodiscard]] const MacAddress& mac() const { return mac_; }
    [[nodiscard]] const Link& link() const { return lease_.link; }
    /// Sends a frame into the TAP; throws when the device does not take it.
    void send(const test::Bytes& frame) const;
    /// The next frame sent to the guest; nothing when none comes in time.
    [[nodiscard]] std::optional<test::Bytes> receive(std::chrono::milliseconds limit) const;
    /// The guest is gone, and its TAP with it.
    void unplug() { lease_ = TapLease(); }

  private:
    MacAddress mac_;
    TapLease lease_;
};

class BridgeTest : public testing::Test {
  protected:
    void SetUp() override;

    /// A guest with a TAP on br0; `last` is the last byte of its MAC and of its TAP's id.
    GuestStub make_guest(std::uint8_t last);
    GuestStub make_guest(const TapRequest& wanted);
    /// Without a filter: a stub has no lease.
    TapRequest request(std::uint8_t last) const;
    static InterfaceName name(std::string_view text) { return *InterfaceName::parse(text); }
    Link find(std::string_view text) { return (*kernel_->find_link(name(text))).value(); }

    test::NetNamespace namespace_;
    std::unique_ptr<KernelNetwork> kernel_;
};

inline constexpr std::uint32_t bridge_mtu = 1400;

}  // namespace noxsup::netbridge
