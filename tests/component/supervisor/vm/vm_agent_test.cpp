// Addresses that only the guest's agent tells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/stand_in_vm.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using test::ScriptedQmpPeer;

constexpr auto patience = 60s;

/// What an agent says of a guest's cards.
Json interfaces(const std::string& mac, const std::string& address) {
    const auto with = [](const std::string& name, const std::string& of, const std::string& ip) {
        return Json{
            {"name", name},
            {"hardware-address", of},
            {"ip-addresses", {{{"ip-address", ip}, {"ip-address-type", "ipv4"}, {"prefix", 24}}}}};
    };
    return {with("lo", "00:00:00:00:00:00", "127.0.0.1"), with("docker0", mac, "127.0.0.1"),
            with("eth0", mac, address), with("eth1", "52:54:00:00:00:99", "192.0.2.99")};
}

class VmAgent : public testing::Test {
  protected:
    static void answer(ScriptedQmpPeer& p, const Json& cards) {
        p.accept();
        const auto command = p.expect("guest-sync-delimited");
        p.say("\xff{\"return\": " + command.at("arguments").at("id").dump() + "}\n");
        p.answer(p.expect("guest-network-get-interfaces"), cards);
        p.expect_hang_up();
    }

    /// A VM on a bridge, none of whose frames are seen, with this agent.
    std::shared_ptr<Vm> adopt(const ScriptedQmpPeer& agent, spec::VmSpec spec) {
        stand_in_.emplace(
            context_, [](ScriptedQmpPeer& p) { p.expect_hang_up(); }, std::move(spec));
        const auto vm = stand_in_->testvm;
        std::filesystem::create_symlink(agent.path(), vm->files().agent_socket());
        boost::asio::co_spawn(context_, vm->adopt(), boost::asio::detached);
        return vm;
    }

    /// Whether the card has this address in the end.
    bool comes_to_have(Vm& vm, const Json& addresses) {
        const auto end = std::chrono::steady_clock::now() + patience;
        context_.restart();
        while (std::chrono::steady_clock::now() < end) {
            // As the heartbeat does.
            vm.ask_agent();
            context_.run_for(20ms);
            context_.restart();
            if (vm.to_json()["networks"][0]["addresses"] == addresses) return true;
        }
        return false;
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmAgent, ItsAddressesAreShownAndFollowed) {
    const auto spec = test::sample_bridge_spec(spec::Arch::amd64);
    const auto mac = spec.networks[0].mac;
    ScriptedQmpPeer agent([&](ScriptedQmpPeer& p) {
        answer(p, interfaces(mac, "192.0.2.7"));
        answer(p, interfaces(mac, "192.0.2.8"));
        p.accept();
        p.expect_hang_up();
    });
    const auto vm = adopt(agent, spec);
    EXPECT_TRUE(comes_to_have(*vm, {"192.0.2.7"}));
    EXPECT_TRUE(comes_to_have(*vm, {"192.0.2.8"}));
    EXPECT_EQ(vm->ssh_target()->host, "192.0.2.8");
    std::vector<std::string> told;
    EventCursor cursor;
    while (const auto event = stand_in_->environment.events.read(cursor)) {
        if (event->kind == EventKind::addresses) told.push_back(event->data);
    }
    ASSERT_EQ(told.size(), 2U);
    EXPECT_EQ(Json::parse(told[1]), Json({{"mac", mac}, {"addresses", {"192.0.2.8"}}}));
    stand_in_.reset();
}

TEST_F(VmAgent, WhatItCannotKnowIsNotTaken) {
    const auto spec = test::sample_bridge_spec(spec::Arch::amd64);
    ScriptedQmpPeer agent([&](ScriptedQmpPeer& p) {
        answer(p, interfaces("52:54:00:00:00:98", "192.0.2.7"));
        answer(p,
               {{{"name", "eth0"},
                 {"hardware-address", spec.networks[0].mac},
                 {"ip-addresses",
                  {{{"ip-address", "224.0.0.1"}, {"ip-address-type", "ipv4"}, {"prefix", 4}}}}}});
        answer(p, interfaces(spec.networks[0].mac, "192.0.2.9"));
        p.accept();
        p.expect_hang_up();
    });
    const auto vm = adopt(agent, spec);
    EXPECT_TRUE(comes_to_have(*vm, {"192.0.2.9"})) << "and nothing before";
    EventCursor cursor;
    int told = 0;
    while (const auto event = stand_in_->environment.events.read(cursor))
        told += event->kind == EventKind::addresses ? 1 : 0;
    EXPECT_EQ(told, 1);
    stand_in_.reset();
}

}  // namespace
}  // namespace noxsup::vm
