// The whole command line: words in, exit code out.
#pragma once

namespace noxsup::cli {

/// Parses, runs the verb, prints the error if there is one. Returns the exit code.
int run(int argc, const char* const* argv);

}  // namespace noxsup::cli
