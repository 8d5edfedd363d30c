// The grammar of the command line in CLI11's terms, shared by parsing and completion.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "supervisor/cli/options.hpp"

namespace noxsup::cli {

/// Declares the global options and every verb on `app`. A verb that is parsed stores its options in
/// `invocation`, which outlives `app`.
void declare_grammar(CLI::App& app, Invocation& invocation);

// The groups of verbs, one function a group.
void declare_lifecycle(CLI::App& app, Invocation& invocation);
void declare_watching(CLI::App& app, Invocation& invocation);
void declare_access(CLI::App& app, Invocation& invocation);
void declare_images(CLI::App& app, Invocation& invocation);
void declare_network(CLI::App& app, Invocation& invocation);
void declare_snapshots(CLI::App& app, Invocation& invocation);
void declare_templates(CLI::App& app, Invocation& invocation);
void declare_host(CLI::App& app, Invocation& invocation);

/// A verb whose options live as long as the application and go into the invocation when it is used.
template <class Options>
struct DeclaredVerb {
    CLI::App* app;
    std::shared_ptr<Options> options;
};

template <class Options>
DeclaredVerb<Options> declare_verb(CLI::App& parent, Invocation& invocation,
                                   const std::string& name, const std::string& description) {
    auto* verb = parent.add_subcommand(name, description);
    auto options = std::make_shared<Options>();
    verb->fallthrough();
    verb->callback([options, &invocation] { invocation.verb = *options; });
    return {verb, options};
}

}  // namespace noxsup::cli
