#include "qmp/commands.hpp"

#include <algorithm>
#include <string_view>

#include "supervisor/base/text.hpp"

namespace noxsup::qmp {
namespace {

/// The reply as a T. Takes the awaitable, not the client: the client may go meanwhile.
template <class T>
Call<T> typed(Call<Json> reply, Result<T> (*parse)(const Json&)) {
    NOXSUP_CO_TRY_VALUE(const auto value, co_await std::move(reply));
    co_return parse(value);
}

Call<> done(Call<Json> reply) {
    NOXSUP_CO_TRY(co_await std::move(reply));
    co_return Result<>();
}

Call<> simple(Client& client, std::string name, Json arguments = Json::object()) {
    return done(client.execute(Request(std::move(name), std::move(arguments))));
}

template <class T>
Call<T> query(Client& client, std::string name, Result<T> (*parse)(const Json&),
              Json arguments = Json::object()) {
    return typed<T>(client.execute(Request(std::move(name), std::move(arguments))), parse);
}

std::vector<UniqueFd> only(UniqueFd fd) {
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(fd));
    return fds;
}

Call<std::optional<std::uint64_t>> balloon_or_nothing(Call<Reply> call) {
    NOXSUP_CO_TRY_VALUE(const auto reply, co_await std::move(call));
    if (reply.error) {
        // qapi/machine.json: DeviceNotActive where no balloon device is present.
        if (reply.error->error_class == "DeviceNotActive") co_return std::optional<std::uint64_t>();
        co_return to_error("query-balloon", *reply.error);
    }
    NOXSUP_CO_TRY_VALUE(const auto bytes, parse_balloon(reply.value));
    co_return std::optional(bytes);
}

/// As much as the counts of a large disk's clusters take on a slow medium.
constexpr std::chrono::minutes snapshot_deadline{5};

Request snapshot_request(const char* command, std::string node_name, std::string tag) {
    Request request(command, Json{{"device", std::move(node_name)}, {"name", std::move(tag)}});
    request.deadline = snapshot_deadline;
    return request;
}

Call<> deleted_or_absent(Call<Json> reply) {
    auto outcome = co_await std::move(reply);
    const bool absent =
        !outcome && outcome.error().message.find("does not exist on device") != std::string::npos;
    if (outcome || absent) co_return Result<>();
    co_return std::move(outcome).error();
}

bool is_id(std::string_view text) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    };
    return !text.empty() && std::ranges::all_of(text, allowed);
}

bool is_ipv4_text(std::string_view text) {
    return !text.empty() &&
           std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

/// The monitor says nothing on success and a sentence otherwise.
Call<> hostfwd_outcome(Call<Json> reply, std::string rule) {
    NOXSUP_CO_TRY_VALUE(const auto value, co_await std::move(reply));
    if (!value.is_string()) {
        co_return Error{ErrorCode::protocol_error,
                        "QMP human-monitor-command: the reply is no text"};
    }
    const auto& said = value.get_ref<const std::string&>();
    const auto words = trim(said);
    if (words.empty()) co_return Result<>();
    const bool taken =
        words.find("Could not set up host forwarding rule") != std::string_view::npos;
    co_return Error{taken ? ErrorCode::port_taken : ErrorCode::qemu_failed,
                    "forward " + rule + ": " + escape_for_terminal(words),
                    taken ? "choose another host port" : ""};
}

Call<> failed(Error error) {
    co_return std::move(error);
}

}  // namespace

Call<StatusInfo> query_status(Client& client) {
    return query<StatusInfo>(client, "query-status", &parse_status);
}

Call<Version> query_version(Client& client) {
    return query<Version>(client, "query-version", &parse_version);
}

Call<> cont(Client& client) {
    return simple(client, "cont");
}

Call<> stop(Client& client) {
    return simple(client, "stop");
}

Call<> system_powerdown(Client& client) {
    return simple(client, "system_powerdown");
}

Call<> system_reset(Client& client) {
    return simple(client, "system_reset");
}

Call<> system_wakeup(Client& client) {
    return simple(client, "system_wakeup");
}

Call<> quit(Client& client) {
    return simple(client, "quit");
}

Call<Json> query_qmp_schema(Client& client) {
    return client.execute(Request("query-qmp-schema"));
}

Call<KvmInfo> query_kvm(Client& client) {
    return query<KvmInfo>(client, "query-kvm", &parse_kvm);
}

Call<std::vector<Cpu>> query_cpus_fast(Client& client) {
    return query<std::vector<Cpu>>(client, "query-cpus-fast", &parse_cpus);
}

Call<std::vector<BlockDevice>> query_block(Client& client) {
    return query<std::vector<BlockDevice>>(client, "query-block", &parse_block_devices);
}

Call<std::vector<BlockNode>> query_named_block_nodes(Client& client) {
    return query<std::vector<BlockNode>>(client, "query-named-block-nodes", &parse_block_nodes,
                                         Json{{"flat", true}});
}

Call<> blockdev_add(Client& client, Json options) {
    return simple(client, "blockdev-add", std::move(options));
}

