#include "tests/component/netbridge/bridge_fixture.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace noxsup::netbridge {
namespace {

/// struct virtio_net_hdr, which IFF_VNET_HDR puts before each frame; zeros mean "a plain frame".
constexpr std::size_t header_size = 10;

}  // namespace

void GuestStub::send(const test::Bytes& frame) const {
    test::Bytes out(header_size, 0);
    out.insert(out.end(), frame.begin(), frame.end());
    if (::write(lease_.taps.front().get(), out.data(), out.size()) !=
        static_cast<ssize_t>(out.size())) {
        throw std::runtime_error(std::string("write to a TAP: ") + std::strerror(errno));
    }
}

std::optional<test::Bytes> GuestStub::receive(std::chrono::milliseconds limit) const {
    pollfd waiting{lease_.taps.front().get(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(limit.count())) != 1) return std::nullopt;
    constexpr std::size_t largest = 65'536;
    test::Bytes frame(largest);
    const auto got = ::read(lease_.taps.front().get(), frame.data(), frame.size());
    if (got < static_cast<ssize_t>(header_size)) throw std::runtime_error("read from a TAP failed");
    frame.resize(static_cast<std::size_t>(got));
    frame.erase(frame.begin(), frame.begin() + header_size);
    return frame;
}

void BridgeTest::SetUp() {
    if (!namespace_.problem().empty()) GTEST_SKIP() << namespace_.problem();
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
        GTEST_SKIP() << "no TAP can be made here (/dev/net/tun: " << std::strerror(errno) << ")";
    }
    test::run_program({"ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0",
                       "mcast_snooping", "0"});
    // Set on its own, it is the user's choice for good; otherwise a bridge follows its ports.
    test::run_program({"ip", "link", "set", "br0", "mtu", std::to_string(bridge_mtu)});
    test::run_program({"ip", "address", "add", "192.168.77.1/24", "dev", "br0"});
    test::run_program({"ip", "link", "set", "br0", "up"});
    auto kernel = open_kernel_network();
    ASSERT_TRUE(kernel) << kernel.error().message;
    kernel_ = std::move(*kernel);
}

TapRequest BridgeTest::request(std::uint8_t last) const {
    const std::array<std::uint8_t, 3> random{0x10, 0x20, last};
    const std::string digits = "0123456789abcdef";
    const auto id = std::string("00112233445") + digits[last & 0x0fU] + digits[last >> 4U];
    TapRequest wanted{name("br0"), id, "7a7f3d52-0d1c-4d5e-9a51-2c1f0b6f8a11", guest_mac(random)};
    wanted.check_source = false;
    return wanted;
}

GuestStub BridgeTest::make_guest(std::uint8_t last) {
    return make_guest(request(last));
}

GuestStub BridgeTest::make_guest(const TapRequest& wanted) {
    auto lease = lease_tap(*kernel_, wanted);
    if (!lease) throw std::runtime_error(lease.error().message);
    return {wanted.guest_mac, std::move(*lease)};
}

}  // namespace noxsup::netbridge
