// A kernel's network devices in memory, for tests: it can fail at any step and shows what was done.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netbridge/kernel_network.hpp"

namespace noxsup::test {

/// Behaves as the kernel where it matters: a TAP vanishes when its last descriptor is closed, a
/// bridge without a fixed address takes the lowest of its ports, and its MTU is the smallest of
/// theirs.
class FakeKernelNetwork final : public netbridge::KernelNetwork {
  public:
    FakeKernelNetwork() = default;

    /// Adds a device; returns its index.
    int add_link(netbridge::Link link);
    /// The device as it is now; TAPs whose descriptors are closed are gone.
    std::optional<netbridge::Link> link(const std::string& name);
    std::size_t link_count();

    /// The call number `step` (from 1) fails; 0 lets all succeed.
    void fail_at(std::size_t step) { fail_at_ = step; }
    /// How many calls that can fail there were.
    [[nodiscard]] std::size_t calls() const { return calls_; }
    [[nodiscard]] const std::vector<std::string>& log() const { return log_; }

    bool has_rights = true;
    bool has_vhost = true;
    bool has_nftables = true;
    std::vector<netbridge::RuleChain>
        dropping;  ///< base chains of the forward hook with policy drop
    std::vector<netbridge::FirewallChain> firewall;
    std::map<std::string, std::string> rules;     ///< commands that made each table for bridges
    std::map<std::string, std::string> ip_rules;  ///< the same of family ip
    std::vector<netbridge::Route> host_routes;
    std::vector<netbridge::Neighbour> table;
    std::vector<netbridge::IpCidr> own_addresses;  ///< of every device, beside those given to it
    bool has_macvtap = true;
    std::size_t missing_nodes = 0;          ///< so often a macvtap has no node in /dev yet
    std::optional<bool> vlan_filtering;     ///< of every bridge; nothing: a kernel without it
    std::map<std::string, unsigned> vlans;  ///< of ports, by their names

    Result<std::vector<netbridge::Link>> links() override;
    Result<std::optional<netbridge::Link>> find_link(const netbridge::InterfaceName& name) override;
    Result<std::vector<netbridge::IpCidr>> addresses(const netbridge::Link& link) override;
    Result<std::vector<netbridge::Route>> routes() override;
    Result<std::vector<netbridge::Neighbour>> neighbours() override;
    Result<> check_rights() override;
    Result<std::vector<UniqueFd>> create_tap(const netbridge::InterfaceName& name,
                                             unsigned queues) override;
    UniqueFd open_vhost_net() override;
    Result<> create_macvtap(const netbridge::InterfaceName& name, const netbridge::Link& parent,
                            const netbridge::MacAddress& mac) override;
    Result<std::vector<UniqueFd>> open_macvtap(const netbridge::Link& link,
                                               unsigned queues) override;
    bool is_macvtap_open(const netbridge::Link& link) override;
    Result<> delete_link(const netbridge::Link& link) override;
    Result<> create_bridge(const netbridge::InterfaceName& name,
                           const netbridge::MacAddress& mac) override;
    Result<> add_address(const netbridge::Link& link, const netbridge::IpCidr& address) override;
    Result<> set_mac(const netbridge::Link& link, const netbridge::MacAddress& mac) override;
    Result<> set_mtu(const netbridge::Link& link, std::uint32_t mtu) override;
    Result<> set_alias(const netbridge::Link& link, const std::string& alias) override;
    Result<> disable_ipv6(const netbridge::Link& link) override;
    Result<> enslave(const netbridge::Link& link, const netbridge::Link& bridge) override;
    Result<> guard_port(const netbridge::Link& link) override;
    Result<> set_up(const netbridge::Link& link, bool up) override;
    Result<bool> filters_vlans(const netbridge::Link& bridge) override;
    Result<> set_port_vlan(const netbridge::Link& port, std::uint16_t vlan) override;
    /// Understands what port_filter.hpp and nat/rules.hpp write: a table that is put in place, or
    /// removed.
    Result<> change_rules(const std::string& commands) override;
    Result<std::vector<std::string>> rule_tables() override;
    Result<std::vector<std::string>> ip_rule_tables() override;
    Result<std::vector<netbridge::FirewallChain>> firewall_chains(
        const netbridge::InterfaceName& /*bridge*/) override {
        return firewall;
    }
    Result<std::vector<netbridge::RuleChain>> dropping_forward_chains() override {
        return dropping;
    }

  private:
    struct Device {
        netbridge::Link link;
        UniqueFd watch{};  ///< reading end of a TAP's pipe: hung up when the other end is closed
        std::vector<netbridge::IpCidr> addresses{};

        [[nodiscard]] bool is_held() const;
    };
    Device* device(const netbridge::Link& link);
    static std::vector<UniqueFd> open_queues(Device& device, unsigned queues);
    Result<> step(std::string what);
    Result<> change(const netbridge::Link& link, std::string what,
                    const std::function<void(netbridge::Link&)>& apply);
    void settle();

    std::vector<Device> devices_;
    int next_index_ = 1;
    std::size_t fail_at_ = 0;
    std::size_t calls_ = 0;
    std::vector<std::string> log_;
};

}  // namespace noxsup::test
