#include "supervisor/cli/grammar.hpp"

namespace noxsup::cli {

void declare_templates(CLI::App& app, Invocation& invocation) {
    auto* parent =
        app.add_subcommand("template", "Guests that have booted already, for VMs in an instant");
    parent->alias("templates");
    parent->fallthrough();
    parent->require_subcommand(1);
    const auto [create_verb, create] = declare_verb<TemplateCreateOptions>(
        *parent, invocation, "create", "Boot a guest once and freeze it");
    create_verb->add_option("OS", create->os, "Operating system: debian, debian:12, ...");
    create_verb->add_option("--arch", create->arch, "Architecture; the host's if not given")
        ->check(CLI::IsMember({"amd64", "arm64"}));
    create_verb->add_option("--cpus", create->cpus, "CPUs of the VMs that begin with it");
    create_verb->add_option("--ram,--memory", create->ram, "Their RAM: 512M, 1.5G, 25%");
    create_verb->add_option("--disk", create->disk, "Their disk: 5G, 25%");
    create_verb->add_option("--user", create->user, "User made in the guest (nox)");
    create_verb
        ->add_option("--network", create->networks,
                     "user, nat, bridge, bridge=NAME; again for a further card")
        ->allow_extra_args(false);
    create_verb->add_option("--accel", create->accel, "auto, kvm or tcg")
        ->check(CLI::IsMember({"auto", "kvm", "tcg"}));
    create_verb->add_option("--timeout", create->timeout, "How long its boot may take: 90s, 5m");

    const auto list = declare_verb<TemplateListOptions>(*parent, invocation, "ls", "List them");
    list.app->alias("list");

    const auto [rm_verb, rm] =
        declare_verb<TemplateRemoveOptions>(*parent, invocation, "rm", "Remove some");
    rm_verb->alias("remove");
    rm_verb->add_option("ID", rm->ids, "Templates that no VM uses")->required();
}

}  // namespace noxsup::cli
