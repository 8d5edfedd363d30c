#include "supervisor/cli/output.hpp"

#include <unistd.h>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/yaml.hpp"
#include "supervisor/control/rpc.hpp"

namespace noxsup::cli {
namespace {

constexpr int document_version = 1;
constexpr int json_indent = 2;

Json versioned(const Json& document) {
    auto json = document;
    json["version"] = document_version;
    return json;
}

std::string indented(std::string_view text) {
    std::string out;
    for (const auto& line : split(text, '\n')) out += "  | " + line + "\n";
    return out;
}

}  // namespace

std::string render(const Document& document, const GlobalOptions& options) {
    if (options.quiet) {
        std::string names;
        for (const auto& name : document.names) names += escape_for_terminal(name) + "\n";
        return names;
    }
    switch (options.format) {
        case Format::json:
            return versioned(document.json)
                       .dump(json_indent, ' ', false, Json::error_handler_t::replace) +
                   "\n";
        case Format::yaml:
            return format_yaml(versioned(document.json));
        case Format::csv:
            return format_csv(document.table);
        case Format::table:
            break;
    }
    return document.text.empty() ? format_table(document.table) : document.text;
}

std::string render_error_text(const Error& error, bool color) {
    std::string text = color ? "\x1b[31merror:\x1b[0m " : "error: ";
    text += escape_for_terminal(error.message);
    if (!error.stage.empty()) text += " (stage " + escape_for_terminal(error.stage) + ")";
    text += "\n";
    for (const auto& line : error.evidence) text += indented(escape_for_terminal(line));
    if (!error.hint.empty()) text += "hint: " + escape_for_terminal(error.hint) + "\n";
    return text;
}

std::string render_error_json(const Error& error, std::string_view vm) {
    auto json = versioned(Json::object());
    json["error"] = control::error_to_json(error);
    if (!vm.empty()) json["error"]["vm"] = vm;
    return dump_json(json) + "\n";
}

void print_error(const Error& error, const GlobalOptions& options, std::string_view vm) {
    const auto text = options.format == Format::json
                          ? render_error_json(error, vm)
                          : render_error_text(error, wants_color(STDERR_FILENO, options.no_color));
    write_text(STDERR_FILENO, text);
}

}  // namespace noxsup::cli
