// Completion scripts for shells, made from the grammar itself.
#pragma once

#include <string>
#include <string_view>

namespace noxsup::cli {

/// The script for "bash", "zsh" or "fish".
std::string completion_script(std::string_view shell);

}  // namespace noxsup::cli
