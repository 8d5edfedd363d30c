// What the guest's agent is asked: the addresses that nothing else has told.

#include <algorithm>

#include "netbridge/ip_address.hpp"
#include "qmp/guest_agent_client.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

/// The addresses of one card, by its MAC address; empty where the agent does not know it.
std::vector<netbridge::ObservedAddress> addresses_of(
    const std::vector<qmp::GuestInterface>& interfaces, const std::string& mac) {
    netbridge::AddressBook book;
    for (const auto& interface : interfaces) {
        if (interface.mac != mac) continue;
        for (const auto& text : interface.addresses) {
            const auto address = netbridge::parse_ip(text.substr(0, text.find('/')));
            if (address) book.on_agent(*address);
        }
    }
    return book.addresses();
}

}  // namespace

/// Whether the agent is the only one who may know: nothing was seen on the wire, or nothing since
/// it was asked last.
bool Vm::lacks_address(const Nic& nic) {
    return spec::has_tap(nic.card) && std::ranges::all_of(nic.addresses, [](const auto& seen) {
               return seen.source == netbridge::AddressSource::agent;
           });
}

void Vm::ask_agent() {
    if (!running_ || running_->ended || asking_agent_) return;
    if (machine_.state() != lifecycle::State::running) return;
    for (const auto& nic : running_->nics) {
        if (!lacks_address(*nic)) continue;
        tasks_.spawn("agent of " + spec().name, take_agents_word(running_));
        return;
    }
}

boost::asio::awaitable<void> Vm::take_agents_word(std::shared_ptr<Running> running) {
    const auto self = shared_from_this();
    asking_agent_ = true;
    const ScopeExit done([this] { asking_agent_ = false; });
    const auto agent = qmp::GuestAgent::open(environment_.executor, files().agent_socket());
    // Most guests have none; that is no news.
    if (!agent) co_return;
    const auto interfaces = co_await (*agent)->network_interfaces();
    if (!interfaces || running_ != running) co_return;
    for (const auto& nic : running->nics) {
        if (!lacks_address(*nic)) continue;
        auto told = addresses_of(*interfaces, nic->card.mac);
        if (told == nic->addresses) continue;
        nic->addresses = std::move(told);
        publish_addresses(*nic);
        changed();
    }
}

}  // namespace noxsup::vm
