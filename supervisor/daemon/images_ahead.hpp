// Vendors' newest images fetched on a timer, before anybody waits for them, where config.json names
// some.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::daemon {

struct AheadPlan {
    std::vector<std::string> names;  ///< "debian", "ubuntu:24.04"
    std::chrono::milliseconds every = std::chrono::hours(24);
    std::chrono::milliseconds settle = std::chrono::minutes(1);  ///< after the supervisor's start
    std::chrono::milliseconds again = std::chrono::hours(1);     ///< where one was not to be had
    /// Written after each round, so that a supervisor that starts often does not ask as often.
    std::filesystem::path marker;
};

/// Returns whether there was a newer one.
using GetImage = std::function<boost::asio::awaitable<Result<bool>>(std::string name)>;

/// Goes round until it is cancelled, one image after the other; at once where there is no name.
/// What fails is logged and tried again.
boost::asio::awaitable<void> keep_images_ahead(AheadPlan plan, GetImage get);

}  // namespace noxsup::daemon
