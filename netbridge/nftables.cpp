#include "netbridge/nftables.hpp"

#include <nftables/libnftables.h>

#include <memory>
#include <new>
#include <optional>
#include <set>

#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

struct ContextDelete {
    void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

Error nft_error(std::string_view words) {
    const auto first = std::string(trim(words.substr(0, words.find('\n'))));
    // What the kernel answers is only in the text.
    if (words.find("Operation not permitted") != std::string_view::npos) {
        return {ErrorCode::host_lacks_right, "change packet filter rules: " + first,
                "run noxsup as root or through its system service"};
    }
    if (words.find("not supported") != std::string_view::npos ||
        words.find("Protocol error") != std::string_view::npos ||
        words.find("No such file or directory") != std::string_view::npos) {
        return {ErrorCode::host_lacks_tool, "change packet filter rules: " + first,
                "this kernel needs nf_tables for bridges and NAT (CONFIG_NF_TABLES_BRIDGE, "
                "CONFIG_NFT_MASQ): sudo modprobe -a nf_tables_bridge nft_masq, or another kernel"};
    }
    return {ErrorCode::failed, "change packet filter rules: " + first};
}

/// What the library prints for the commands. A context a call: its view of the rules never ages.
Result<std::string> run(const std::string& commands, unsigned output_flags) {
    const std::unique_ptr<nft_ctx, ContextDelete> context(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!context) throw std::bad_alloc();
    if (nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0) {
        throw std::bad_alloc();
    }
    nft_ctx_output_set_flags(context.get(), output_flags);
    if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) != 0) {
        return nft_error(nft_ctx_get_error_buffer(context.get()));
    }
    return std::string(nft_ctx_get_output_buffer(context.get()));
}

std::string table_of(const Json& object) {
    return object.value("table", std::string());
}

/// The tables with a rule, or a set that rules look into, in which the device is named, and ours.
std::set<std::string> tables_that_name(const Json& entries, const std::string& device) {
    std::set<std::string> tables;
    const auto name = dump_json(Json(device));
    for (const auto& entry : entries) {
        if (!entry.is_object()) continue;
        for (const auto* kind : {"rule", "set", "map"}) {
            if (!entry.contains(kind)) continue;
            const auto table = table_of(entry[kind]);
            if (table.starts_with("noxsup_") || dump_json(entry[kind]).find(name) != name.npos)
                tables.insert(table);
        }
    }
    return tables;
}

/// What it is as an obstacle, if it is one. firewalld's chains have the policy accept, and refuse
/// by their last rule.
Result<std::optional<FirewallChain>> dropping_chain(const Json& chain) {
    NOXSUP_TRY_VALUE(const auto hook, json_member_or<std::string>(chain, "hook", ""));
    NOXSUP_TRY_VALUE(const auto policy, json_member_or<std::string>(chain, "policy", ""));
    NOXSUP_TRY_VALUE(const auto name, json_member<std::string>(chain, "name"));
    NOXSUP_TRY_VALUE(const auto family, json_member<std::string>(chain, "family"));
    const bool firewalld = table_of(chain) == "firewalld" && name.starts_with("filter_");
    if ((hook != "forward" && hook != "input") || (policy != "drop" && !firewalld))
        return std::optional<FirewallChain>{};
    return std::optional(FirewallChain{hook, {family, table_of(chain), name}});
}

/// The objects of one kind in what a list command tells as JSON.
Result<std::vector<Json>> list(const std::string& command, const char* kind) {
    NOXSUP_TRY_VALUE(const auto text, run(command, NFT_CTX_OUTPUT_JSON));
    NOXSUP_TRY_VALUE(const auto json, parse_json(text));
    NOXSUP_TRY_VALUE(const auto entries, json_member<Json>(json, "nftables"));
    std::vector<Json> objects;
    for (const auto& entry : entries) {
        if (entry.is_object() && entry.contains(kind)) objects.push_back(entry[kind]);
    }
    return objects;
}

Result<std::vector<std::string>> list_tables(const std::string& family) {
    NOXSUP_TRY_VALUE(const auto tables, list("list tables " + family, "table"));
    std::vector<std::string> names;
    for (const auto& table : tables) {
        NOXSUP_TRY_VALUE(auto name, json_member<std::string>(table, "name"));
        names.push_back(std::move(name));
    }
    return names;
}

}  // namespace

Result<> run_nft(const std::string& commands) {
    NOXSUP_TRY(run(commands, 0));
    return {};
}

Result<std::vector<std::string>> list_bridge_tables() {
    return list_tables("bridge");
}

Result<std::vector<std::string>> list_ip_tables() {
    return list_tables("ip");
}

Result<std::vector<FirewallChain>> list_firewall_chains(const std::string& bridge) {
    std::vector<FirewallChain> chains;
    for (const std::string family : {"ip", "inet"}) {
        NOXSUP_TRY_VALUE(const auto text, run("list ruleset " + family, NFT_CTX_OUTPUT_JSON));
        NOXSUP_TRY_VALUE(const auto json, parse_json(text));
        NOXSUP_TRY_VALUE(const auto entries, json_member<Json>(json, "nftables"));
        const auto arranged = tables_that_name(entries, bridge);
        for (const auto& entry : entries) {
            if (!entry.is_object() || !entry.contains("chain")) continue;
            NOXSUP_TRY_VALUE(auto found, dropping_chain(entry["chain"]));
            if (found && !arranged.contains(table_of(entry["chain"])))
                chains.push_back(std::move(*found));
        }
    }
    return chains;
}

Result<std::vector<RuleChain>> list_dropping_forward_chains() {
    std::vector<RuleChain> found;
    for (const std::string family : {"ip", "inet"}) {
        NOXSUP_TRY_VALUE(const auto chains, list("list chains " + family, "chain"));
        for (const auto& chain : chains) {
            NOXSUP_TRY_VALUE(const auto hook, json_member_or<std::string>(chain, "hook", ""));
            NOXSUP_TRY_VALUE(const auto policy, json_member_or<std::string>(chain, "policy", ""));
            NOXSUP_TRY_VALUE(const auto table, json_member<std::string>(chain, "table"));
            NOXSUP_TRY_VALUE(const auto name, json_member<std::string>(chain, "name"));
            if (hook == "forward" && policy == "drop") found.push_back({family, table, name});
        }
    }
    return found;
}

}  // namespace noxsup::netbridge
