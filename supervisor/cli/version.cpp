#include <unistd.h>

#include "supervisor/cli/terminal.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {

Result<int> run_verb(Session& session, const VersionOptions& /*options*/) {
    Document document;
    document.json = {{"noxsup", NOXSUP_VERSION}, {"protocol", control::protocol_version}};
    document.table = {{"NOXSUP", "PROTOCOL"},
                      {{NOXSUP_VERSION, std::to_string(control::protocol_version)}}};
    document.text = "noxsup " NOXSUP_VERSION "\n";
    document.names = {NOXSUP_VERSION};
    return session.print(document);
}

Result<int> run_verb(Session& /*session*/, const HelpOptions& options) {
    // Help is for people in every format.
    write_text(STDOUT_FILENO, options.text);
    return 0;
}

}  // namespace noxsup::cli
