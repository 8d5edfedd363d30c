// Looks at the host line by line and says what to do about each thing that is wrong.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

enum class CheckStatus { ok, warning, error };

/// One line of `doctor`.
struct Check {
    std::string id;  ///< stable: "kvm", "qemu", "firmware", ...
    CheckStatus status = CheckStatus::ok;
    std::string text;
    std::string fix;     ///< the exact command, or empty
    std::string mended;  ///< what was done about it; empty: nothing
};

/// What is done about what is wrong.
enum class Mend { nothing, what_is_safe };

Json to_json(const Check& check);

/// `fine` where there is no error, else what the error says and its hint.
Check from_result(std::string id, std::string fine, const Error* error, CheckStatus otherwise);

/// The bridge, and what on the host keeps traffic from passing it.
boost::asio::awaitable<std::vector<Check>> check_bridge(Services& services, Mend wanted);

/// The managed NAT network: whether it can be had, what is switched on for it, and what on the host
/// keeps its VMs' traffic from passing.
std::vector<Check> check_nat(Services& services);

/// Runs every check. Without `mend` none of them changes the host; the one for a DHCP server is a
/// port of br0 for some seconds.
boost::asio::awaitable<std::vector<Check>> run_checks(Services& services, Mend mend);

}  // namespace noxsup::daemon
