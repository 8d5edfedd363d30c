#include "supervisor/cli/vm_view.hpp"

#include <algorithm>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/duration.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::cli {
namespace {

const Json* member_at(const Json& object, std::string_view path) {
    const Json* value = &object;
    for (const auto& key : split(path, '.')) {
        value = detail::find_member(*value, key);
        if (value == nullptr) return nullptr;
    }
    return value;
}

std::string text_of(const Json& value) {
    if (value.is_null()) return {};
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    return dump_json(value);
}

const Json& list_at(const Json& object, std::string_view path) {
    static const Json empty = Json::array();
    const auto* value = member_at(object, path);
    return value != nullptr && value->is_array() ? *value : empty;
}

std::string size_text(const Json& vm, std::string_view path, bool for_people) {
    const auto* value = member_at(vm, path);
    if (value == nullptr || !value->is_number_unsigned()) return {};
    const auto bytes = value->get<std::uint64_t>();
    return for_people ? format_bytes(bytes) : std::to_string(bytes);
}

/// "-" for people where there is nothing; an empty field for programs.
std::string cell(std::string text, bool for_people) {
    return text.empty() && for_people ? "-" : text;
}

/// Lines of "key:   value"; nothing for what is empty.
class Page {
  public:
    void line(std::string_view key, const std::string& value) {
        if (value.empty()) return;
        constexpr std::size_t key_width = 12;
        auto label = "  " + std::string(key) + ":";
        label.resize(std::max(label.size() + 1, key_width + 3), ' ');
        text_ += label + one_line(value) + "\n";
    }
    void heading(const std::string& text) { text_ += one_line(text) + "\n"; }
    [[nodiscard]] std::string text() const { return text_; }

  private:
    static std::string one_line(const std::string& raw) {
        auto text = escape_for_terminal(raw);
        std::ranges::replace(text, '\n', ' ');
        return text;
    }
    std::string text_;
};

std::string publish_text(const Json& publish) {
    return text_at(publish, "host_address") + ":" + text_at(publish, "host_port") + " -> " +
           text_at(publish, "guest_port") + "/" + text_at(publish, "protocol") +
           (text_at(publish, "by") == "supervisor" ? ", while this supervisor runs" : "");
}

bool is_set(const Json& object, const char* key) {
    const auto* member = detail::find_member(object, key);
    return member != nullptr && *member == Json(true);
}

void add_networks(Page& page, const Json& vm) {
    for (const auto& network : list_at(vm, "networks")) {
        auto text = text_at(network, "mode");
        const auto bridge = text_at(network, "bridge");
        if (!bridge.empty()) text += " " + bridge;
        text += ", " + text_at(network, "mac");
        const auto vlan = text_at(network, "vlan");
        if (!vlan.empty()) text += ", VLAN " + vlan;
        const auto addresses = list_text_at(network, "addresses");
        if (!addresses.empty()) text += ", " + addresses;
        if (is_set(network, "isolated")) text += ", isolated";
        if (is_set(network, "allow_spoofing")) text += ", may send from any address";
        const auto* rate = detail::find_member(network, "rate");
        if (rate != nullptr && rate->is_number_unsigned())
            text += ", at most " + format_rate(rate->get<std::uint64_t>());
        // By its number the card can be taken out again.
        const auto slot = text_at(network, "slot");
        page.line(slot.empty() ? "network" : "network " + slot, text);
        for (const auto& publish : list_at(network, "publish")) {
            page.line("published", publish.is_object() ? publish_text(publish) : text_of(publish));
        }
    }
}

/// What keeps a running QEMU from the rest of the host.
std::string confinement_text(const Json& vm) {
    const auto* confinement = member_at(vm, "confinement");
    if (confinement == nullptr || !confinement->is_object()) return {};
    const auto uid = text_at(*confinement, "uid");
    const auto landlock = text_at(*confinement, "landlock");
    const auto cgroup = text_at(*confinement, "cgroup");
    return join({uid.empty() ? "the supervisor's own uid" : "uid " + uid,
                 landlock.empty() ? "no Landlock" : "Landlock " + landlock,
                 cgroup.empty() ? "no cgroup" : "cgroup " + cgroup},
                ", ");
}

/// "yes", "no", "last"; on the page also what differs from the usual.
std::string autostart_text(const Json& vm, bool whole = false) {
    const auto mode = text_at(vm, "autostart_mode");
    auto text = mode == "last" ? mode : text_at(vm, "autostart");
    if (!whole || mode.empty() || mode == "off") return text;
    const auto order = text_at(vm, "autostart_order");
    const auto delay = text_at(vm, "autostart_delay_seconds");
    if (order != std::to_string(spec::AutostartRule().order)) text += ", order " + order;
    if (delay != "0") text += ", then a pause of " + delay + " s";
    return text;
}

}  // namespace

