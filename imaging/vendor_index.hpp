// Reads what vendors publish beside their images: file names, their patterns, their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace noxsup::imaging {

/// The longest name of a file that is taken from a vendor's index.
inline constexpr std::size_t max_vendor_name = 200;

/// True for a name that can only be a file of the directory it is read in: letters, digits and
/// ._+~-, no dot at its start. Never a path, another host or an option.
bool is_plain_file_name(std::string_view name);

/// True when `name` is as `pattern` says, where `*` stands for any characters, also none.
bool matches_pattern(std::string_view pattern, std::string_view name);

/// Negative, zero or positive as `a` is older than, equal to or newer than `b`: runs of digits are
/// numbers of any length ("3.9" before "3.10"), all else counts by its bytes.
int compare_versions(std::string_view a, std::string_view b);

/// The files that a web server's listing of a directory links to, each once, in their order. Links
/// that are no plain file names (other directories, other hosts, columns to sort by) are left out.
std::vector<std::string> names_in_listing(std::string_view html);

/// The newest of the names that match; nothing when none does.
std::optional<std::string> newest_match(const std::vector<std::string>& names,
                                        std::string_view pattern);

/// `text` with every `word` replaced.
std::string replace_all(std::string text, std::string_view word, std::string_view by);

}  // namespace noxsup::imaging
