// VmSpec to JSON and back. Unknown members at the top survive a round trip; below it they are
// dropped.
#include <array>
#include <utility>

#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::spec {
namespace {

constexpr unsigned spec_version = 1;

/// Reads members of one object; the first failure is kept with the member's path and reading goes
/// on with defaults, so that each reader below is one plain list.
class Reader {
  public:
    Reader(const Json& object, std::string path, std::optional<Error>& failure)
        : object_(object), path_(std::move(path)), failure_(failure) {
        if (!object_.is_object()) fail(Error{ErrorCode::vm_damaged, "is not an object"});
    }

    template <class T>
    void required(const char* key, T& into) {
        take(json_member<T>(object_, key), into);
    }
    template <class T>
    void optional(const char* key, T& into) {
        take(json_member_or<T>(object_, key, into), into);
    }
    /// The same where there may be no value at all, which null is, too.
    template <class T>
    void optional(const char* key, std::optional<T>& into) {
        const auto* value = detail::find_member(object_, key);
        if (value != nullptr && !value->is_null()) required(key, into.emplace());
    }
    /// A word of an enumeration; a missing member keeps the default.
    template <class Enum>
    void word(const char* key, Enum& into) {
        std::string text(to_string(into));
        optional(key, text);
        auto value = from_string<Enum>(text);
        if (value) {
            into = *value;
        } else {
            fail(std::move(value).error().context(std::string("member \"") + key + "\""));
        }
    }
    [[nodiscard]] const Json& child(const char* key) const {
        static const Json empty = Json::object();
        const auto found = object_.is_object() ? object_.find(key) : object_.end();
        return found == object_.end() ? empty : *found;
    }
    [[nodiscard]] Reader nested(const char* key) const {
        return {child(key), path_ + key + ": ", failure_};
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    void fail(Error error) {
        if (failure_) return;
        error.code = ErrorCode::vm_damaged;
        error.message = path_ + error.message;
        failure_ = std::move(error);
    }

  private:
    template <class T>
    void take(Result<T> value, T& into) {
        if (value) {
            into = std::move(*value);
        } else {
            fail(std::move(value).error());
        }
    }

    const Json& object_;
    std::string path_;
    std::optional<Error>& failure_;
};

Json disk_json(const Disk& disk) {
    return {{"virtual_bytes", disk.virtual_bytes},
            {"format", to_string(disk.format)},
            {"base_file", disk.base_file},
            {"base_format", to_string(disk.base_format)},
            {"base_digest", disk.base_digest}};
}

void read_disk(Reader reader, Disk& disk) {
    reader.required("virtual_bytes", disk.virtual_bytes);
    reader.word("format", disk.format);
    reader.optional("base_file", disk.base_file);
    reader.word("base_format", disk.base_format);
    reader.optional("base_digest", disk.base_digest);
}

Json boot_json(const Boot& boot) {
    Json json{{"mode", to_string(boot.mode)},
              {"firmware_code", boot.firmware_code},
              {"kernel", boot.kernel},
              {"initrd", boot.initrd},
              {"command_line", boot.command_line}};
    if (!boot.follow) return json;
    json["follow"] = true;
    json["source"] = boot.source;
    json["kernel_name"] = boot.kernel_name;
    return json;
}

void read_boot(Reader reader, Boot& boot) {
    reader.word("mode", boot.mode);
    reader.optional("firmware_code", boot.firmware_code);
    reader.optional("kernel", boot.kernel);
    reader.optional("initrd", boot.initrd);
    reader.optional("command_line", boot.command_line);
    reader.optional("follow", boot.follow);
    reader.optional("source", boot.source);
    reader.optional("kernel_name", boot.kernel_name);
}

Json network_json(const Network& network) {
    Json publish = Json::array();
    for (const auto& rule : network.publish) {
        publish.push_back({{"host_address", rule.host_address},
                           {"host_port", rule.host_port},
                           {"guest_port", rule.guest_port},
                           {"protocol", to_string(rule.protocol)}});
    }
    Json json{{"slot", network.slot},
              {"mode", to_string(network.mode)},
              {"mac", network.mac},
              {"bridge", network.bridge},
              {"tap", network.tap},
              {"ssh_port", network.ssh_port},
              {"publish", std::move(publish)},
              {"restricted", network.restricted},
              {"fixed_addresses", network.fixed_addresses},
              {"allow_spoofing", network.allow_spoofing},
              {"isolated", network.isolated},
              {"rate", network.rate},
              {"vlan", network.vlan}};
    if (network.spare_port) json["spare_port"] = *network.spare_port;
    return json;
}

void read_network(Reader reader, Network& network, std::optional<Error>& failure) {
    reader.optional("slot", network.slot);
    reader.optional("spare_port", network.spare_port);
    reader.word("mode", network.mode);
    reader.required("mac", network.mac);
    reader.optional("bridge", network.bridge);
    reader.optional("tap", network.tap);
    reader.optional("ssh_port", network.ssh_port);
    reader.optional("restricted", network.restricted);
    reader.optional("fixed_addresses", network.fixed_addresses);
    reader.optional("allow_spoofing", network.allow_spoofing);
    reader.optional("isolated", network.isolated);
    reader.optional("rate", network.rate);
    reader.optional("vlan", network.vlan);
    const auto& list = reader.child("publish");
    if (!list.is_array() && !list.empty()) {
        reader.fail(Error{ErrorCode::vm_damaged, "member \"publish\" is not an array"});
        return;
    }
    for (std::size_t i = 0; i < list.size() && list.is_array(); ++i) {
        Publish rule;
        Reader item(list[i], reader.path() + "publish: " + std::to_string(i) + ": ", failure);
        item.optional("host_address", rule.host_address);
        item.required("host_port", rule.host_port);
        item.required("guest_port", rule.guest_port);
        item.word("protocol", rule.protocol);
        network.publish.push_back(std::move(rule));
    }
}

/// Older builds knew one card, the member "network"; later ones numbered cards by their order.
void read_networks(Reader& reader, std::vector<Network>& networks, std::optional<Error>& failure) {
    const auto& list = reader.child("networks");
    if (list.is_array()) {
        for (const auto& entry : list) {
            const auto path = "networks: " + std::to_string(networks.size()) + ": ";
            auto& network = networks.emplace_back();
            network.slot = static_cast<unsigned>(networks.size() - 1);
            read_network(Reader(entry, path, failure), network, failure);
        }
    } else if (list.empty() && !reader.child("network").empty()) {
        read_network(reader.nested("network"), networks.emplace_back(), failure);
    } else {
        reader.fail(Error{ErrorCode::vm_damaged, "member \"networks\" is no array"});
    }
}

Json cloud_init_json(const CloudInit& cloud_init) {
    return {{"enabled", cloud_init.enabled},
            {"stock", cloud_init.stock},
            {"instance_id", cloud_init.instance_id}};
}

void read_cloud_init(Reader reader, CloudInit& cloud_init) {
    reader.optional("enabled", cloud_init.enabled);
    reader.optional("stock", cloud_init.stock);
    reader.optional("instance_id", cloud_init.instance_id);
}

/// The member "autostart" is the one that older builds know: a bool, false for `off` alone.
void read_autostart(Reader reader, AutostartRule& rule) {
    bool enabled = rule.mode != Autostart::off;
    reader.optional("autostart", enabled);
    rule.mode = enabled ? Autostart::on : Autostart::off;
    if (enabled) reader.word("autostart_mode", rule.mode);
    reader.optional("autostart_order", rule.order);
    reader.optional("autostart_delay_seconds", rule.delay_seconds);
}

}  // namespace

Json to_json(const VmSpec& spec) {
    Json json = spec.extra.is_object() ? spec.extra : Json::object();
    Json networks = Json::array();
    for (const auto& network : spec.networks) networks.push_back(network_json(network));
    json.update({{"version", spec_version},
                 {"name", spec.name},
                 {"uuid", spec.uuid},
                 {"id", spec.id},
                 {"created_at", spec.created_at},
                 {"os", spec.os},
                 {"image", spec.image},
                 {"arch", to_string(spec.arch)},
                 {"accel_requested", to_string(spec.accel_requested)},
                 {"accel", to_string(spec.accel)},
                 {"machine", spec.machine},
                 {"cpus", spec.cpus},
                 {"memory_bytes", spec.memory_bytes},
                 {"disk", disk_json(spec.disk)},
                 {"boot", boot_json(spec.boot)},
                 {"networks", std::move(networks)},
                 {"cloud_init", cloud_init_json(spec.cloud_init)},
                 {"user", spec.user},
                 {"autostart", spec.autostart.mode != Autostart::off},
                 {"autostart_mode", to_string(spec.autostart.mode)},
                 {"autostart_order", spec.autostart.order},
                 {"autostart_delay_seconds", spec.autostart.delay_seconds},
                 {"restart", to_string(spec.restart)}});
    if (!spec.warm_template.empty()) json["warm_template"] = spec.warm_template;
    return json;
}

Result<VmSpec> from_json(const Json& json) {
    std::optional<Error> failure;
    Reader reader(json, "", failure);
    unsigned version = 0;
    reader.required("version", version);
    if (!failure && version != spec_version) {
        return Error{ErrorCode::vm_damaged,
                     "version " + std::to_string(version) + " is not known here",
                     "it was written by a newer noxsup: upgrade this one"};
    }
    VmSpec spec;
    reader.required("name", spec.name);
    reader.required("uuid", spec.uuid);
    reader.required("id", spec.id);
    reader.optional("created_at", spec.created_at);
    reader.optional("os", spec.os);
    reader.optional("image", spec.image);
    reader.word("arch", spec.arch);
    reader.word("accel_requested", spec.accel_requested);
    reader.word("accel", spec.accel);
    reader.required("machine", spec.machine);
    reader.required("cpus", spec.cpus);
    reader.required("memory_bytes", spec.memory_bytes);
    read_disk(reader.nested("disk"), spec.disk);
    read_boot(reader.nested("boot"), spec.boot);
    read_networks(reader, spec.networks, failure);
    read_cloud_init(reader.nested("cloud_init"), spec.cloud_init);
    reader.optional("user", spec.user);
    read_autostart(reader, spec.autostart);
    reader.word("restart", spec.restart);
    reader.optional("warm_template", spec.warm_template);
    if (failure) return *std::move(failure);

    spec.extra = json;
    const auto known = to_json(VmSpec{});
    for (const auto& [key, value] : known.items()) spec.extra.erase(key);
    for (const auto* key : {"network", "warm_template"}) spec.extra.erase(key);
    if (auto valid = validate(spec); !valid) {
        auto error = std::move(valid).error();
        error.code = ErrorCode::vm_damaged;
        return error;
    }
    return spec;
}

}  // namespace noxsup::spec
