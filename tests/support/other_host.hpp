// Another host of a test's network: a network namespace of its own at the end of a cable.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/process.hpp"

namespace noxsup::test {

/// Lives until its end; its devices go with it. @pre the test runs in a NetNamespace
class OtherHost {
  public:
    /// Makes the cable: `here` is the end in the test's namespace, the other one is eth0 there.
    /// Both ends are up. @param mac of eth0; empty: a random one
    explicit OtherHost(const std::string& here, const std::string& mac = {});
    OtherHost(const OtherHost&) = delete;
    OtherHost& operator=(const OtherHost&) = delete;
    ~OtherHost();

    /// Runs a program there, to its end; throws with its last words when it fails.
    std::string run(std::vector<std::string> argv) const;
    /// The same; whether it ended well.
    [[nodiscard]] bool can(std::vector<std::string> argv) const;
    [[nodiscard]] bool can_ping(const std::string& address) const;

  private:
    Child keeper_;
};

}  // namespace noxsup::test
