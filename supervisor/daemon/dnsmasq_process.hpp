// The dnsmasq of the NAT bridge as a process: started, found again after a supervisor's death, and
// ended; never another one's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/launch/process_identity.hpp"

namespace noxsup::daemon {

/// A dnsmasq that lives, or did when it was looked at.
struct DnsmasqProcess {
    launch::ProcessIdentity identity;
    UniqueFd pidfd;
    std::vector<std::string> arguments;
};

/// Starts it and waits until it serves. One that ends, or does not get ready in time, leaves no
/// process. It outlives this one. @param log a file that its words are added to
/// Errors: host_lacks_tool, port_taken, command_failed with its last words, io_error.
boost::asio::awaitable<Result<DnsmasqProcess>> start_dnsmasq(boost::asio::any_io_executor executor,
                                                             std::vector<std::string> argv,
                                                             std::filesystem::path log);

/// The one that an earlier supervisor left: the recorded process, or, where the record was not
/// written any more, a dnsmasq with `mark` among its arguments. @param mark an argument that no
/// other's dnsmasq has
std::optional<DnsmasqProcess> find_dnsmasq(const std::optional<launch::ProcessIdentity>& recorded,
                                           const std::string& mark);

/// TERM, and KILL after some seconds; completes when it is gone (and reaped, if it was a child).
boost::asio::awaitable<void> stop_dnsmasq(DnsmasqProcess process);

}  // namespace noxsup::daemon
