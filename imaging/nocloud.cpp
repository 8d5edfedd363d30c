#include "imaging/nocloud.hpp"

#include <algorithm>
#include <string_view>

#include "imaging/iso9660/writer.hpp"
#include "imaging/login_first.hpp"
#include "imaging/nocloud_documents.hpp"
#include "imaging/nocloud_json.hpp"
#include "imaging/nocloud_mime.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::string_view cloud_config_header = "#cloud-config\n";
// Lists are joined, the user's scalars stay, mappings are merged member by member (cloud-init,
// "Merging user-data sections").
constexpr std::string_view merge_type = "list(append)+dict(no_replace,recurse_list)+str()";

/// Key files hold several lines; nothing else in them may be a control character.
Result<> check_key_file(std::string_view text, std::string_view what) {
    for (const auto& line : split(text, '\n')) NOXSUP_TRY(check_one_line(line, what));
    return {};
}

Result<> check_network(const SeedNetwork& network) {
    NOXSUP_TRY(check_one_line(network.mac, "the MAC address"));
    for (const auto& domain : network.search) NOXSUP_TRY(check_one_line(domain, "the domain"));
    if (!network.address) return {};
    NOXSUP_TRY(check_one_line(network.address->cidr, "the address"));
    NOXSUP_TRY(check_one_line(network.address->gateway.value_or(""), "the gateway"));
    for (const auto& server : network.address->dns) {
        NOXSUP_TRY(check_one_line(server, "the name server"));
    }
    return {};
}

Result<> check_spec(const SeedSpec& spec) {
    NOXSUP_TRY(check_one_line(spec.name, "the host name"));
    NOXSUP_TRY(check_one_line(spec.instance_id, "the instance id"));
    NOXSUP_TRY(check_user_name(spec.user));
    NOXSUP_TRY(check_one_line(spec.shell, "the shell"));
    for (const auto& key : spec.authorized_keys) {
        NOXSUP_TRY(check_one_line(key, "the ssh key"));
        if (trim(key).empty()) return Error{ErrorCode::invalid_argument, "an ssh key is empty"};
    }
    NOXSUP_TRY(check_key_file(spec.host_key_private, "the private host key"));
    NOXSUP_TRY(check_one_line(spec.host_key_public, "the public host key"));
    NOXSUP_TRY(check_one_line(spec.password_hash.value_or(""), "the password hash"));
    for (const auto& network : spec.networks) NOXSUP_TRY(check_network(network));
    return {};
}

Json user_entry(const SeedSpec& spec) {
    Json user = {{"name", spec.user},
                 {"gecos", spec.user},
                 {"groups", {"adm", "sudo"}},
                 {"shell", spec.shell},
                 {"sudo", "ALL=(ALL) NOPASSWD:ALL"},
                 {"lock_passwd", !spec.password_hash.has_value()}};
    if (spec.doas) user["doas"] = {"permit nopass " + spec.user};
    if (!spec.authorized_keys.empty()) user["ssh_authorized_keys"] = spec.authorized_keys;
    if (spec.password_hash) user["passwd"] = *spec.password_hash;
    return user;
}

/// What a VM of ours does not need of its first boot; a user's own value wins.
void trim_first_boot(Json& config) {
    // The image's locale stays, and GRUB is asked nothing.
    config["locale"] = false;
    config["grub_dpkg"] = {{"enabled", false}};
    // The host key is known, and the console is no place for it.
    config["ssh"] = {{"emit_keys_to_console", false}};
    config["no_ssh_fingerprints"] = true;
}

Json cloud_config(const SeedSpec& spec, bool user_sets_apt) {
    Json config = {
        {"hostname", spec.name},
        {"preserve_hostname", false},
        {"manage_etc_hosts", "localhost"},
        {"users", Json::array({user_entry(spec)})},
        {"ssh_pwauth", false},
        // What ssh_pwauth makes cloud-init write, only sooner: its module set-passwords runs when
        // the ssh server does already, and restarts it under the first login unless the file says
        // so.
        {"write_files", Json::array({{{"path", "/etc/ssh/sshd_config.d/50-cloud-init.conf"},
                                      {"content", "PasswordAuthentication no\n"},
                                      {"permissions", "0600"}}})},
        // The host key comes with the seed and is pinned: what the image brought goes, nothing is
        // generated.
        {"ssh_deletekeys", true},
        {"ssh_genkeytypes", {"ed25519"}},
        {"ssh_keys",
         {{"ed25519_private", spec.host_key_private}, {"ed25519_public", spec.host_key_public}}},
        {"package_update", false},
        {"package_upgrade", false},
        {"growpart", {{"mode", "auto"}, {"devices", {"/"}}}},
        {"resize_rootfs", true},
        {"updates", {{"network", {{"when", {"boot"}}}}}},
    };
    // The image's own sources stay, also where they name a mirror. Beside an `apt` of the user's
    // our setting would disable their mirrors.
    if (!user_sets_apt) config["apt"] = {{"preserve_sources_list", true}};
    if (!spec.stock) trim_first_boot(config);
    return config;
}

