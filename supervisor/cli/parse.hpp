// Words of the command line to an Invocation; the grammar is in grammar.cpp.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/cli/options.hpp"

namespace noxsup::cli {

/// Parses the words after the program's name. `--help` and `help` give HelpOptions with the text.
/// Errors: invalid_argument, the usage line as its hint.
Result<Invocation> parse(std::vector<std::string> words);

/// True when the words ask for JSON, even where they cannot be parsed otherwise.
bool asks_for_json(const std::vector<std::string>& words);

/// A verb or a flag as completion and documentation need it.
struct GrammarOption {
    std::vector<std::string> names;  ///< "-f", "--follow"
    std::string description;
    bool takes_value = false;
    std::vector<std::string> choices;  ///< the values it takes, where they are few
};
struct GrammarVerb {
    std::string name;  ///< "image pull" for a verb of two words
    std::vector<std::string> aliases;
    std::string description;
    std::vector<GrammarOption> options;
};

/// Every verb with its options; the first one, without a name, holds the global options.
std::vector<GrammarVerb> grammar();

}  // namespace noxsup::cli
