// A bus that takes one client's calls of D-Bus: whoever asks is told that it was done.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "supervisor/base/unique_fd.hpp"

namespace noxsup::test {

class FakeBus {
  public:
    explicit FakeBus(std::filesystem::path socket);
    FakeBus(const FakeBus&) = delete;
    FakeBus& operator=(const FakeBus&) = delete;
    ~FakeBus();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    /// From now on this method fails.
    void refuse(std::string member);
    /// The methods that were called, in order.
    std::vector<std::string> called();

  private:
    void serve();
    bool answer_call(int client);

    std::filesystem::path path_;
    UniqueFd listening_;
    std::mutex mutex_;
    std::string refused_;
    std::vector<std::string> called_;
    std::thread thread_;
};

}  // namespace noxsup::test
