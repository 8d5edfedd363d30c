// Text from strangers made safe to show, and the few string helpers the standard library lacks.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace noxsup {

/// Makes text of a guest, QEMU or another host safe for a terminal: control characters (C0 but for
/// newline and tab, DEL, C1) and bytes that are not UTF-8 become \xNN.
std::string escape_for_terminal(std::string_view text);

/// True when the bytes are well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_valid_utf8(std::string_view text);

/// Lower-case hexadecimal, two digits a byte.
std::string to_hex(std::span<const std::byte> bytes);

/// Removes spaces, tabs, CR and LF at both ends.
std::string_view trim(std::string_view text);

/// Splits at every `separator`; an empty text gives no part.
std::vector<std::string> split(std::string_view text, char separator);

/// Joins with `separator` between the parts.
std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// The last `count` lines of a text, without the empty ones at its end.
std::vector<std::string> last_lines(std::string_view text, std::size_t count);

/// One word for a POSIX shell that means exactly these bytes.
std::string shell_quoted(std::string_view word);

/// A value as ssh_config(5) and ssh's -o read it back: quoted, `%` doubled, `"` and `\` escaped.
std::string ssh_config_quoted(std::string_view value);

/// A size for people: "512 MiB", "1.5 GiB"; at most one decimal.
std::string format_bytes(unsigned long long bytes);
/// A rate for people, 1000-based: "100 Mbit/s".
std::string format_rate(unsigned long long bits_per_second);

}  // namespace noxsup
