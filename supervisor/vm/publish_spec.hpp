// A published port of a VM's spec in netbridge's terms.
#pragma once

#include "netbridge/publish.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::vm {

/// Errors: as netbridge::parse_publish(); none for a spec that was validated.
Result<netbridge::PublishSpec> publish_spec(const spec::Publish& publish);

}  // namespace noxsup::vm
