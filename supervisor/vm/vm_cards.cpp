// Network cards that come and go after the create; into and out of a running QEMU as a transaction.
//
// In what order things are done when a supervisor dies in the middle:
// - A card is in the record once QEMU has it. A QEMU with a card (or half of one) that no record
//   knows loses nothing: guest and TAP go on, the TAP goes with QEMU, its rules with the next
//   sweep, and the next card gets other places (place() asks QEMU what there is).
// - A card that goes is in the record until QEMU has let go of it. A record with a card that QEMU
// has
//   not is put right by the same detach again (QEMU then says that there is none), and until then
//   the next start has the card back, which is what the last answer to the user was.

#include <algorithm>

#include "netbridge/tap_lease.hpp"
#include "qmp/commands.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/launch/device_table.hpp"
#include "supervisor/launch/nic.hpp"
#include "supervisor/spec/cards.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::State;

Error no_qemu() {
    return {ErrorCode::qemu_failed, "QEMU has just ended"};
}

/// libslirp's words on a port that somebody took between our check and QEMU's.
Error clearer(Error error) {
    if (error.message.find("Could not set up host forwarding rule") != std::string::npos)
        error.code = ErrorCode::port_taken;
    return error;
}

std::string text_of(const spec::Network& card) {
    return "network card " + std::to_string(card.slot) + " (" + card.mac + ")";
}

}  // namespace

std::vector<spec::Network> Vm::cards() const {
    auto list = spec().networks;
    if (coming_card_) list.push_back(*coming_card_);
    return list;
}

boost::asio::awaitable<Result<>> Vm::attach_card(spec::Network card) {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY(check_no_card_change());
    changing_cards_ = true;
    // From here on its addresses are taken, and the NAT network knows it.
    coming_card_ = card;
    const ScopeExit done([this] {
        changing_cards_ = false;
        coming_card_.reset();
    });
    auto beginning = begin_card_change();
    NOXSUP_CO_TRY(co_await std::move(beginning));
    if (!machine_.is_active()) {
        NOXSUP_CO_TRY(take_slot(card, {}));
        co_return keep([&card](spec::VmSpec& spec) { spec.networks.push_back(card); });
    }
    auto reaching = reach_for("attach a network card to");
    NOXSUP_CO_TRY_VALUE(const auto running, co_await std::move(reaching));
    NOXSUP_CO_TRY(check_fence(card));
    // QEMU must not be left with half a card because somebody pressed Ctrl-C.
    auto work = plug(running, std::move(card));
    auto outcome = co_await uncancellable(std::move(work));
    co_return outcome;
}

boost::asio::awaitable<Result<>> Vm::detach_card(std::string name,
                                                 std::chrono::milliseconds limit) {
    const auto self = shared_from_this();
    NOXSUP_CO_TRY(check_no_card_change());
    changing_cards_ = true;
    const ScopeExit done([this] { changing_cards_ = false; });
    auto beginning = begin_card_change();
    NOXSUP_CO_TRY(co_await std::move(beginning));
    const auto& networks = spec().networks;
    NOXSUP_CO_TRY_VALUE(const auto index, spec::find_card(networks, name));
    const auto card = networks.at(index);
    if (networks.size() == 1) {
        co_return Error{
            ErrorCode::wrong_state,
            text_of(card) + " is the only one of " + spec().name + ", and a VM has one at least",
            "attach another one first"};
    }
    if (!machine_.is_active()) co_return strike_out_card(card.slot);
    if (!card.spare_port) {
        co_return Error{ErrorCode::wrong_state,
                        text_of(card) + " is in a place that a running VM does not let go of",
                        "stop it first: noxsup stop " + spec().name};
    }
    auto reaching = reach_for("detach a network card from");
    NOXSUP_CO_TRY_VALUE(const auto running, co_await std::move(reaching));
    if (machine_.state() == State::paused) {
        co_return Error{
            ErrorCode::wrong_state,
            "the guest of " + spec().name + " stands still, so it cannot let go of a card",
            "let it go on first: noxsup resume " + spec().name};
    }
    const auto nic = running->nic_in(card.slot);
    // QEMU let go of it before, and the disk did not take that.
    if (!nic) co_return strike_out_card(card.slot);
    auto work = unplug(running, nic, limit);
    auto outcome = co_await std::move(work);
    co_return outcome;
}