Call<> blockdev_del(Client& client, std::string node_name) {
    return simple(client, "blockdev-del", Json{{"node-name", std::move(node_name)}});
}

Call<> block_resize(Client& client, std::string node_name, std::uint64_t size) {
    return simple(client, "block_resize",
                  Json{{"node-name", std::move(node_name)}, {"size", size}});
}

Call<> snapshot_internal(Client& client, std::string node_name, std::string tag) {
    return done(client.execute(
        snapshot_request("blockdev-snapshot-internal-sync", std::move(node_name), std::move(tag))));
}

Call<> delete_snapshot_internal(Client& client, std::string node_name, std::string tag) {
    return deleted_or_absent(client.execute(snapshot_request(
        "blockdev-snapshot-delete-internal-sync", std::move(node_name), std::move(tag))));
}

Call<> device_add(Client& client, Json options) {
    return simple(client, "device_add", std::move(options));
}

Call<> device_del(Client& client, std::string id) {
    return simple(client, "device_del", Json{{"id", std::move(id)}});
}

Call<> netdev_add(Client& client, Json options) {
    return simple(client, "netdev_add", std::move(options));
}

Call<> netdev_del(Client& client, std::string id) {
    return simple(client, "netdev_del", Json{{"id", std::move(id)}});
}

Call<Json> query_pci(Client& client) {
    return client.execute(Request("query-pci"));
}

Call<> set_link(Client& client, std::string name, bool up) {
    return simple(client, "set_link", Json{{"name", std::move(name)}, {"up", up}});
}

Call<std::optional<std::uint64_t>> query_balloon(Client& client) {
    return balloon_or_nothing(client.request(Request("query-balloon")));
}

Call<> balloon(Client& client, std::uint64_t bytes) {
    return simple(client, "balloon", Json{{"value", bytes}});
}

Call<> getfd(Client& client, std::string name, UniqueFd fd) {
    return done(
        client.execute(Request("getfd", Json{{"fdname", std::move(name)}}, only(std::move(fd)))));
}

Call<> closefd(Client& client, std::string name) {
    return simple(client, "closefd", Json{{"fdname", std::move(name)}});
}

Call<FdsetMember> add_fd(Client& client, UniqueFd fd, std::optional<std::int64_t> fdset_id,
                         std::string opaque) {
    auto arguments = Json::object();
    if (fdset_id) arguments["fdset-id"] = *fdset_id;
    if (!opaque.empty()) arguments["opaque"] = std::move(opaque);
    return typed<FdsetMember>(
        client.execute(Request("add-fd", std::move(arguments), only(std::move(fd)))),
        &parse_fdset_member);
}

Call<> remove_fd(Client& client, std::int64_t fdset_id, std::optional<std::int64_t> fd) {
    Json arguments{{"fdset-id", fdset_id}};
    if (fd) arguments["fd"] = *fd;
    return simple(client, "remove-fd", std::move(arguments));
}

Call<std::vector<Chardev>> query_chardev(Client& client) {
    return query<std::vector<Chardev>>(client, "query-chardev", &parse_chardevs);
}

Call<> migrate_set_capabilities(Client& client, std::vector<MigrationCapability> capabilities) {
    auto list = Json::array();
    for (auto& capability : capabilities) {
        list.push_back(
            Json{{"capability", std::move(capability.name)}, {"state", capability.enabled}});
    }
    return simple(client, "migrate-set-capabilities", Json{{"capabilities", std::move(list)}});
}

Call<> migrate_set_parameters(Client& client, Json parameters) {
    return simple(client, "migrate-set-parameters", std::move(parameters));
}

Call<> migrate(Client& client, std::string uri) {
    return simple(client, "migrate", Json{{"uri", std::move(uri)}});
}

Call<> migrate_incoming(Client& client, std::string uri) {
    return simple(client, "migrate-incoming", Json{{"uri", std::move(uri)}});
}

Call<> migrate_cancel(Client& client) {
    return simple(client, "migrate_cancel");
}

Call<MigrationInfo> query_migrate(Client& client) {
    return query<MigrationInfo>(client, "query-migrate", &parse_migration);
}

Call<> hostfwd_add(Client& client, std::string netdev, HostForward forward) {
    const bool guest_given = !forward.guest_address.empty();
    if (!is_id(netdev) || !is_ipv4_text(forward.host_address) ||
        (guest_given && !is_ipv4_text(forward.guest_address)) || forward.host_port == 0 ||
        forward.guest_port == 0) {
        return failed(Error{ErrorCode::invalid_argument,
                            "forward a port: not a netdev id, IPv4 addresses and ports"});
    }
    auto rule = std::string(forward.udp ? "udp:" : "tcp:") + forward.host_address + ":" +
                std::to_string(forward.host_port) + "-" + forward.guest_address + ":" +
                std::to_string(forward.guest_port);
    Json arguments{{"command-line", "hostfwd_add " + netdev + " " + rule}};
    return hostfwd_outcome(client.execute(Request("human-monitor-command", std::move(arguments))),
                           std::move(rule));
}

}  // namespace noxsup::qmp