Json ethernet(const SeedNetwork& network) {
    Json result = {{"match", {{"macaddress", network.mac}}}};
    // A domain that DHCP tells is ignored by systemd-networkd unless it is set up otherwise.
    if (!network.search.empty()) result["nameservers"]["search"] = network.search;
    if (!network.address) {
        result["dhcp4"] = true;
        result["dhcp-identifier"] = "mac";
        return result;
    }
    const auto& address = *network.address;
    result["dhcp4"] = false;
    result["addresses"] = {address.cidr};
    if (address.gateway) {
        const bool v6 = address.gateway->find(':') != std::string::npos;
        result["routes"] =
            Json::array({{{"to", v6 ? "::/0" : "0.0.0.0/0"}, {"via", *address.gateway}}});
    }
    if (!address.dns.empty()) result["nameservers"]["addresses"] = address.dns;
    return result;
}

Json network_config(const SeedSpec& spec) {
    Json ethernets = Json::object();
    for (std::size_t i = 0; i < spec.networks.size(); ++i) {
        auto card = ethernet(spec.networks[i]);
        const bool leases = card["dhcp4"] == true;
        // Of several default routes the first card's is taken, and no boot waits for the others.
        if (leases && spec.networks.size() > 1)
            card["dhcp4-overrides"]["route-metric"] = route_metric * (i + 1);
        // It has a name. Only to hear that, systemd-networkd has systemd-hostnamed started, beside
        // the first login.
        if (leases && !spec.stock) card["dhcp4-overrides"]["use-hostname"] = false;
        if (i > 0) card["optional"] = true;
        ethernets["nic" + std::to_string(i)] = std::move(card);
    }
    return {{"version", 2}, {"ethernets", ethernets}};
}

}  // namespace

Result<> check_user_name(const std::string& user) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    };
    const bool starts_well =
        !user.empty() && ((user[0] >= 'a' && user[0] <= 'z') || user[0] == '_');
    if (!starts_well || user.size() > 32 || !std::ranges::all_of(user, allowed)) {
        return Error{
            ErrorCode::invalid_argument,
            "the user name '" + escape_for_terminal(user) + "' is no login name",
            "it begins with a-z or _, goes on with a-z, 0-9, _ and -, at most 32 characters"};
    }
    if (user == "root") {
        return Error{ErrorCode::invalid_argument, "the user of a VM cannot be root",
                     "name another user; it has sudo without a password"};
    }
    return {};
}

Result<> check_user_documents(const std::vector<UserDocument>& documents) {
    NOXSUP_TRY(read_documents(documents));
    return {};
}

Result<Seed> make_seed(const SeedSpec& spec) {
    NOXSUP_TRY(check_spec(spec));
    NOXSUP_TRY_VALUE(const auto documents, read_documents(spec.documents));
    Seed seed;
    const auto ours =
        std::string(cloud_config_header) + yaml_safe_json(cloud_config(spec, documents.sets_apt));
    if (documents.parts.empty()) {
        seed.user_data = ours;
    } else {
        auto parts = documents.parts;
        MimePart last;
        last.content_type = "text/cloud-config";
        last.filename = "noxsup.cfg";
        last.merge_type = merge_type;
        last.content = ours;
        parts.push_back(std::move(last));
        seed.user_data = make_multipart(parts);
    }
    seed.meta_data =
        yaml_safe_json({{"instance-id", spec.instance_id}, {"local-hostname", spec.name}});
    seed.network_config = yaml_safe_json(network_config(spec));
    if (!spec.stock && documents.parts.empty()) {
        seed.login = login_files(spec);
        seed.login.push_back({"network-config", seed.network_config});
    }
    return seed;
}

Result<std::string> make_seed_iso(const Seed& seed) {
    // Only root of the guest reads the host key and the password hash.
    constexpr std::uint32_t secret = 0400;
    // The entries only refer to their content.
    const auto program = login_program(seed.login);
    std::vector<iso9660::Entry> entries{{"meta-data", seed.meta_data},
                                        {"network-config", seed.network_config},
                                        {"user-data", seed.user_data, false, secret}};
    if (!seed.login.empty()) entries.push_back({login_program_file, program, false, secret});
    return iso9660::make_image(entries, {.volume_id = "cidata", .timestamp = {}});
}

}  // namespace noxsup::imaging
