// The verbs that watch: events and top.
#include "supervisor/cli/grammar.hpp"

namespace noxsup::cli {

void declare_watching(CLI::App& app, Invocation& invocation) {
    const auto [verb, events] = declare_verb<EventsOptions>(
        app, invocation, "events", "What happened to VMs: changes of state, and QEMU's events");
    verb->add_option("NAME", events->names, "VMs; all of them if not given");
    verb->add_flag("--follow,-f", events->follow, "Go on as things happen");
    verb->add_option("--lines,-n", events->lines, "Only the last so many of those kept");

    const auto [top_verb, top] = declare_verb<TopOptions>(
        app, invocation, "top", "What running VMs take of this host: CPU, memory, disk, network");
    top_verb->add_option("--interval", top->interval, "Time between two looks (2s)");
    top_verb->add_flag("--once,-1", top->once, "Look once and end");
}

}  // namespace noxsup::cli
