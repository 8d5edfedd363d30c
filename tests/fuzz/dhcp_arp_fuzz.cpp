// Fuzzes the readers of DHCP replies and ARP, and the address book behind them, with frames of a
// guest's LAN.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "netbridge/address_book.hpp"
#include "netbridge/packets.hpp"

namespace {

using namespace noxsup::netbridge;

void require(bool holds) {
    if (!holds) std::abort();
}

/// What every answer promises, whatever the frame.
void check(const DhcpReply& reply) {
    if (reply.kind == DhcpReply::Kind::nak) {
        require(reply.address.is_unspecified() && !reply.router && !reply.prefix_length);
        return;
    }
    require(is_host_address(reply.address));
    require(!reply.prefix_length || (*reply.prefix_length >= 1 && *reply.prefix_length <= 32));
    require(!reply.router || is_host_address(*reply.router));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    AddressBook book;
    const MacAddress guest({0x52, 0x54, 0x00, 0x12, 0x34, 0x56});
    const Frame frame(data, size);
    if (const auto reply = parse_dhcp_reply(frame, guest)) {
        check(*reply);
        book.on_dhcp(*reply);
        require(!book.on_dhcp(*reply));
    }
    if (const auto claim = parse_arp_claim(frame, guest)) {
        require(is_host_address(*claim));
        book.on_arp_claim(*claim);
        require(!book.on_arp_claim(*claim));
    }
    if (const auto claim = parse_ndp_claim(frame, guest)) {
        require(!claim->is_link_local() && !claim->is_unspecified());
        book.on_ndp_claim(*claim);
        require(!book.on_ndp_claim(*claim));
    }
    require(book.addresses().size() <= AddressBook::limit);
    return 0;
}
