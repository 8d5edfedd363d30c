// A VM's disk made into an image that never changes: what linked clones and templates stand on.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "imaging/flatten.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// Copies the disk into the image store, where it has no name: `image prune` takes it once nothing
/// stands on it. @param disk its output is chosen here  @param about architecture, source, size
/// @param name of the file that is being made; no other has it
/// Errors: of imaging::flatten_disk(), the worker's and ImageStore::adopt().
boost::asio::awaitable<Result<imaging::Image>> freeze_disk(Services& services,
                                                           control::CallContext& call,
                                                           imaging::FlattenSpec disk,
                                                           imaging::Image about, std::string name);

}  // namespace noxsup::daemon
