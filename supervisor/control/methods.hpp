// The control protocol's vocabulary: every method, its parameters and its result, in one table.
#pragma once

#include <string_view>

// clang-format off
/// JSON-RPC 2.0, one UTF-8 object a line, at most 1 MiB, over a UNIX stream socket; descriptors
/// ride on the line that names them by index. The first call is `hello`.
///
/// | method       | parameters                                     | result                        |
/// |--------------|------------------------------------------------|-------------------------------|
/// | hello        | protocol (int), client (text)                  | protocol, server, pid, home, scope |
/// | cancel       | call (id)                                      | {} (the call ends as `interrupted`) |
/// | vm.create    | CreateRequest, see below                       | vm, password?, notes          |
/// | vm.list      |                                                | vms                           |
/// | vm.status    | name                                           | vm                            |
/// | vm.start     | name, wait?, timeout_seconds?, paused? (bool), cold? (bool) | vm               |
/// | vm.stop      | name, force?, timeout_seconds?                 | vm, how                       |
/// | vm.pause     | name                                           | vm                            |
/// | vm.resume    | name                                           | vm                            |
/// | vm.suspend   | name                                           | vm                            |
/// | vm.restart   | name, force?, timeout_seconds?, wait?          | vm, how                       |
/// | vm.reset     | name                                           | vm                            |
/// | vm.rename    | name, new_name                                 | vm                            |
/// | vm.set       | name, changes {key: text}: cpus, ram, restart  | vm                            |
/// | vm.network_attach | name, network (as network? of vm.create, for one card) | vm           |
/// | vm.network_detach | name, card (its slot or MAC address, a text) | vm                    |
/// | vm.clone     | name, new_name, snapshot?, full? (bool)        | vm                            |
/// | vm.snapshot_create | name, snapshot?, comment?, ram? (bool)   | snapshot                      |
/// | vm.snapshot_list | name? (none: of all)                      | snapshots                     |
/// | vm.snapshot_restore | name, snapshot, force? (bool: stop it first) | vm, snapshot           |
/// | vm.snapshot_remove | name, snapshot                          | {}                            |
/// | vm.delete    | name                                           | {}                            |
/// | vm.wait      | name, for, timeout_seconds?                    | vm                            |
/// | vm.console   | name                                           | {} and a stream socket        |
/// | vm.log       | name, log (console or qemu)                    | {} and the file, opened to read |
/// | vm.usage     |                                                | vms[] {name, cpus, ram_bytes, at_seconds, cpu_seconds, memory_bytes, guest_bytes?, overhead_bytes?, read_bytes?, written_bytes?, received_bytes?, sent_bytes?}: sums of the running ones |
/// | vm.ssh       | name                                           | user, host, port, host_key_alias, identity_path, known_hosts_path |
/// | template.create | as vm.create, but for name and what is of one VM alone | template     |
/// | template.list |                                               | templates                     |
/// | template.remove | id                                          | {}                            |
/// | image.list   |                                                | images                        |
/// | image.available |                                             | images (the catalog; no network is asked) |
/// | image.pull   | os, arch?                                      | image                         |
/// | image.build  | os, arch?, mirror?                             | image                         |
/// | image.import | name, os?, arch?, fd (index)                   | image                         |
/// | image.remove | name                                           | {}                            |
/// | image.verify | name                                           | image, or the error digest-mismatch |
/// | image.prune  | dry_run? (bool)                                | removed[] {file, bytes}, freed_bytes |
/// | events.subscribe | see below                                  | {}                            |
/// | host.doctor  | mend? (bool: do what is safe)                  | checks                        |
/// | daemon.stop  |                                                | {} (the VMs go on)            |
///
/// CreateRequest: name, os?, image? (a name in the cache), image_fd? (index: an image file) with
/// image_source? (that file's name), image_url?, arch?, cpus?, ram?, disk? (texts as on the command
/// line: "2", "50%", "1.5G"), network? ("user", "nat", "bridge=br0,isolated", "eth0"; a
/// list of them for several cards; see parse_network_wish()), publish[], ip?, gateway?,
/// dns[], mac?, vlan? (a text), user?, ssh_keys[] (texts), cloud_init[] ({name, text}), accel?, restart?,
/// autostart? (bool), start? (bool), wait? (running, ip, ssh, cloud-init), timeout_seconds?, boot?,
/// stock? (bool), cold? (bool: boot also where a template fits), password? (bool), allow_build? (bool: build the image from packages when the
/// vendor cannot be reached).
///
/// vm.autostart: name, mode? (off, on, last), order?, delay_seconds?; gives vm.
/// host.stop_guests: timeout_seconds?; stops all VMs as for a host that shuts down, in the reverse
/// of their start order; gives vms[] of {name, how} or {name, error}.
///
/// events.subscribe: follow? (bool; without it the call ends with what is kept), names[]? (of VMs;
/// none: all), last? (only so many of what is kept), or since (seq) with stream to go on behind it.
/// First comes `event {call, stream, seq}`, which tells where it begins, then `event {call, stream,
/// event}` for each. A client that reads too slowly gets {kind: "missed", count} in their place.
///
/// Names of several VMs are the client's loop: one call a VM.
///
/// Notifications of a running call, to its caller only:
///   progress {call, stage, done, total, unit, seconds?}  total 0: unknown; seconds: it has ended
///   note     {call, text}                                one line for the user
///
/// Errors: code -32000 with data {code, exit, stage, hint, evidence[]}; the JSON-RPC codes for
/// broken calls.
// clang-format on
namespace noxsup::control {

/// The major version of the protocol; another one is refused at hello.
inline constexpr int protocol_version = 1;

namespace method {
inline constexpr std::string_view hello = "hello";
inline constexpr std::string_view cancel = "cancel";
inline constexpr std::string_view vm_create = "vm.create";
inline constexpr std::string_view vm_list = "vm.list";
inline constexpr std::string_view vm_status = "vm.status";
inline constexpr std::string_view vm_start = "vm.start";
inline constexpr std::string_view vm_stop = "vm.stop";
inline constexpr std::string_view vm_pause = "vm.pause";
inline constexpr std::string_view vm_resume = "vm.resume";
inline constexpr std::string_view vm_suspend = "vm.suspend";
inline constexpr std::string_view vm_rename = "vm.rename";
inline constexpr std::string_view vm_set = "vm.set";
inline constexpr std::string_view vm_network_attach = "vm.network_attach";
inline constexpr std::string_view vm_network_detach = "vm.network_detach";
inline constexpr std::string_view vm_clone = "vm.clone";
inline constexpr std::string_view vm_snapshot_create = "vm.snapshot_create";
inline constexpr std::string_view vm_snapshot_list = "vm.snapshot_list";
inline constexpr std::string_view vm_snapshot_restore = "vm.snapshot_restore";
inline constexpr std::string_view vm_snapshot_remove = "vm.snapshot_remove";
inline constexpr std::string_view vm_restart = "vm.restart";
inline constexpr std::string_view vm_reset = "vm.reset";
inline constexpr std::string_view vm_delete = "vm.delete";
inline constexpr std::string_view vm_wait = "vm.wait";
inline constexpr std::string_view vm_autostart = "vm.autostart";
inline constexpr std::string_view vm_console = "vm.console";
inline constexpr std::string_view vm_log = "vm.log";
inline constexpr std::string_view vm_usage = "vm.usage";
inline constexpr std::string_view vm_ssh = "vm.ssh";
inline constexpr std::string_view template_create = "template.create";
inline constexpr std::string_view template_list = "template.list";
inline constexpr std::string_view template_remove = "template.remove";
inline constexpr std::string_view image_list = "image.list";
inline constexpr std::string_view image_available = "image.available";
inline constexpr std::string_view image_pull = "image.pull";
inline constexpr std::string_view image_build = "image.build";
inline constexpr std::string_view image_import = "image.import";
inline constexpr std::string_view image_remove = "image.remove";
inline constexpr std::string_view image_verify = "image.verify";
inline constexpr std::string_view image_prune = "image.prune";
inline constexpr std::string_view events_subscribe = "events.subscribe";
inline constexpr std::string_view host_doctor = "host.doctor";
inline constexpr std::string_view host_stop_guests = "host.stop_guests";
inline constexpr std::string_view daemon_stop = "daemon.stop";
}  // namespace method

}  // namespace noxsup::control
