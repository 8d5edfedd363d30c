#include "imaging/cloud_config.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <exception>
#include <sstream>
#include <string>
#include <utility>

#include "imaging/base64.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::array<std::string_view, 4> our_keys{"ssh_keys", "ssh_deletekeys", "merge_how",
                                                   "merge_type"};
constexpr int max_merge_depth = 16;
/// Aliases make few lines stand for very many mappings.
constexpr int max_merged_mappings = 10000;

Error refused(std::string message, std::string hint = {}) {
    return {ErrorCode::invalid_cloud_init, std::move(message), std::move(hint)};
}

Error refused_key(std::string_view key) {
    const bool merging = key.starts_with("merge");
    return refused("it sets " + std::string(key),
                   merging ? "leave it out: noxsup merges its own part behind yours"
                           : "leave it out: noxsup makes the VM's host key and pins it");
}

bool is_ours(std::string_view key) {
    return std::ranges::find(our_keys, key) != our_keys.end();
}

Error users_not_a_list() {
    return refused("its 'users' is no list, so noxsup's own user could not be added",
                   "write users as a list: [default, {name: ...}]");
}

/// The one place where yaml-cpp runs: its exceptions end here.
template <class Function>
auto guarded(Function function) -> decltype(function()) {
    try {
        return function();
    } catch (const std::exception& e) {
        return refused("it is no valid YAML: " + escape_for_terminal(e.what()));
    }
}

/// Hears a document and keeps nothing of it.
class Deaf final : public YAML::EventHandler {
  public:
    void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& /*mark*/, YAML::anchor_t /*anchor*/) override {}
    void OnAlias(const YAML::Mark& /*mark*/, YAML::anchor_t /*anchor*/) override {}
    void OnScalar(const YAML::Mark& /*mark*/, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  const std::string& /*value*/) override {}
    void OnSequenceStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/,
                         YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark& /*mark*/, const std::string& /*tag*/,
                    YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {}
    void OnMapEnd() override {}
};

/// Not by YAML::LoadAll(): where something is left behind a document that begins no other
/// ("a: 1" and then ", b"), yaml-cpp finds an empty document there for ever.
YAML::Node single_document(std::string_view text) {
    const std::string copy(text);
    std::istringstream stream(copy);
    YAML::Parser parser(stream);
    Deaf nobody;
    if (!parser.HandleNextDocument(nobody)) return {};
    if (parser.HandleNextDocument(nobody))
        throw YAML::Exception(YAML::Mark::null_mark(), "more than one document");
    return YAML::Load(copy);
}

/// A mapping and, as PyYAML does it, the mappings it merges in by `<<`.
Result<> check_mapping(const YAML::Node& mapping, CloudConfigFacts& facts, int depth,
                       int& visited) {
    if (depth > max_merge_depth || ++visited > max_merged_mappings)
        return refused("its merge keys nest too deeply");
    for (const auto& member : mapping) {
        if (!member.first.IsScalar()) continue;
        const auto& key = member.first.Scalar();
        const auto& value = member.second;
        if (is_ours(key)) return refused_key(key);
        if (key == "users" && !value.IsSequence()) return users_not_a_list();
        facts.sets_apt = facts.sets_apt || key == "apt";
        if (key != "<<") continue;
        if (value.IsMap()) NOXSUP_TRY(check_mapping(value, facts, depth + 1, visited));
        if (!value.IsSequence()) continue;
        for (const auto& item : value) {
            if (item.IsMap()) NOXSUP_TRY(check_mapping(item, facts, depth + 1, visited));
        }
    }
    return {};
}

std::string lower(std::string text) {
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
}

/// Text, or the bytes of a `!!binary`.
Result<std::string> scalar_content(const YAML::Node& node) {
    if (!node.IsScalar()) return refused("the content of an archive's entry is no text");
    if (node.Tag() != "tag:yaml.org,2002:binary") return node.Scalar();
    auto data = base64_decode(node.Scalar());
    if (!data) return refused("the !!binary content of an archive's entry is damaged");
    return std::move(*data);
}

