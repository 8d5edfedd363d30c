// How long each stage of a long command took, and telling the caller as it happens.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"

namespace noxsup::vm {

/// One stage after the other: image, disk, seed, launch, kernel, network, ssh, cloud-init.
class Stages {
  public:
    /// @param seconds empty when the stage begins, its length when it has ended
    using Listener = std::function<void(std::string_view stage, std::optional<double> seconds)>;

    explicit Stages(Listener listener = {}) : listener_(std::move(listener)) {}

    /// Ends the stage before, if one is open.
    void begin(std::string_view stage);
    void end();

    /// The open stage, or the last one that ended.
    [[nodiscard]] const std::string& current() const { return current_; }
    /// [{name, seconds}], rounded to milliseconds.
    [[nodiscard]] Json to_json() const;

  private:
    struct Ended {
        std::string name;
        double seconds;
    };

    Listener listener_;
    std::string current_;
    bool open_ = false;
    std::chrono::steady_clock::time_point began_;
    std::vector<Ended> ended_;
};

}  // namespace noxsup::vm
