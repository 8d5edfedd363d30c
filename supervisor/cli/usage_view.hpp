// Two looks at what VMs take of the host, as rates and amounts for `top`.
#pragma once

#include "supervisor/base/json.hpp"
#include "supervisor/cli/output.hpp"

namespace noxsup::cli {

/// The later look's VMs, with cpu_percent (100: one CPU of the host) and bytes a second in place of
/// sums, where the earlier look has the same VM.
/// @param earlier, later `vms` of two replies to vm.usage
Json usage_between(const Json& earlier, const Json& later);

/// What `top` shows: NAME CPU MEMORY GUEST OVERHEAD READ WRITTEN RECEIVED SENT; for programs (csv)
/// plain numbers.
Table usage_table(const Json& vms, bool for_people);

/// Both, and the names.
Document usage_document(Json vms);

}  // namespace noxsup::cli