std::string list_text_at(const Json& object, std::string_view path) {
    std::vector<std::string> parts;
    for (const auto& item : list_at(object, path)) parts.push_back(text_of(item));
    return join(parts, ", ");
}

std::string text_at(const Json& object, std::string_view path) {
    const auto* value = member_at(object, path);
    return value == nullptr ? std::string() : text_of(*value);
}

std::string vm_address(const Json& vm) {
    for (const auto& network : list_at(vm, "networks")) {
        if (text_at(network, "mode") == "user") continue;  // unreachable from the host
        const auto& addresses = list_at(network, "addresses");
        if (!addresses.empty()) return text_of(addresses.front());
    }
    const auto host = text_at(vm, "ssh.host");
    const auto port = text_at(vm, "ssh.port");
    return host.empty() || port == "22" || port.empty() ? host : host + ":" + port;
}

Table vm_table(const Json& vms, bool for_people) {
    Table table{{"NAME", "STATE", "OS", "CPUS", "RAM", "DISK", "AUTOSTART", "IP"}, {}};
    for (const auto& vm : vms) {
        std::vector<std::string> row = {
            text_at(vm, "name"),
            text_at(vm, "state"),
            text_at(vm, "os"),
            text_at(vm, "cpus"),
            size_text(vm, "memory_bytes", for_people),
            size_text(vm, "disk.virtual_bytes", for_people),
            autostart_text(vm),
            vm_address(vm),
        };
        for (auto& text : row) text = cell(std::move(text), for_people);
        table.rows.push_back(std::move(row));
    }
    return table;
}

std::string stages_text(const Json& vm) {
    std::vector<std::string> parts;
    for (const auto& stage : list_at(vm, "stages")) {
        const auto seconds = json_member<double>(stage, "seconds");
        if (seconds) parts.push_back(text_at(stage, "name") + " " + format_seconds(*seconds));
    }
    return join(parts, ", ");
}

std::string vm_page(const Json& vm) {
    Page page;
    page.heading(text_at(vm, "name"));
    auto state = text_at(vm, "state");
    const auto reason = text_at(vm, "reason");
    if (!reason.empty()) state += " (" + reason + ")";
    page.line("state", state);
    page.line("degraded", list_text_at(vm, "degraded"));
    page.line("os", text_at(vm, "os"));
    page.line("image", text_at(vm, "image"));
    page.line("arch", text_at(vm, "arch"));
    const auto accel = text_at(vm, "accel");
    page.line("accel", accel == "tcg" ? "tcg (emulation: slow, and no isolation boundary)" : accel);
    page.line("machine", text_at(vm, "machine"));
    const auto kernel = text_at(vm, "kernel");
    page.line("boot", text_at(vm, "boot") + (kernel.empty() ? "" : " (" + kernel + ")"));
    page.line("cpus", text_at(vm, "cpus"));
    page.line("ram", size_text(vm, "memory_bytes", true));
    const auto disk = size_text(vm, "disk.virtual_bytes", true);
    const auto used = size_text(vm, "disk.used_bytes", true);
    page.line("disk", used.empty() ? disk : disk + " (" + used + " used)");
    add_networks(page, vm);
    const auto host = text_at(vm, "ssh.host");
    if (!host.empty()) {
        page.line("ssh", text_at(vm, "ssh.user") + "@" + host + " port " + text_at(vm, "ssh.port"));
    }
    page.line("autostart", autostart_text(vm, true));
    page.line("restart", text_at(vm, "restart"));
    page.line("next start", text_at(vm, "restart_at"));
    page.line("pid", text_at(vm, "pid"));
    page.line("confined", confinement_text(vm));
    page.line("uuid", text_at(vm, "uuid"));
    page.line("created", text_at(vm, "created_at"));
    page.line("started", text_at(vm, "started_at"));
    page.line("stages", stages_text(vm));
    page.line("problem", text_at(vm, "problem"));
    return page.text();
}

Document vm_document(Json vms) {
    Document document;
    document.table = vm_table(vms, false);
    for (const auto& vm : vms) document.names.push_back(text_at(vm, "name"));
    document.json = {{"vms", std::move(vms)}};
    return document;
}

}  // namespace noxsup::cli
