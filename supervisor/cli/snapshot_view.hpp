// Snapshots as `snapshot ls` shows them.
#pragma once

#include "supervisor/cli/output.hpp"

namespace noxsup::cli {

/// {snapshots: [...]}, its table and its names. @param snapshots as the supervisor tells them
Document snapshot_document(Json snapshots);

}  // namespace noxsup::cli
