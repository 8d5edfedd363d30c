// Integers out of untrusted bytes, never past their end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace noxsup::imaging {

/// The big-endian integer of sizeof(T) bytes at `offset`; 0 when it would reach past the end.
template <class T>
T big_endian(std::span<const std::byte> bytes, std::size_t offset) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return 0;
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value = static_cast<T>((value << 8U) | std::to_integer<T>(bytes[offset + i]));
    }
    return value;
}

template <class T>
T little_endian(std::span<const std::byte> bytes, std::size_t offset) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return 0;
    T value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) {
        value = static_cast<T>((value << 8U) | std::to_integer<T>(bytes[offset + i]));
    }
    return value;
}

/// True when the text stands at `offset`.
inline bool has_at(std::span<const std::byte> bytes, std::size_t offset, std::string_view text) {
    if (offset > bytes.size() || bytes.size() - offset < text.size()) return false;
    return std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

}  // namespace noxsup::imaging
