// JSON that a YAML 1.1 reader takes for exactly the same value: how cloud-init documents of ours
// are written.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The value as JSON over several lines, with a newline at the end.
///
/// JSON is not quite YAML: PyYAML refuses a document with raw U+007F, C1 controls, U+FFFE or
/// U+FFFF, folds U+0085, U+2028 and U+2029 as line breaks, and reads an astral character escaped as
/// two surrogates as two characters. So the former are escaped as \uXXXX and the latter are written
/// raw.
/// @pre every string and key of the value is valid UTF-8; keys have at most 1,024 characters
std::string yaml_safe_json(const Json& value);

/// Text of others that becomes one line of a configuration: a name, a key, a comment. `what` names
/// it in the error. Errors: invalid_argument for bytes that are not UTF-8 (lone surrogates among
/// them), NUL and the other C0 controls, and DEL.
Result<> check_one_line(std::string_view text, std::string_view what);

}  // namespace noxsup::imaging
