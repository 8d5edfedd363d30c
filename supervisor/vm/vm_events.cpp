// What a VM tells the event hub: each change of its state, reason or name, and its QEMU's events.

#include <utility>

#include "supervisor/vm/vm.hpp"

namespace noxsup::vm {

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
    environment_.events.publish(std::move(event));
}

void Vm::publish(const qmp::Event& event) {
    Event about;
    about.vm = record_.spec.name;
    about.uuid = record_.spec.uuid;
    about.state = machine_.state();
    about.reason = machine_.reason();
    environment_.events.publish_qmp(std::move(about), event.name, event.data);
}

}  // namespace noxsup::vm