Result<> Vm::check_no_card_change() const {
    if (!changing_cards_) return {};
    return Error{ErrorCode::wrong_state,
                 "another network card of " + spec().name + " is being attached or detached",
                 "try again when that is done"};
}

/// Waits until a start is over, and refuses where the cards are what a saved guest has.
boost::asio::awaitable<Result<>> Vm::begin_card_change() {
    co_await settled();
    while (machine_.state() == State::starting) co_await condition_.wait();
    if (deleted_) co_return Error{ErrorCode::wrong_state, spec().name + " is being deleted"};
    NOXSUP_CO_TRY(check_not_saving());
    if (record_.saved_ram) {
        co_return Error{ErrorCode::wrong_state,
                        spec().name + " is suspended, and its guest goes on with the cards it had",
                        "let it go on with noxsup start " + spec().name +
                            ", or give its memory up: noxsup start --cold " + spec().name};
    }
    co_return Result<>();
}

/// A QEMU that was started without user-mode networking has no way to the host's ports and name
/// servers, and gets none: a fence is never opened.
Result<> Vm::check_fence(const spec::Network& card) const {
    if (card.mode != spec::NetworkMode::user) return {};
    const auto fence = json_member_or<Json>(record_.confinement, "landlock", Json());
    if (!fence || fence->is_null()) return {};
    return Error{ErrorCode::wrong_state,
                 spec().name + " runs fenced off from what a card behind --network user needs",
                 "stop it first: noxsup stop " + spec().name + "; or use another network"};
}

/// The lowest slot that is free, and the name of the device that follows from it.
Result<> Vm::take_slot(spec::Network& card, const std::set<unsigned>& taken) const {
    const auto slot = spec::free_slot(spec().networks, taken);
    if (!slot) {
        return Error{ErrorCode::wrong_state,
                     spec().name + " has " + std::to_string(spec::max_networks) +
                         " network cards, which is the most",
                     "detach one first"};
    }
    card.slot = *slot;
    if (!spec::has_tap(card)) return {};
    NOXSUP_TRY_VALUE(const auto tap, netbridge::tap_name(spec::tap_id_of(spec().id, *slot)));
    card.tap = tap.str();
    return {};
}

