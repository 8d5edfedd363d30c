#include "netbridge/mac_address.hpp"

#include <algorithm>
#include <optional>

#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::netbridge {
namespace {

constexpr std::uint8_t host_side_first_byte = 0xfe;

std::optional<std::uint8_t> hex_digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<std::uint8_t>(c - 'A' + 10);
    return std::nullopt;
}

Error malformed(std::string_view text) {
    return {ErrorCode::invalid_argument,
            "\"" + escape_for_terminal(text) + "\" is not a MAC address",
            "write six pairs of hexadecimal digits, as in 52:54:00:12:34:56"};
}

}  // namespace

Result<MacAddress> MacAddress::parse(std::string_view text) {
    constexpr std::size_t text_length = 17;
    if (text.size() != text_length) return malformed(text);
    const char separator = text[2];
    if (separator != ':' && separator != '-') return malformed(text);
    Bytes bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto high = hex_digit(text[3 * i]);
        const auto low = hex_digit(text[3 * i + 1]);
        if (!high || !low) return malformed(text);
        if (i + 1 < bytes.size() && text[3 * i + 2] != separator) return malformed(text);
        bytes[i] = static_cast<std::uint8_t>(*high << 4U | *low);
    }
    return MacAddress(bytes);
}

std::string MacAddress::to_string() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const auto byte : bytes_) {
        if (!text.empty()) text += ':';
        text += digits[byte >> 4U];
        text += digits[byte & 0x0fU];
    }
    return text;
}

MacAddress guest_mac(std::span<const std::uint8_t, 3> random) {
    return MacAddress({0x52, 0x54, 0x00, random[0], random[1], random[2]});
}

MacAddress random_guest_mac() {
    std::array<std::uint8_t, 3> random{};
    fill_random(std::as_writable_bytes(std::span(random)));
    return guest_mac(random);
}

Result<MacAddress> parse_guest_mac(std::string_view text) {
    NOXSUP_TRY_VALUE(auto mac, MacAddress::parse(text));
    const auto refuse = [&](std::string_view why) {
        return Error{
            ErrorCode::invalid_argument,
            "the MAC address " + mac.to_string() + " cannot be a VM's: " + std::string(why),
            "take one that begins with 52:54:00, or leave it to noxsup"};
    };
    if (mac.is_zero()) return refuse("it is all zeros");
    if (mac.is_multicast()) return refuse("it is a multicast address (its first byte is odd)");
    if (mac.bytes()[0] == host_side_first_byte) return refuse("fe: is the host's side of a TAP");
    return mac;
}

MacAddress host_side_mac(const MacAddress& guest) {
    auto bytes = guest.bytes();
    bytes[0] = host_side_first_byte;
    return MacAddress(bytes);
}

}  // namespace noxsup::netbridge
