// A JSON document as YAML, in block style.
#pragma once

#include <string>

#include "supervisor/base/json.hpp"

namespace noxsup::cli {

/// Reads back as the same document with YAML 1.1 and 1.2 readers: a string stands plain only where
/// no reader can take it for anything else; all others are double-quoted with JSON's escapes.
std::string format_yaml(const Json& document);

}  // namespace noxsup::cli
