// A plan of every kind of change, for the tests of what carries plans out.
#pragma once

#include "netbridge/setup/plan.hpp"
#include "tests/support/fake_setup_host.hpp"

namespace noxsup::test {

/// One file that is changed, two that are made, commands before and behind.
inline netbridge::setup::Plan sample_plan() {
    using namespace netbridge::setup;
    Plan plan;
    plan.manager = Manager::ifupdown;
    plan.card = "eth0";
    plan.bridge = "br0";
    plan.files = {
        {"/etc/a", FileImage{std::string("old\0\xff text", 10), 0640, 0, 5}, {"new a", 0640, 0, 5}},
        {"/etc/b", std::nullopt, {"new b", 0600, 0, 0}},
        {"/etc/d/c", std::nullopt, {"", 0644, 0, 0}}};
    plan.before = {{{"ifdown", "eth0"}, false}};
    plan.after = {{{"reload"}, true}, {{"ifup", "br0"}, false}};
    plan.undo_before = {{{"ifdown", "br0"}, true}};
    plan.undo_after = {{{"ip", "link", "delete", "br0"}, true}, {{"ifup", "eth0"}, false}};
    return plan;
}

/// The host's files before it.
inline std::map<std::string, netbridge::setup::FileImage> sample_files() {
    return {{"/etc/a", *sample_plan().files[0].before}, {"/etc/other", {"kept", 0644, 0, 0}}};
}

}  // namespace noxsup::test
