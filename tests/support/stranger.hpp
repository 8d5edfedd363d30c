// A process that has nothing to do with noxsup, and can tell that nobody sent it a signal.
#pragma once

#include <sys/types.h>

#include <string>

namespace noxsup::test {

/// Waits with every signal blocked, so that one that came stays pending and can be seen. Killed and
/// reaped at the end.
class Stranger {
  public:
    /// It keeps none of this process's descriptors but the first three.
    /// @param pid to be had (clone3's set_tid: root in this pid namespace), or 0 for any. Throws
    /// std::system_error when there can be no such process.
    explicit Stranger(pid_t pid = 0);
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;
    ~Stranger();

    [[nodiscard]] pid_t pid() const { return pid_; }
    /// What was done to it: "it was killed", "signals 4000 are pending"; empty: nothing.
    [[nodiscard]] std::string touched() const;
    /// Ends and reaps it now.
    void end();

  private:
    pid_t pid_;
};

}  // namespace noxsup::test
