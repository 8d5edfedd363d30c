// Rows and columns as aligned text for people and as CSV for programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace noxsup::cli {

/// A heading and its rows; each row has as many cells as there are headings.
struct Table {
    std::vector<std::string> headings;  ///< "NAME", "STATE"
    std::vector<std::vector<std::string>> rows;
};

/// Text of anybody as one line for a terminal: control characters escaped, newlines made spaces.
std::string cell_text(const std::string& raw);

/// Columns of equal width, two spaces between, control characters escaped; every line ends with a
/// newline. Without rows only the headings come.
std::string format_table(const Table& table);

/// RFC 4180: CRLF, quotes where needed, headings in lower case with _ for a space. The text is
/// raw.
std::string format_csv(const Table& table);

/// The columns a text takes on a terminal: one a code point, which is right for all but wide and
/// combining characters. The text is escaped already.
std::size_t display_width(std::string_view text);

}  // namespace noxsup::cli
