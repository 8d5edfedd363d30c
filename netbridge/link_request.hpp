// Netlink requests about one network device (RTM_*LINK), put together.
#pragma once

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>

#include <cstdint>
#include <new>
#include <string>

#include "netbridge/netlink.hpp"

namespace noxsup::netbridge {

/// Grows by what is added; memory that runs out throws, nothing else fails.
class LinkRequest {
  public:
    LinkRequest(int type, const ifinfomsg& header, int flags = 0)
        : message_(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)) {
        check(message_ ? nlmsg_append(message_.get(), const_cast<ifinfomsg*>(&header),
                                      sizeof(header), NLMSG_ALIGNTO)
                       : -1);
    }
    /// About a device that is there.
    explicit LinkRequest(int index, int type = RTM_SETLINK) : LinkRequest(type, header_of(index)) {}

    LinkRequest& add(int type, const void* data, std::size_t size) {
        check(nla_put(message_.get(), type, static_cast<int>(size), data));
        return *this;
    }
    LinkRequest& add(int type, std::uint32_t value) { return add(type, &value, sizeof(value)); }
    LinkRequest& add_text(int type, const std::string& text) {
        return add(type, text.c_str(), text.size() + 1);
    }
    /// IFLA_AF_SPEC { AF_INET6 { IFLA_INET6_ADDR_GEN_MODE: none } }
    LinkRequest& add_no_ipv6_address() {
        const std::uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
        const Nest all(*this, IFLA_AF_SPEC);
        const Nest ipv6(*this, AF_INET6);
        return add(IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
    }
    /// IFLA_LINKINFO { IFLA_INFO_SLAVE_KIND: bridge, IFLA_INFO_SLAVE_DATA { IFLA_BRPORT_GUARD } }
    LinkRequest& add_bpdu_guard() {
        const std::uint8_t on = 1;
        const Nest info(*this, IFLA_LINKINFO);
        add_text(IFLA_INFO_SLAVE_KIND, "bridge");
        const Nest port(*this, IFLA_INFO_SLAVE_DATA);
        return add(IFLA_BRPORT_GUARD, &on, sizeof(on));
    }
    /// IFLA_LINKINFO { IFLA_INFO_KIND: macvtap, IFLA_INFO_DATA { IFLA_MACVLAN_MODE: bridge } }
    LinkRequest& add_macvtap_in_bridge_mode() {
        const Nest info(*this, IFLA_LINKINFO);
        add_text(IFLA_INFO_KIND, "macvtap");
        const Nest data(*this, IFLA_INFO_DATA);
        return add(IFLA_MACVLAN_MODE, std::uint32_t{MACVLAN_MODE_BRIDGE});
    }
    /// IFLA_AF_SPEC { IFLA_BRIDGE_VLAN_INFO: one VLAN, or the two ends of a range }
    LinkRequest& add_vlans(unsigned first, unsigned last, unsigned flags) {
        const Nest all(*this, IFLA_AF_SPEC);
        if (first == last) return add_vlan(first, flags);
        add_vlan(first, flags | BRIDGE_VLAN_INFO_RANGE_BEGIN);
        return add_vlan(last, flags | BRIDGE_VLAN_INFO_RANGE_END);
    }
    NlPtr<nl_msg> take() { return std::move(message_); }

  private:
    /// What is added while it lives is inside.
    class Nest {
      public:
        Nest(LinkRequest& request, int type)
            : message_(request.message_.get()), start_(nla_nest_start(message_, type)) {
            if (start_ == nullptr) throw std::bad_alloc();
        }
        Nest(const Nest&) = delete;
        Nest& operator=(const Nest&) = delete;
        ~Nest() { nla_nest_end(message_, start_); }

      private:
        nl_msg* message_;
        nlattr* start_;
    };

    static ifinfomsg header_of(int index) {
        ifinfomsg header{};
        header.ifi_index = index;
        return header;
    }
    LinkRequest& add_vlan(unsigned vlan, unsigned flags) {
        const bridge_vlan_info info{static_cast<std::uint16_t>(flags),
                                    static_cast<std::uint16_t>(vlan)};
        return add(IFLA_BRIDGE_VLAN_INFO, &info, sizeof(info));
    }
    static void check(int code) {
        if (code < 0) throw std::bad_alloc();
    }
    NlPtr<nl_msg> message_;
};

}  // namespace noxsup::netbridge
