// A snapshot as the control protocol and `snapshot ls --format json` show it.
#pragma once

#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/state/snapshot.hpp"

namespace noxsup::daemon {

/// {vm, name, created_at, state, ram, consistency, cpus, memory_bytes, disk: {virtual_bytes,
/// used_bytes}, size_bytes, comment}
Json snapshot_json(std::string_view vm, const state::Snapshot& snapshot);

}  // namespace noxsup::daemon
