// Typed QMP commands: one function for each command a supervisor sends, named as QEMU names it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/replies.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup::qmp {

/// All of them fail as Client::execute does, and with protocol_error for a reply of another shape.
/// The client may go while one waits. Each names the file of QEMU's qapi/ that defines it.
template <class T = void>
using Call = boost::asio::awaitable<Result<T>>;

// run-state.json, misc.json, control.json: running and stopping
Call<StatusInfo> query_status(Client& client);  ///< run-state.json
Call<Version> query_version(Client& client);    ///< control.json
Call<> cont(Client& client);                    ///< misc.json
Call<> stop(Client& client);                    ///< misc.json
Call<> system_powerdown(Client& client);        ///< machine.json; asks the guest, no more
Call<> system_reset(Client& client);            ///< machine.json
Call<> system_wakeup(Client& client);           ///< machine.json
Call<> quit(Client& client);                  ///< control.json; done when the connection ends, too
Call<Json> query_qmp_schema(Client& client);  ///< introspect.json; about 200 KB, as it came
Call<KvmInfo> query_kvm(Client& client);      ///< machine.json
Call<std::vector<Cpu>> query_cpus_fast(Client& client);  ///< machine.json

// block-core.json
Call<std::vector<BlockDevice>> query_block(Client& client);
Call<std::vector<BlockNode>> query_named_block_nodes(
    Client& client);  ///< flat: without backing chains
/// Adds a node. @param options BlockdevOptions: {"driver", "node-name", ...}
Call<> blockdev_add(Client& client, Json options);
Call<> blockdev_del(Client& client, std::string node_name);
/// Grows or shrinks a node to `size` bytes.
Call<> block_resize(Client& client, std::string node_name, std::uint64_t size);

/// A point in time inside a node's own file (blockdev-snapshot-internal-sync), and its removal.
/// QEMU answers nothing else meanwhile. @param tag the snapshot's name
Call<> snapshot_internal(Client& client, std::string node_name, std::string tag);
/// Fine when there is none of that name.
Call<> delete_snapshot_internal(Client& client, std::string node_name, std::string tag);

// qdev.json, net.json
/// Plugs a device in. @param options {"driver", "id", "bus", ...}
Call<> device_add(Client& client, Json options);
/// Asks for a removal; it is done when the DEVICE_DELETED event says so.
Call<> device_del(Client& client, std::string id);
/// @param options Netdev: {"type", "id", ...}
Call<> netdev_add(Client& client, Json options);
Call<> netdev_del(Client& client, std::string id);
/// The PCI buses with the devices on them, as it came: pci.json, a list of PciInfo.
Call<Json> query_pci(Client& client);
/// The carrier of a NIC or netdev.
Call<> set_link(Client& client, std::string name, bool up);

// machine.json: balloon
/// Bytes the guest has, or nothing where the machine has no balloon.
Call<std::optional<std::uint64_t>> query_balloon(Client& client);
/// Asks the guest to have `bytes`.
Call<> balloon(Client& client, std::uint64_t bytes);

// misc.json, add-fd.json: descriptors. Each is closed here once QEMU has it, and on errors.
/// Gives QEMU a descriptor under a name, for fd=NAME and "fd:NAME".
Call<> getfd(Client& client, std::string name, UniqueFd fd);
Call<> closefd(Client& client, std::string name);
/// Adds a descriptor to /dev/fdset/`fdset_id` (a new set when nothing is given).
Call<FdsetMember> add_fd(Client& client, UniqueFd fd, std::optional<std::int64_t> fdset_id = {},
                         std::string opaque = {});
/// Removes one descriptor of a set, or all of them.
Call<> remove_fd(Client& client, std::int64_t fdset_id, std::optional<std::int64_t> fd = {});

// char.json
Call<std::vector<Chardev>> query_chardev(Client& client);

// migration.json
/// One capability: {"x-ignore-shared", true}.
struct MigrationCapability {
    MigrationCapability(std::string capability, bool on)
        : name(std::move(capability)), enabled(on) {}
    std::string name;
    bool enabled;
};
Call<> migrate_set_capabilities(Client& client, std::vector<MigrationCapability> capabilities);
/// @param parameters MigrateSetParameters: {"max-bandwidth": 0, ...}
Call<> migrate_set_parameters(Client& client, Json parameters);
/// Begins; follow it by MIGRATION events or query_migrate. @param uri "fd:NAME" of getfd()
Call<> migrate(Client& client, std::string uri);
/// Begins an incoming one. @pre QEMU was started with -incoming defer
Call<> migrate_incoming(Client& client, std::string uri);
Call<> migrate_cancel(Client& client);
Call<MigrationInfo> query_migrate(Client& client);

/// A port of the host that leads into the guest.
struct HostForward {
    bool udp = false;
    std::string host_address = "127.0.0.1";  ///< IPv4
    std::uint16_t host_port = 0;
    std::string guest_address;  ///< IPv4; empty is the first DHCP lease
    std::uint16_t guest_port = 0;
};
/// Adds a forward to a user-mode netdev. QEMU has no QMP command for it up to 10.0, so this one
/// goes through human-monitor-command (misc.json); ids and addresses are checked before they become
/// text. Errors: also invalid_argument; port_taken when the host's port is in use.
Call<> hostfwd_add(Client& client, std::string netdev, HostForward forward);

}  // namespace noxsup::qmp
