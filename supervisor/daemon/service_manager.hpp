// Telling the service manager how the supervisor is, by systemd's protocol (sd_notify(3)): one
// datagram a message, nothing where nobody asked.
#pragma once

#include <string>
#include <string_view>

namespace noxsup::daemon {

/// A manager that does not listen, or none at all, is no error: nothing depends on the messages.
class ServiceManager {
  public:
    /// @param socket what NOTIFY_SOCKET says: an absolute path, '@' and an abstract name, or empty
    explicit ServiceManager(std::string socket) : socket_(std::move(socket)) {}

    /// Takes the environment's NOTIFY_SOCKET.
    static ServiceManager from_environment();

    void ready() const { tell("READY=1"); }
    /// Due every half of WatchdogSec= at the latest.
    void alive() const { tell("WATCHDOG=1"); }
    void stopping() const { tell("STOPPING=1"); }

  private:
    void tell(std::string_view message) const;

    std::string socket_;
};

}  // namespace noxsup::daemon