/// Finds places that neither the record nor QEMU has given away, and clears the slot's end in QEMU:
/// a supervisor that died may have left cards there, or half of one.
boost::asio::awaitable<Result<>> Vm::place(Running& running, spec::Network& card) {
    if (!running.qmp) co_return no_qemu();
    auto asking = qmp::query_pci(*running.qmp);
    NOXSUP_CO_TRY_VALUE(const auto pci, co_await std::move(asking));
    const auto taken = launch::taken_places(pci);
    NOXSUP_CO_TRY(take_slot(card, taken.slots));
    card.spare_port = spec::free_spare_port(spec().networks, taken.ports);
    if (!card.spare_port) {
        co_return Error{ErrorCode::wrong_state,
                        "all " + std::to_string(spec::spare_ports) + " places of " + spec().name +
                            " for cards that come while it runs are in use",
                        "detach one of them, or stop it first: noxsup stop " + spec().name};
    }
    if (!running.qmp) co_return no_qemu();
    auto clearing = qmp::netdev_del(*running.qmp, launch::netdev_id(card));
    // That there is none is the rule.
    co_await std::move(clearing);
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::plug(std::shared_ptr<Running> running, spec::Network card) {
    auto placing = place(*running, card);
    NOXSUP_CO_TRY(co_await std::move(placing));
    coming_card_ = card;
    const auto nic = std::make_shared<Nic>(std::move(card));
    // Its events are heard from here on, and QEMU's end forgets its port.
    running->nics.push_back(nic);
    auto preparing = prepare_card(*nic);
    auto done = co_await std::move(preparing);
    if (done) {
        auto telling = tell_qemu(*running, *nic);
        done = co_await std::move(telling);
    }
    if (done && running->ended) done = no_qemu();
    if (done) done = keep([&nic](spec::VmSpec& spec) { spec.networks.push_back(nic->card); });
    if (!done) {
        auto undoing = take_back(running, nic);
        co_await std::move(undoing);
        co_return done;
    }
    nic->hand_over();
    watch_card(running, nic);
    log_info(text_of(nic->card) + " was attached to " + spec().name);
    co_return Result<>();
}

/// All of it on the host, as at a start.
boost::asio::awaitable<Result<>> Vm::prepare_card(Nic& nic) {
    NOXSUP_CO_TRY(claim_ports(nic));
    auto joining = join_nat(nic);
    NOXSUP_CO_TRY(co_await std::move(joining));
    auto leasing = lease_device(nic);
    NOXSUP_CO_TRY(co_await std::move(leasing));
    if (nic.tap && nic.tap->unfiltered) tell_unfiltered(nic.tap->unfiltered);
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::tell_qemu(Running& running, Nic& nic) {
    auto giving = give_fds(running, nic);
    NOXSUP_CO_TRY(co_await std::move(giving));
    if (!running.qmp) co_return no_qemu();
    auto adding =
        qmp::netdev_add(*running.qmp, launch::netdev_json(nic.card, nic.descriptor_names()));
    auto added = co_await std::move(adding);
    if (!added) co_return clearer(std::move(added).error());
    nic.told = Nic::Told::netdev;
    if (!running.qmp) co_return no_qemu();
    auto with_card = spec();
    with_card.networks.push_back(nic.card);
    auto plugging = qmp::device_add(*running.qmp, launch::nic_json(with_card, nic.card.slot));
    NOXSUP_CO_TRY(co_await std::move(plugging));
    nic.told = Nic::Told::device;
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Vm::give_fds(Running& running, Nic& nic) {
    if (!nic.tap) co_return Result<>();
    nic.told = Nic::Told::descriptors;
    const auto names = nic.descriptor_names();
    for (std::size_t i = 0; i < names.taps.size(); ++i) {
        if (!running.qmp) co_return no_qemu();
        auto giving = qmp::getfd(*running.qmp, names.taps[i], std::move(nic.tap->taps[i]));
        NOXSUP_CO_TRY(co_await std::move(giving));
    }
    for (std::size_t i = 0; i < names.vhosts.size(); ++i) {
        if (!running.qmp) co_return no_qemu();
        auto giving = qmp::getfd(*running.qmp, names.vhosts[i], std::move(nic.tap->vhosts[i]));
        NOXSUP_CO_TRY(co_await std::move(giving));
    }
    co_return Result<>();
}

/// Undoes what was done of a card that is not to be there after all, last things first. What QEMU
/// refuses of it was not there any more.
boost::asio::awaitable<void> Vm::take_back(std::shared_ptr<Running> running,
                                           std::shared_ptr<Nic> nic) {
    nic->let_go();
    if (nic->told == Nic::Told::device) {
        bool gone = false;
        auto asking = ask_to_let_go(*running, *nic);
        const auto asked = co_await std::move(asking);
        if (asked) {
            auto waiting = wait_let_go(*running, *nic, let_go_limit);
            gone = co_await std::move(waiting);
        }
        if (!gone && !running->ended)
            log_error(text_of(nic->card) + " stays in the QEMU of " + spec().name + ", cut off");
    }
    if (nic->told >= Nic::Told::netdev && running->qmp) {
        auto removing = qmp::netdev_del(*running->qmp, launch::netdev_id(nic->card));
        const auto removed = co_await std::move(removing);
        if (!removed && !running->ended) log_warning(removed.error().message);
    }
    if (nic->told == Nic::Told::descriptors) {
        const auto names = nic->descriptor_names();
        for (const auto* list : {&names.taps, &names.vhosts}) {
            for (const auto& name : *list) {
                if (!running->qmp) break;
                auto closing = qmp::closefd(*running->qmp, name);
                co_await std::move(closing);
            }
        }
    }
    drop_nic(*running, nic);
}

/// The card's end on this host. @pre QEMU has let go of it
void Vm::drop_nic(Running& running, const std::shared_ptr<Nic>& nic) const {
    nic->let_go();
    nic->hand_over();
    forget_port(*nic);
    nic->outlives_qemu = false;
    nic->nat.reset();
    std::erase(running.nics, nic);
}

boost::asio::awaitable<Result<>> Vm::unplug(std::shared_ptr<Running> running,
                                            std::shared_ptr<Nic> nic,
                                            std::chrono::milliseconds limit) {
    const ScopeExit over([nic] { nic->awaited = false; });
    auto asking = ask_to_let_go(*running, *nic);
    NOXSUP_CO_TRY(co_await std::move(asking));
    auto waiting = wait_let_go(*running, *nic, limit);
    const bool gone = co_await std::move(waiting);
    if (running->ended) co_return no_qemu();
    if (!gone) {
        const auto state = co_await boost::asio::this_coro::cancellation_state;
        const bool interrupted = state.cancelled() != boost::asio::cancellation_type::none;
        co_return Error{interrupted ? ErrorCode::interrupted : ErrorCode::timeout,
                        "the guest of " + spec().name + " has not let go of " + text_of(nic->card) +
                            "; should it do so later, the card is detached then",
                        "try again, or stop the VM first: noxsup stop " + spec().name};
    }
    auto taking = take_out(running, nic);
    auto outcome = co_await uncancellable(std::move(taking));
    co_return outcome;
}

/// Asks QEMU to ask the guest; wait_let_go() tells whether it did.
boost::asio::awaitable<Result<>> Vm::ask_to_let_go(Running& running, Nic& nic) {
    // The event may come before the answer.
    nic.awaited = true;
    if (!running.qmp) co_return no_qemu();
    qmp::Request request("device_del", Json{{"id", launch::nic_id(nic.card)}});
    auto asking = running.qmp->request(std::move(request));
    NOXSUP_CO_TRY_VALUE(const auto reply, co_await std::move(asking));
    if (reply.error && reply.error->error_class == "DeviceNotFound") {
        nic.gone = true;
    } else if (reply.error && reply.error->description.find("already in the process of unplug") ==
                                  std::string::npos) {
        co_return qmp::to_error("device_del", *reply.error);
    }
    nic.asked_to_go = true;
    co_return Result<>();
}

boost::asio::awaitable<bool> Vm::wait_let_go(Running& running, Nic& nic,
                                             std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!nic.gone && !running.ended) {
        const bool in_time = co_await condition_.wait_until(deadline);
        if (!in_time) break;
    }
    co_return nic.gone;
}

/// What is left of a card that the guest has let go of.
boost::asio::awaitable<Result<>> Vm::take_out(std::shared_ptr<Running> running,
                                              std::shared_ptr<Nic> nic) {
    nic->let_go();
    if (running->qmp) {
        auto removing = qmp::netdev_del(*running->qmp, launch::netdev_id(nic->card));
        const auto removed = co_await std::move(removing);
        if (!removed && !running->ended) log_warning(spec().name + ": " + removed.error().message);
    }
    drop_nic(*running, nic);
    NOXSUP_CO_TRY(strike_out_card(nic->card.slot));
    log_info(text_of(nic->card) + " was detached from " + spec().name);
    co_return Result<>();
}

/// The same when nobody waits for it any more.
boost::asio::awaitable<void> Vm::take_out_late(std::shared_ptr<Running> running,
                                               std::shared_ptr<Nic> nic) {
    const auto self = shared_from_this();
    auto taking = take_out(running, nic);
    const auto outcome = co_await std::move(taking);
    if (!outcome) log_error(spec().name + ": " + outcome.error().message);
}

Result<> Vm::strike_out_card(unsigned slot) {
    return keep([slot](spec::VmSpec& spec) {
        std::erase_if(spec.networks, [slot](const auto& card) { return card.slot == slot; });
    });
}

/// Called for each device that QEMU has let go of.
void Vm::on_device_deleted(const std::string& id) {
    if (!running_) return;
    const auto found = std::ranges::find_if(
        running_->nics, [&id](const auto& nic) { return launch::nic_id(nic->card) == id; });
    if (found == running_->nics.end()) return;
    const auto nic = *found;
    nic->gone = true;
    if (nic->awaited) return;
    if (nic->asked_to_go) {
        tasks_.spawn("card of " + spec().name, take_out_late(running_, nic));
        return;
    }
    // A guest may eject what is in a port; what the VM has is for its owner to say.
    log_warning("the guest of " + spec().name + " has ejected " + text_of(nic->card) +
                "; it is there again with the next start");
}

}  // namespace noxsup::vm
