#include "supervisor/vm/stages.hpp"

#include <cmath>

namespace noxsup::vm {

void Stages::begin(std::string_view stage) {
    end();
    current_ = stage;
    open_ = true;
    began_ = std::chrono::steady_clock::now();
    if (listener_) listener_(current_, std::nullopt);
}

void Stages::end() {
    if (!open_) return;
    open_ = false;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
    ended_.push_back(Ended{current_, took.count()});
    if (listener_) listener_(current_, took.count());
}

Json Stages::to_json() const {
    auto list = Json::array();
    for (const auto& stage : ended_) {
        list.push_back(
            {{"name", stage.name}, {"seconds", std::round(stage.seconds * 1000) / 1000}});
    }
    return list;
}

}  // namespace noxsup::vm
