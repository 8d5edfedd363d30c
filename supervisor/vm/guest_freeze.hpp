// A guest's file systems held still for a moment, by its agent.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>

#include "supervisor/base/result.hpp"

namespace noxsup::vm {

/// Writes everything out and lets no write begin (guest-fsfreeze-freeze, qga/qapi-schema.json,
/// since 0.15.0), until thaw_guest(). Where this fails nothing is frozen, as far as a guest's word
/// goes. Errors: timeout (no agent answers), guest_failed (it refuses), qemu_failed.
/// @param agent the socket; it serves one client at a time
boost::asio::awaitable<Result<>> freeze_guest(boost::asio::any_io_executor executor,
                                              std::filesystem::path agent);
/// Lets them go on; fine where they were not frozen. Tries for some seconds. Errors: as above.
boost::asio::awaitable<Result<>> thaw_guest(boost::asio::any_io_executor executor,
                                            std::filesystem::path agent);

}  // namespace noxsup::vm
