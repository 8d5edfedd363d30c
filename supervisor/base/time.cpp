#include "supervisor/base/time.hpp"

#include <array>
#include <ctime>

namespace noxsup {

std::string rfc3339_now() {
    const auto now = std::time(nullptr);
    std::tm fields{};
    ::gmtime_r(&now, &fields);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &fields);
    return text.data();
}

}  // namespace noxsup
