// vm.network_attach and vm.network_detach: network cards that come and go after the create.

#include "supervisor/daemon/network_choice.hpp"
#include "supervisor/daemon/network_wish.hpp"
#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

/// Another call may have given them away while the network was asked.
Result<> check_still_free(const Services& services, const spec::Network& network) {
    if (services.registry.has_mac(network.mac)) {
        return Error{ErrorCode::mac_taken, "another VM has the MAC address " + network.mac};
    }
    for (const auto& address : network.fixed_addresses) {
        if (const auto owner = services.registry.owner_of_address(address)) {
            return Error{ErrorCode::address_taken, "ip=" + address + " is that of " + *owner,
                         "choose another address"};
        }
    }
    return {};
}

/// Said here in words; the spec's own check knows members alone.
Result<> check_one_user_network(const spec::VmSpec& spec, const spec::Network& network) {
    if (network.mode != spec::NetworkMode::user || !spec::has_user_network(spec)) return {};
    return Error{ErrorCode::invalid_argument, "a VM has one card with --network user at the most",
                 "both would get the same subnet, which the guest cannot tell apart"};
}

ReplyAwaitable attach(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto text, parameter<std::string>(params, "network"));
    NOXSUP_CO_TRY_VALUE(const auto wish, parse_further_network(text));
    NOXSUP_CO_TRY_VALUE(const auto network, choose_network(services, vm->spec(), wish));
    NOXSUP_CO_TRY(check_one_user_network(vm->spec(), network));
    if (wish.address) {
        auto checking = check_fixed_address(services, *wish.address, network);
        NOXSUP_CO_TRY(co_await std::move(checking));
        NOXSUP_CO_TRY(check_still_free(services, network));
    }
    // From the check on without a wait: attach_card() claims what the card has at once.
    auto attaching = vm->attach_card(network);
    NOXSUP_CO_TRY(co_await std::move(attaching));
    if (network.mode == spec::NetworkMode::macvtap) call.note(macvtap_note(network));
    // What the port filter lets through is one thing, what the guest does another.
    if (wish.address)
        call.note("the guest has to set " + wish.address->cidr + " on the new card by itself");
    co_return vm_reply(*vm);
}

ReplyAwaitable detach(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto vm, vm_of(services, params));
    NOXSUP_CO_TRY_VALUE(auto card, parameter<std::string>(params, "card"));
    auto detaching = vm->detach_card(std::move(card));
    NOXSUP_CO_TRY(co_await std::move(detaching));
    co_return vm_reply(*vm);
}

}  // namespace

void register_vm_cards_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::vm_network_attach, attach},
                      {control::method::vm_network_detach, detach}});
}

}  // namespace noxsup::daemon
