// The words of each enumeration, in one table a type.
#include <array>
#include <string>
#include <utility>

#include "supervisor/base/text.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::spec {
namespace {

template <class Enum, std::size_t N>
using Words = std::array<std::pair<Enum, std::string_view>, N>;

constexpr Words<Arch, 2> arch_words{{{Arch::arm64, "arm64"}, {Arch::amd64, "amd64"}}};
constexpr Words<Accel, 3> accel_words{
    {{Accel::automatic, "auto"}, {Accel::kvm, "kvm"}, {Accel::tcg, "tcg"}}};
constexpr Words<BootMode, 2> boot_words{
    {{BootMode::firmware, "firmware"}, {BootMode::kernel, "kernel"}}};
constexpr Words<ImageFormat, 2> format_words{
    {{ImageFormat::qcow2, "qcow2"}, {ImageFormat::raw, "raw"}}};
constexpr Words<NetworkMode, 4> network_words{{{NetworkMode::user, "user"},
                                               {NetworkMode::bridge, "bridge"},
                                               {NetworkMode::macvtap, "macvtap"},
                                               {NetworkMode::nat, "nat"}}};
constexpr Words<Protocol, 2> protocol_words{{{Protocol::tcp, "tcp"}, {Protocol::udp, "udp"}}};
constexpr Words<RestartPolicy, 3> restart_words{{{RestartPolicy::no, "no"},
                                                 {RestartPolicy::on_failure, "on-failure"},
                                                 {RestartPolicy::always, "always"}}};
constexpr Words<Autostart, 3> autostart_words{
    {{Autostart::off, "off"}, {Autostart::on, "on"}, {Autostart::last, "last"}}};

template <class Enum, std::size_t N>
std::string_view word_of(const Words<Enum, N>& words, Enum value) {
    for (const auto& [known, word] : words) {
        if (known == value) return word;
    }
    return "unknown";
}

template <class Enum, std::size_t N>
Result<Enum> value_of(const Words<Enum, N>& words, std::string_view word, std::string_view kind) {
    std::string known_words;
    for (const auto& [value, known] : words) {
        if (known == word) return value;
        known_words += (known_words.empty() ? "" : ", ") + std::string(known);
    }
    return Error{ErrorCode::invalid_argument,
                 "unknown " + std::string(kind) + " \"" + escape_for_terminal(word) + "\"",
                 "known: " + known_words};
}

}  // namespace

std::string_view to_string(Arch value) {
    return word_of(arch_words, value);
}
std::string_view to_string(Accel value) {
    return word_of(accel_words, value);
}
std::string_view to_string(BootMode value) {
    return word_of(boot_words, value);
}
std::string_view to_string(ImageFormat value) {
    return word_of(format_words, value);
}
std::string_view to_string(NetworkMode value) {
    return word_of(network_words, value);
}
std::string_view to_string(Protocol value) {
    return word_of(protocol_words, value);
}
std::string_view to_string(RestartPolicy value) {
    return word_of(restart_words, value);
}
std::string_view to_string(Autostart value) {
    return word_of(autostart_words, value);
}

template <>
Result<Arch> from_string<Arch>(std::string_view word) {
    if (word == "aarch64") return Arch::arm64;
    if (word == "x86_64") return Arch::amd64;
    return value_of(arch_words, word, "architecture");
}
template <>
Result<Accel> from_string<Accel>(std::string_view word) {
    return value_of(accel_words, word, "accelerator");
}
template <>
Result<BootMode> from_string<BootMode>(std::string_view word) {
    return value_of(boot_words, word, "boot mode");
}
template <>
Result<ImageFormat> from_string<ImageFormat>(std::string_view word) {
    return value_of(format_words, word, "image format");
}
template <>
Result<NetworkMode> from_string<NetworkMode>(std::string_view word) {
    return value_of(network_words, word, "network mode");
}
template <>
Result<Protocol> from_string<Protocol>(std::string_view word) {
    return value_of(protocol_words, word, "protocol");
}
template <>
Result<RestartPolicy> from_string<RestartPolicy>(std::string_view word) {
    return value_of(restart_words, word, "restart policy");
}
template <>
Result<Autostart> from_string<Autostart>(std::string_view word) {
    return value_of(autostart_words, word, "autostart");
}

}  // namespace noxsup::spec
