#include "netbridge/address_watcher.hpp"

#include <net/if.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <map>

#include "netbridge/network_monitor.hpp"

namespace noxsup::netbridge {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

namespace {

asio::awaitable<bool> wait_readable(Descriptor& descriptor) {
    const auto [failure] =
        co_await descriptor.async_wait(Descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
    co_return !failure;
}

/// True when one has something to read, false when cancelled.
asio::awaitable<bool> wait_either(Descriptor& first, Descriptor& second) {
    using asio::experimental::awaitable_operators::operator||;
    const auto winner = co_await (wait_readable(first) || wait_readable(second));
    co_return winner.index() == 0 ? std::get<0>(winner) : std::get<1>(winner);
}

}  // namespace

struct AddressWatcher::Impl {
    Impl(const asio::any_io_executor& executor, std::unique_ptr<NetworkMonitor> kernel_news)
        : monitor(std::move(kernel_news)), news(executor, monitor->fd()), packets(executor) {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() {
        // The monitor closes its own descriptor.
        news.release();
    }

    Result<> drain_packets();
    Result<> drain_news();
    void take_neighbour(const Neighbour& neighbour, bool remembered_counts);
    Error gone() const { return {ErrorCode::wrong_state, "the TAP " + tap + " is gone"}; }

    std::string tap;
    int link_index = 0;
    MacAddress guest;
    GuestDevice device = GuestDevice::tap;
    std::unique_ptr<NetworkMonitor> monitor;
    Descriptor news;
    Descriptor packets;  ///< not open without the right
    AddressBook book;
    std::map<IpAddress, int> seen_on;  ///< by the neighbour table: address, device
    std::vector<ObservedAddress> reported;
    bool let_go = false;  ///< nobody wants to know any more
};

Result<> AddressWatcher::Impl::drain_packets() {
    constexpr std::size_t largest = 2048;
    std::array<std::uint8_t, largest> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
    while (packets.is_open()) {
        NOXSUP_TRY_VALUE(const auto received,
                         receive_frame(packets.native_handle(), buffer, device));
        if (!received) break;
        if (received->to_guest) {
            if (const auto reply = parse_dhcp_reply(received->frame, guest)) book.on_dhcp(*reply);
        } else if (const auto claim = parse_arp_claim(received->frame, guest)) {
            book.on_arp_claim(*claim);
        } else if (const auto ipv6 = parse_ndp_claim(received->frame, guest)) {
            book.on_ndp_claim(*ipv6);
        }
    }
    return {};
}

void AddressWatcher::Impl::take_neighbour(const Neighbour& neighbour, bool remembered_counts) {
    if (neighbour.state == NeighbourState::failed) return;
    if (neighbour.mac != guest) {
        // Another one answers for it now, if it is the same network.
        const auto known = seen_on.find(neighbour.address);
        if (known == seen_on.end() || known->second != neighbour.link_index) return;
        seen_on.erase(known);
        book.on_taken_over(neighbour.address);
        return;
    }
    if (neighbour.state == NeighbourState::remembered && !remembered_counts) return;
    seen_on[neighbour.address] = neighbour.link_index;
    if (seen_on.size() > AddressBook::limit) seen_on.erase(seen_on.begin());
    book.on_neighbour(neighbour.address);
}

Result<> AddressWatcher::Impl::drain_news() {
    NOXSUP_TRY_VALUE(const auto changes, monitor->drain());
    // An entry that goes stale may be of an address the guest has left. Where frames are seen there
    // is no need for it; without them it is all there is.
    const bool remembered_counts = changes.missed || !packets.is_open();
    for (const auto& neighbour : changes.neighbours) take_neighbour(neighbour, remembered_counts);
    if (std::ranges::find(changes.removed_links, link_index) != changes.removed_links.end()) {
        return gone();
    }
    std::array<char, IF_NAMESIZE> name{};
    if (changes.missed &&
        ::if_indextoname(static_cast<unsigned>(link_index), name.data()) == nullptr) {
        return gone();
    }
    return {};
}

AddressWatcher::AddressWatcher(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
AddressWatcher::~AddressWatcher() {
    impl_->let_go = true;
    boost::system::error_code ignored;
    impl_->packets.cancel(ignored);
    impl_->news.cancel(ignored);
}

Result<std::unique_ptr<AddressWatcher>> AddressWatcher::open(const asio::any_io_executor& executor,
                                                             const InterfaceName& tap,
                                                             const MacAddress& guest_mac,
                                                             GuestDevice device) {
    // Listen first, then look: nothing that happens in between is lost.
    NOXSUP_TRY_VALUE(auto monitor, NetworkMonitor::open());
    auto impl = std::make_shared<Impl>(executor, std::move(monitor));
    impl->tap = tap.str();
    impl->guest = guest_mac;
    impl->device = device;
    impl->link_index = static_cast<int>(::if_nametoindex(tap.str().c_str()));
    if (impl->link_index == 0) return impl->gone();
    auto socket = open_guest_socket(impl->link_index, guest_mac, device);
    if (socket) {
        impl->packets.assign(socket->release());
    } else if (socket.error().code != ErrorCode::host_lacks_right) {
        return std::move(socket.error().context("watch TAP " + tap.str()));
    }
    NOXSUP_TRY_VALUE(const auto table, NetworkMonitor::table());
    for (const auto& neighbour : table) impl->take_neighbour(neighbour, true);
    return std::unique_ptr<AddressWatcher>(new AddressWatcher(std::move(impl)));
}

void AddressWatcher::remember(const std::vector<IpAddress>& addresses) {
    for (const auto& address : addresses) impl_->book.on_neighbour(address);
}

const std::vector<ObservedAddress>& AddressWatcher::addresses() const {
    return impl_->book.addresses();
}

bool AddressWatcher::sees_packets() const {
    return impl_->packets.is_open();
}

asio::awaitable<Result<std::vector<ObservedAddress>>> AddressWatcher::next() {
    const Error interrupted(ErrorCode::interrupted, "interrupted");
    // The watcher may go while this waits; what the waits are on must not.
    const auto impl = impl_;
    while (!impl->let_go) {
        NOXSUP_CO_TRY(impl->drain_packets());
        NOXSUP_CO_TRY(impl->drain_news());
        if (impl->book.addresses() != impl->reported) {
            impl->reported = impl->book.addresses();
            co_return impl->reported;
        }
        bool readable = false;
        try {
            if (impl->packets.is_open()) {
                readable = co_await wait_either(impl->packets, impl->news);
            } else {
                readable = co_await wait_readable(impl->news);
            }
        } catch (const boost::system::system_error& e) {
            // Asio's awaitable throws this one when it was cancelled before the wait began.
            if (e.code() != asio::error::operation_aborted) throw;
        }
        if (!readable) break;
    }
    co_return interrupted;
}

}  // namespace noxsup::netbridge
