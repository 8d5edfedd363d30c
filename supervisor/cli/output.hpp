// Results to standard output in the format asked for, errors to standard error: the one edge.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/cli/options.hpp"
#include "supervisor/cli/table.hpp"

namespace noxsup::cli {

/// One result in every form a user can ask for.
struct Document {
    Json json;                       ///< without "version", which is added
    Table table;                     ///< for csv, and for people when `text` is empty
    std::string text;                ///< for people; raw text of others is escaped already
    std::vector<std::string> names;  ///< for --quiet, one a line
};

/// The document as the options want it, ready to be written.
std::string render(const Document& document, const GlobalOptions& options);

/// An error for people: what failed, at which stage, the evidence, what to do next.
std::string render_error_text(const Error& error, bool color);
/// {"version":1,"error":{...}} on one line. @param vm adds the VM's name where not empty
std::string render_error_json(const Error& error, std::string_view vm = {});

/// Writes the error to standard error in the form that the options want.
void print_error(const Error& error, const GlobalOptions& options, std::string_view vm = {});

}  // namespace noxsup::cli
