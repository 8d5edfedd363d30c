// What a long imaging step tells about its way, and how it is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace noxsup::imaging {

/// One report of a long step.
struct Progress {
    std::string stage;       ///< download, verify, unpack, convert, build/NAME, note, ...
    std::uint64_t done = 0;  ///< in `unit`
    std::optional<std::uint64_t> total;  ///< unknown for a server that tells no length
    std::string unit = "bytes";          ///< bytes or steps
    std::optional<std::uint64_t> rate;   ///< units a second, averaged over the last seconds
    std::optional<std::chrono::seconds> eta;
    std::string note;  ///< a line for the user, or empty
};

/// Called on the caller's executor, at most a few times a second. May be empty. Must not throw.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace noxsup::imaging
