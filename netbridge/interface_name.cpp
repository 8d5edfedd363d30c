#include "netbridge/interface_name.hpp"

#include <algorithm>

#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {

Result<InterfaceName> InterfaceName::parse(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return Error{ErrorCode::invalid_argument,
                     "\"" + escape_for_terminal(text) +
                         "\" is not a network interface name: " + std::string(why)};
    };
    if (text.empty()) return refuse("it is empty");
    if (text.size() > max_length) return refuse("it is longer than 15 bytes");
    if (text == "." || text == "..") return refuse("the name is reserved");
    const auto bad = [](char c) { return c <= ' ' || c > '~' || c == '/' || c == ':' || c == '%'; };
    if (std::ranges::any_of(text, bad)) {
        return refuse("spaces, '/', ':', '%' and what is not ASCII are not allowed");
    }
    return InterfaceName(text);
}

}  // namespace noxsup::netbridge
