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
    std::string fix;  ///< the exact command, or empty
};

Json to_json(const Check& check);

/// Runs every check; none of them changes the host.
boost::asio::awaitable<std::vector<Check>> run_checks(Services& services);

}  // namespace noxsup::daemon
