// How templates are shown.
#pragma once

#include "supervisor/base/json.hpp"
#include "supervisor/cli/output.hpp"

namespace noxsup::cli {

/// @param templates as template.list gives them
Document template_document(Json templates);

}  // namespace noxsup::cli
