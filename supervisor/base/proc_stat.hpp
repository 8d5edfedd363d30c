// /proc/PID/stat (proc(5)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace noxsup {

/// A field behind the command's name, which may hold anything. Nothing where there is none, or it
/// is no number that is 0 or more. @param field its number in proc(5), 3 at the least
std::optional<std::uint64_t> proc_stat_number(std::string_view stat, std::size_t field);

}  // namespace noxsup
