// InterfaceName: the name of a network interface, checked against the kernel's rules.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::netbridge {

/// A valid interface name: 1 to 15 bytes (IFNAMSIZ with its NUL), printable ASCII without '/', ':',
/// '%' or spaces, neither "." nor ".." (dev_valid_name; '%' is the kernel's own pattern for "any
/// number").
class InterfaceName {
  public:
    static constexpr std::size_t max_length = 15;

    /// Errors: invalid_argument naming the rule that is broken.
    static Result<InterfaceName> parse(std::string_view text);

    [[nodiscard]] const std::string& str() const { return name_; }
    auto operator<=>(const InterfaceName&) const = default;

  private:
    explicit InterfaceName(std::string_view name) : name_(name) {}
    std::string name_;
};

}  // namespace noxsup::netbridge
