#include "supervisor/vm/console_replay.hpp"

namespace noxsup::vm {
namespace {

constexpr char escape = '\x1b';

bool within(char byte, char first, char last) {
    return byte >= first && byte <= last;
}

/// Where the string of an OSC, DCS, SOS, PM or APC ends (ECMA-48 8.3.89): at ST, or at xterm's BEL.
std::size_t end_of_string(std::string_view text, std::size_t from) {
    for (auto at = from; at < text.size(); ++at) {
        if (text[at] == '\a') return at + 1;
        if (text[at] == escape) return at + 1 < text.size() && text[at + 1] == '\\' ? at + 2 : at;
    }
    return text.size();
}

/// The end of the control sequence whose parameters begin at `from` (ECMA-48 5.4).
std::size_t end_of_sequence(std::string_view text, std::size_t from) {
    auto at = from;
    while (at < text.size() && within(text[at], ' ', '?')) ++at;
    return at < text.size() && within(text[at], '@', '~') ? at + 1 : at;
}

/// A colour or an attribute: digits and separators, then m.
bool is_colour(std::string_view sequence) {
    constexpr std::string_view parameters = "0123456789;:";
    return sequence.ends_with('m') &&
           sequence.find_first_not_of(parameters, 2) == sequence.size() - 1;
}

/// Past the escape sequence at `at`; a colour is added to `result`.
std::size_t skip_escape(std::string_view text, std::size_t at, std::string& result) {
    if (at + 1 == text.size()) return text.size();
    const char kind = text[at + 1];
    if (kind == '[') {
        const auto end = end_of_sequence(text, at + 2);
        const auto sequence = text.substr(at, end - at);
        if (is_colour(sequence)) result += sequence;
        return end;
    }
    if (std::string_view("]PX^_").find(kind) != std::string_view::npos)
        return end_of_string(text, at + 2);
    // Intermediate bytes, then one final byte (ECMA-35 13.2).
    auto end = at + 1;
    while (end < text.size() && within(text[end], ' ', '/')) ++end;
    return end < text.size() && within(text[end], '0', '~') ? end + 1 : end;
}

}  // namespace

std::string replayable(std::string_view output) {
    std::string result;
    result.reserve(output.size());
    for (std::size_t at = 0; at < output.size();) {
        const char byte = output[at];
        if (byte == escape) {
            at = skip_escape(output, at, result);
        } else if (within(byte, '\x80', '\x9f') && result.ends_with('\xc2')) {
            result.pop_back();  // a C1 control in UTF-8, also one that a removal has joined
            ++at;
        } else {
            const bool control = within(byte, '\0', '\x1f') || byte == '\x7f';
            if (!control || byte == '\n' || byte == '\r' || byte == '\t' || byte == '\b')
                result += byte;
            ++at;
        }
    }
    return result;
}

}  // namespace noxsup::vm
