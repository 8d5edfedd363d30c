#include "netbridge/setup/plan.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

constexpr std::array<std::string_view, 3> names = {"systemd-networkd", "ifupdown",
                                                   "NetworkManager"};

Error bad(std::string_view what) {
    return {ErrorCode::protocol_error, std::string(what)};
}

Json image_to_json(const FileImage& image) {
    return {{"hex", to_hex(std::as_bytes(std::span(image.bytes)))},
            {"mode", image.mode},
            {"uid", image.uid},
            {"gid", image.gid}};
}

Result<std::string> from_hex(std::string_view hex) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        return -1;
    };
    if (hex.size() % 2 != 0) return bad("odd number of hexadecimal digits");
    std::string bytes;
    bytes.reserve(hex.size() / 2);
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const int high = digit(hex[i]);
        const int low = digit(hex[i + 1]);
        if (high < 0 || low < 0) return bad("no hexadecimal digit");
        bytes.push_back(static_cast<char>(high * 16 + low));
    }
    return bytes;
}

Result<FileImage> image_from_json(const Json& json) {
    FileImage image;
    NOXSUP_TRY_VALUE(const auto hex, json_member<std::string>(json, "hex"));
    NOXSUP_TRY_VALUE(image.bytes, from_hex(hex));
    NOXSUP_TRY_VALUE(image.mode, json_member<unsigned>(json, "mode"));
    NOXSUP_TRY_VALUE(image.uid, json_member<unsigned>(json, "uid"));
    NOXSUP_TRY_VALUE(image.gid, json_member<unsigned>(json, "gid"));
    constexpr unsigned all_modes = 07777;
    if (image.mode > all_modes) return bad("no mode of a file");
    return image;
}

Result<FileChange> change_from_json(const Json& json) {
    FileChange change;
    NOXSUP_TRY_VALUE(change.path, json_member<std::string>(json, "path"));
    if (!change.path.starts_with('/')) return bad("a path that is not absolute");
    NOXSUP_TRY_VALUE(const auto before, json_member<Json>(json, "before"));
    if (!before.is_null()) {
        NOXSUP_TRY_VALUE(change.before, image_from_json(before));
    }
    NOXSUP_TRY_VALUE(const auto after, json_member<Json>(json, "after"));
    NOXSUP_TRY_VALUE(change.after, image_from_json(after));
    return change;
}

Json steps_to_json(const std::vector<Step>& steps) {
    auto json = Json::array();
    for (const auto& step : steps) {
        json.push_back({{"argv", step.argv}, {"may_fail", step.may_fail}});
    }
    return json;
}

Result<std::vector<Step>> steps_from_json(const Json& plan, std::string_view key) {
    NOXSUP_TRY_VALUE(const auto list, json_member<Json>(plan, key));
    if (!list.is_array()) return bad("steps that are no list");
    std::vector<Step> steps;
    for (const auto& json : list) {
        Step step;
        NOXSUP_TRY_VALUE(step.argv, json_member<std::vector<std::string>>(json, "argv"));
        NOXSUP_TRY_VALUE(step.may_fail, json_member<bool>(json, "may_fail"));
        if (step.argv.empty()) return bad("a step without a command");
        steps.push_back(std::move(step));
    }
    return steps;
}

std::string mode_text(unsigned mode) {
    std::string text = "0";
    for (const unsigned shift : {6U, 3U, 0U}) text += static_cast<char>('0' + (mode >> shift) % 8);
    return text;
}

std::vector<std::string> lines_of(const std::string& bytes) {
    auto lines = split(bytes, '\n');
    if (!lines.empty() && lines.back().empty()) lines.pop_back();
    return lines;
}

std::string describe_file(const FileChange& change) {
    const auto after = lines_of(change.after.bytes);
    if (!change.before) {
        std::string text = "--- /dev/null\n+++ " + change.path + " (new, mode " +
                           mode_text(change.after.mode) + ")\n";
        for (const auto& line : after) text += "+" + line + "\n";
        return text;
    }
    // One hunk from the first to the last line that differs, with all that is between.
    const auto before = lines_of(change.before->bytes);
    std::string text = "--- " + change.path + "\n+++ " + change.path + "\n";
    const auto common = std::ranges::mismatch(before, after);
    const auto head = static_cast<std::size_t>(common.in1 - before.begin());
    std::size_t tail = 0;
    while (tail < std::min(before.size(), after.size()) - head &&
           before[before.size() - 1 - tail] == after[after.size() - 1 - tail]) {
        ++tail;
    }
    for (std::size_t i = head > 2 ? head - 2 : 0; i < head; ++i) text += " " + before[i] + "\n";
    for (auto i = head; i < before.size() - tail; ++i) text += "-" + before[i] + "\n";
    for (auto i = head; i < after.size() - tail; ++i) text += "+" + after[i] + "\n";
    return text;
}

std::string describe_steps(const std::vector<Step>& steps) {
    std::string text;
    for (const auto& step : steps) text += "$ " + join(step.argv, " ") + "\n";
    return text;
}

}  // namespace

std::string_view manager_name(Manager manager) {
    return names[static_cast<std::size_t>(manager)];
}

Result<Manager> manager_from_name(std::string_view name) {
    const auto* const found = std::ranges::find(names, name);
    if (found == names.end()) {
        return bad("no network manager is called \"" + escape_for_terminal(name) + "\"");
    }
    return static_cast<Manager>(found - names.begin());
}

Json plan_to_json(const Plan& plan) {
    auto files = Json::array();
    for (const auto& change : plan.files) {
        files.push_back({{"path", change.path},
                         {"before", change.before ? image_to_json(*change.before) : Json()},
                         {"after", image_to_json(change.after)}});
    }
    return {{"manager", manager_name(plan.manager)},
            {"card", plan.card},
            {"bridge", plan.bridge},
            {"files", std::move(files)},
            {"steps_before", steps_to_json(plan.before)},
            {"steps_after", steps_to_json(plan.after)},
            {"undo_before", steps_to_json(plan.undo_before)},
            {"undo_after", steps_to_json(plan.undo_after)}};
}

Result<Plan> plan_from_json(const Json& json) {
    Plan plan;
    NOXSUP_TRY_VALUE(const auto manager, json_member<std::string>(json, "manager"));
    NOXSUP_TRY_VALUE(plan.manager, manager_from_name(manager));
    NOXSUP_TRY_VALUE(plan.card, json_member<std::string>(json, "card"));
    NOXSUP_TRY_VALUE(plan.bridge, json_member<std::string>(json, "bridge"));
    NOXSUP_TRY(InterfaceName::parse(plan.card));
    NOXSUP_TRY(InterfaceName::parse(plan.bridge));
    NOXSUP_TRY_VALUE(const auto files, json_member<Json>(json, "files"));
    if (!files.is_array()) return bad("files that are no list");
    for (const auto& file : files) {
        NOXSUP_TRY_VALUE(auto change, change_from_json(file));
        plan.files.push_back(std::move(change));
    }
    NOXSUP_TRY_VALUE(plan.before, steps_from_json(json, "steps_before"));
    NOXSUP_TRY_VALUE(plan.after, steps_from_json(json, "steps_after"));
    NOXSUP_TRY_VALUE(plan.undo_before, steps_from_json(json, "undo_before"));
    NOXSUP_TRY_VALUE(plan.undo_after, steps_from_json(json, "undo_after"));
    return plan;
}

std::string describe(const Plan& plan) {
    auto text = describe_steps(plan.before);
    for (const auto& change : plan.files) text += describe_file(change);
    return text + describe_steps(plan.after);
}

}  // namespace noxsup::netbridge::setup