Result<MimePart> archive_entry(const YAML::Node& entry) {
    MimePart part;
    // An entry without a type is examined by its beginning, and is a cloud-config failing that.
    auto& type = part.content_type;
    if (entry.IsScalar()) {
        NOXSUP_TRY_VALUE(part.content, scalar_content(entry));
    } else if (entry.IsMap()) {
        for (const auto& member : entry) {
            if (!member.first.IsScalar())
                return refused("an archive's entry has a key that is no text");
            const auto key = lower(member.first.Scalar());
            const auto& value = member.second;
            if (key == "content") {
                NOXSUP_TRY_VALUE(part.content, scalar_content(value));
            } else if (key == "<<") {
                return refused("an archive's entry has a merge key", "write its members out");
            } else if (!value.IsScalar()) {
                return refused("the '" + escape_for_terminal(key) +
                               "' of an archive's entry is no text");
            } else if (key == "type") {
                type = lower(value.Scalar());
            } else if (key == "filename") {
                part.filename = value.Scalar();
            } else if (key == "launch-index") {
                part.launch_index = value.Scalar();
            } else if (key == "merge-type" || key == "x-merge-type") {
                part.merge_type = value.Scalar();
            }
        }
    } else {
        return refused("an archive's entry is neither a text nor a mapping");
    }
    return part;
}

}  // namespace

Result<CloudConfigFacts> check_cloud_config(std::string_view text) {
    return guarded([&]() -> Result<CloudConfigFacts> {
        const auto root = single_document(text);
        if (!root.IsMap()) {
            return refused("the cloud-config is no mapping", "write it as 'key: value' lines");
        }
        CloudConfigFacts facts;
        int visited = 0;
        NOXSUP_TRY(check_mapping(root, facts, 0, visited));
        return facts;
    });
}

Result<std::vector<MimePart>> explode_archive(std::string_view text) {
    return guarded([&]() -> Result<std::vector<MimePart>> {
        const auto root = single_document(text);
        if (!root.IsSequence()) return refused("the cloud-config-archive is no list");
        std::vector<MimePart> parts;
        for (const auto& entry : root) {
            NOXSUP_TRY_VALUE(auto part, archive_entry(entry));
            parts.push_back(std::move(part));
        }
        return parts;
    });
}

Result<> check_json_patch(std::string_view text) {
    constexpr std::string_view prefix = "#cloud-config-jsonp";
    text = trim(text);
    if (text.size() >= prefix.size() &&
        lower(std::string(text.substr(0, prefix.size()))) == prefix) {
        text.remove_prefix(prefix.size());
    }
    const auto patch = parse_json(text);
    if (!patch || !patch->is_array()) return refused("the cloud-config-jsonp is no JSON patch");
    for (const auto& operation : *patch) {
        const auto path = json_member<std::string>(operation, "path");
        if (!path) return refused("an operation of the JSON patch has no path");
        if (path->empty()) {
            return refused("the JSON patch replaces the whole configuration",
                           "let its paths name single keys");
        }
        if (path->front() != '/') return refused("a path of the JSON patch begins without '/'");
        auto key = path->substr(1, path->find('/', 1) - 1);
        for (const auto& [escaped, plain] : {std::pair{"~1", "/"}, std::pair{"~0", "~"}}) {
            for (auto at = key.find(escaped); at != std::string::npos;
                 at = key.find(escaped, at + 1)) {
                key.replace(at, 2, plain);
            }
        }
        if (is_ours(key)) return refused_key(key);
        const auto op = json_member_or<std::string>(operation, "op", "");
        const bool sets_users = *path == "/users" && op && *op != "remove" && *op != "test";
        if (sets_users && !(operation.contains("value") && operation["value"].is_array())) {
            return users_not_a_list();
        }
    }
    return {};
}

Result<> check_template(std::string_view text) {
    const auto is_word = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    };
    for (const auto key : our_keys) {
        for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
            if (at != 0 && (is_word(text[at - 1]) || text[at - 1] == '.')) continue;
            auto rest = text.substr(at + key.size());
            if (!rest.empty() && (rest[0] == '"' || rest[0] == '\'')) rest.remove_prefix(1);
            rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
            if (rest.starts_with(':')) return refused_key(key);
        }
    }
    return {};
}

}  // namespace noxsup::imaging
