#include "supervisor/base/time.hpp"

#include <array>
#include <ctime>

namespace noxsup {

std::string rfc3339_now() {
    return rfc3339_in({});
}

std::string rfc3339_in(std::chrono::milliseconds later) {
    const auto then = std::chrono::system_clock::now() + later;
    const auto time = std::chrono::system_clock::to_time_t(then);
    std::tm fields{};
    ::gmtime_r(&time, &fields);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &fields);
    return text.data();
}

}  // namespace noxsup
