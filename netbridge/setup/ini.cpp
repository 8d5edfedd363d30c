#include "netbridge/setup/ini.hpp"

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge::setup {
namespace {

Error strange(std::string_view what, std::string_view line) {
    return {ErrorCode::wrong_state,
            std::string(what) + ": \"" + escape_for_terminal(line) +
                "\" is in a form that noxsup does not understand",
            "make the bridge by hand in the network configuration of this host"};
}

bool is_comment(std::string_view line) {
    return line.empty() || line.front() == '#' || line.front() == ';';
}

}  // namespace

std::optional<std::string> IniSection::value(std::string_view key) const {
    std::optional<std::string> found;
    for (const auto& line : lines) {
        if (line.key == key) found = line.value;
    }
    return found;
}

std::string IniSection::text() const {
    std::string all;
    for (const auto& line : lines) {
        if (!line.key.empty()) all += line.text + "\n";
    }
    return all;
}

Result<std::vector<IniSection>> parse_ini(std::string_view text, std::string_view what) {
    std::vector<IniSection> sections;
    const auto raw = split(text, '\n');
    for (std::size_t i = 0; i < raw.size(); ++i) {
        IniLine line{raw[i], {}, {}};
        const auto bare = trim(raw[i]);
        if (!is_comment(bare)) {
            while (line.text.ends_with('\\') && i + 1 < raw.size()) line.text += "\n" + raw[++i];
        }
        const std::string said(trim(line.text));
        if (!is_comment(said) && said.front() == '[') {
            if (!said.ends_with(']')) return strange(what, said);
            sections.push_back({said.substr(1, said.size() - 2), {}});
            continue;
        }
        if (!is_comment(said)) {
            const auto equals = said.find('=');
            if (equals == std::string::npos || equals == 0 || sections.empty())
                return strange(what, said);
            line.key = trim(std::string_view(said).substr(0, equals));
            line.value = trim(std::string_view(said).substr(equals + 1));
        }
        if (!sections.empty()) sections.back().lines.push_back(std::move(line));
    }
    return sections;
}

}  // namespace noxsup::netbridge::setup
