#include "supervisor/cli/table.hpp"

#include <algorithm>
#include <cctype>

#include "supervisor/base/text.hpp"

namespace noxsup::cli {
namespace {

using Row = std::vector<std::string>;

std::string csv_field(const std::string& raw) {
    if (raw.find_first_of(",\"\r\n") == std::string::npos) return raw;
    std::string quoted = "\"";
    for (const char c : raw) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}

std::string csv_line(const Row& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        if (i != 0) line += ',';
        line += csv_field(cells[i]);
    }
    return line + "\r\n";
}

}  // namespace

std::string cell_text(const std::string& raw) {
    auto text = escape_for_terminal(raw);
    // A newline would look like another row.
    std::ranges::replace(text, '\n', ' ');
    std::ranges::replace(text, '\t', ' ');
    return text;
}

std::size_t display_width(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;  // not a continuation byte
    }));
}

std::string format_table(const Table& table) {
    std::vector<Row> lines{table.headings};
    for (const auto& row : table.rows) {
        auto& line = lines.emplace_back();
        std::ranges::transform(row, std::back_inserter(line), cell_text);
    }
    std::vector<std::size_t> widths(table.headings.size());
    for (const auto& line : lines) {
        for (std::size_t i = 0; i < line.size(); ++i) {
            widths[i] = std::max(widths[i], display_width(line[i]));
        }
    }
    std::string text;
    for (const auto& line : lines) {
        std::string padded;
        for (std::size_t i = 0; i < line.size(); ++i) {
            padded += line[i];
            if (i + 1 == line.size()) break;
            padded.append(widths[i] - display_width(line[i]) + 2, ' ');
        }
        padded.erase(padded.find_last_not_of(' ') + 1);
        text += padded + "\n";
    }
    return text;
}

std::string format_csv(const Table& table) {
    auto headings = table.headings;
    for (auto& heading : headings) {
        std::ranges::transform(heading, heading.begin(), [](unsigned char c) {
            return c == ' ' ? '_' : static_cast<char>(std::tolower(c));
        });
    }
    auto text = csv_line(headings);
    for (const auto& row : table.rows) text += csv_line(row);
    return text;
}

}  // namespace noxsup::cli
