// What a VM tells the event hub: each change of its state, reason, name or addresses, and its
// QEMU's events.

#include <string>
#include <utility>

#include "supervisor/base/log.hpp"
#include "supervisor/vm/vm_running.hpp"

namespace noxsup::vm {
namespace {

std::string text_of(lifecycle::State state, lifecycle::Reason reason) {
    std::string text(to_string(state));
    if (reason != lifecycle::Reason::none) text.append(" (").append(to_string(reason)).append(")");
    return text;
}

}  // namespace

/// Called by changed() and save(), one of which follows every change: what differs from what was
/// published last is news, so that no way of changing can forget to tell.
void Vm::publish_change() {
    Published now{record_.spec.name, machine_.state(), machine_.reason()};
    if (deleted_ || now == published_) return;
    const auto before = std::exchange(published_, now);
    Event event;
    event.vm = now.name;
    event.uuid = record_.spec.uuid;
    event.state = now.state;
    event.reason = now.reason;
    if (now.name != before.name) {
        auto renamed = event;
        renamed.kind = EventKind::renamed;
        renamed.data = dump_json({{"from", before.name}});
        environment_.events.publish(std::move(renamed));
    }
    if (now.state == before.state && now.reason == before.reason) return;
    event.previous = before.state;
    log_info(now.name + " is " + text_of(now.state, now.reason) + ", was " +
             text_of(before.state, before.reason));
    environment_.events.publish(std::move(event));
}

Event Vm::event_now() const {
    Event event;
    event.vm = record_.spec.name;
    event.uuid = record_.spec.uuid;
    event.state = machine_.state();
    event.reason = machine_.reason();
    return event;
}

void Vm::publish(const qmp::Event& event) {
    environment_.events.publish_qmp(event_now(), event.name, event.data);
}

void Vm::publish_addresses(const Nic& nic) {
    auto list = Json::array();
    for (const auto& seen : nic.addresses) list.push_back(seen.address.to_string());
    auto event = event_now();
    event.kind = EventKind::addresses;
    event.data = dump_json({{"mac", nic.card.mac}, {"addresses", list}});
    environment_.events.publish(std::move(event));
}

}  // namespace noxsup::vm
