#include "supervisor/base/time.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

namespace noxsup {
namespace {

/// "2025-01-31T12:00:00", in UTC.
std::string date_and_time(std::time_t moment) {
    std::tm fields{};
    ::gmtime_r(&moment, &fields);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &fields);
    return text.data();
}

}  // namespace

std::string rfc3339_now() {
    return rfc3339_in({});
}

std::string rfc3339_in(std::chrono::milliseconds later) {
    const auto then = std::chrono::system_clock::now() + later;
    return date_and_time(std::chrono::system_clock::to_time_t(then)) + "Z";
}

std::string rfc3339_now_millis() {
    const auto now =
        std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
    const auto second = std::chrono::floor<std::chrono::seconds>(now);
    std::array<char, 8> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%03dZ",
                  static_cast<int>((now - second).count()));
    return date_and_time(std::chrono::system_clock::to_time_t(second)) + fraction.data();
}

}  // namespace noxsup
