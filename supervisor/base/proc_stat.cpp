#include "supervisor/base/proc_stat.hpp"

#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup {

std::optional<std::uint64_t> proc_stat_number(std::string_view stat, std::size_t field) {
    constexpr std::size_t first_behind_name = 3;
    const auto name_end = stat.rfind(')');
    if (name_end == std::string_view::npos || field < first_behind_name) return std::nullopt;
    const auto fields = split(trim(stat.substr(name_end + 1)), ' ');
    const auto index = field - first_behind_name;
    if (index >= fields.size()) return std::nullopt;
    return whole_number<std::uint64_t>(fields[index]);
}

}  // namespace noxsup
