#include "netbridge/macvtap_lease.hpp"

#include <algorithm>

#include "netbridge/tap_lease.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/scope_exit.hpp"

namespace noxsup::netbridge {
namespace {

constexpr std::string_view macvtap_kind = "macvtap";
constexpr std::chrono::milliseconds node_interval{20};

Error unfit(const InterfaceName& name, const std::string& why, std::string fix) {
    return {ErrorCode::host_lacks_bridge, name.str() + " " + why, std::move(fix)};
}

/// Made by us, or begun by us and not named yet.
bool is_ours(const Link& link) {
    return link.kind == macvtap_kind &&
           (link.alias.empty() || link.alias.starts_with(tap_alias_prefix));
}

/// The bridge or bond that a card belongs to.
std::string name_of(KernelNetwork& kernel, int index) {
    const auto links = kernel.links();
    if (!links) return "another device";
    const auto found = std::ranges::find(*links, index, &Link::index);
    return found == links->end() ? "another device" : found->name;
}

/// Makes way for a new device of the name where a crash left one.
Result<> clear_away(KernelNetwork& kernel, const InterfaceName& name) {
    NOXSUP_TRY_VALUE(const auto left, kernel.find_link(name));
    if (!left) return {};
    if (!is_ours(*left) || kernel.is_macvtap_open(*left)) {
        return Error{ErrorCode::already_exists, "a network device has this name",
                     "ip -d link show " + name.str() + " tells what it is"};
    }
    return kernel.delete_link(*left);
}

boost::asio::awaitable<Result<std::vector<UniqueFd>>> open_queues(KernelNetwork& kernel,
                                                                  const Link& link, unsigned queues,
                                                                  std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        auto opened = kernel.open_macvtap(link, queues);
        const bool absent = !opened && opened.error().code == ErrorCode::wrong_state;
        if (!absent || std::chrono::steady_clock::now() >= end) co_return opened;
        const bool slept = co_await sleep_for(node_interval);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
}

}  // namespace

Result<Link> can_use_card(KernelNetwork& kernel, const InterfaceName& name,
                          const KernelViews& views) {
    NOXSUP_TRY_VALUE(auto found, kernel.find_link(name));
    if (!found) {
        return Error{ErrorCode::host_lacks_bridge,
                     "there is no network device " + name.str() + " on this host",
                     "ip -br link lists them; or use --network user"};
    }
    const auto& kind = found->kind;
    if (kind == "bridge") return unfit(name, "is a bridge", "use --network bridge=" + name.str());
    if (kind == "tun" || kind == "macvlan" || kind == macvtap_kind) {
        return unfit(name, "is a virtual device (" + kind + ") and no network card",
                     "name the card: ip -br link lists them");
    }
    if (found->mac.is_zero()) {
        return unfit(name, "is no Ethernet device", "name a network card: ip -br link lists them");
    }
    if (found->master != 0) {
        const auto master = name_of(kernel, found->master);
        return unfit(name, "belongs to " + master, "use --network bridge=" + master);
    }
    if (is_wireless(name.str(), views)) {
        return unfit(name,
                     "is a Wi-Fi device, and an access point takes frames from one address of it "
                     "alone",
                     "use --network user, or a wired card");
    }
    if (!found->up) return unfit(name, "is down", "sudo ip link set " + name.str() + " up");
    auto rights = kernel.check_rights();
    if (!rights) return std::move(rights.error().context("macvtap on " + name.str()));
    return std::move(*found);
}

boost::asio::awaitable<Result<MacvtapLease>> lease_macvtap(KernelNetwork& kernel,
                                                           MacvtapRequest request,
                                                           std::chrono::milliseconds node_limit) {
    NOXSUP_CO_TRY_VALUE(const auto name, tap_name(request.id));
    NOXSUP_CO_TRY_VALUE(const auto card, can_use_card(kernel, request.parent));
    const auto where = "put macvtap " + name.str() + " on " + request.parent.str();
    if (auto cleared = clear_away(kernel, name); !cleared) {
        co_return std::move(cleared.error().context(where));
    }
    NOXSUP_CO_TRY(kernel.create_macvtap(name, card, request.guest_mac));
    bool whole = false;
    const ScopeExit undo([&] {
        if (!whole) (void)forget_macvtap(kernel, name);
    });
    MacvtapLease lease;
    NOXSUP_CO_TRY_VALUE(auto link, kernel.find_link(name));
    if (!link) co_return Error{ErrorCode::io_error, where + ": the device vanished"};
    lease.link = std::move(*link);
    if (auto kept_off = kernel.disable_ipv6(lease.link); !kept_off) {
        co_return std::move(kept_off.error().context(where));
    }
    auto opening = open_queues(kernel, lease.link, request.queues, node_limit);
    auto opened = co_await std::move(opening);
    if (!opened) co_return std::move(opened.error().context(where));
    lease.taps = std::move(*opened);
    // Only now: what bears the alias and is held by nobody is left over.
    const auto alias = std::string(tap_alias_prefix) + request.vm_uuid;
    auto begun = kernel.set_alias(lease.link, alias);
    if (begun) begun = kernel.set_up(lease.link, true);
    if (!begun) co_return std::move(begun.error().context(where));
    lease.link.alias = alias;
    lease.link.up = true;
    lease.vhosts = open_vhosts(kernel, lease.taps.size());
    whole = true;
    co_return lease;
}

Result<> forget_macvtap(KernelNetwork& kernel, const InterfaceName& name) {
    NOXSUP_TRY_VALUE(const auto link, kernel.find_link(name));
    if (!link || !is_ours(*link)) return {};
    return kernel.delete_link(*link);
}

Result<std::size_t> sweep_macvtaps(KernelNetwork& kernel) {
    NOXSUP_TRY_VALUE(const auto links, kernel.links());
    std::size_t removed = 0;
    for (const auto& link : links) {
        if (link.kind != macvtap_kind || !link.name.starts_with(tap_prefix) ||
            !link.alias.starts_with(tap_alias_prefix) || kernel.is_macvtap_open(link)) {
            continue;
        }
        NOXSUP_TRY(kernel.delete_link(link));
        ++removed;
    }
    return removed;
}

}  // namespace noxsup::netbridge
