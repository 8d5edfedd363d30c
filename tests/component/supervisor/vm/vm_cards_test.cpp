// Network cards that come and go, in front of a QEMU whose every word the test writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <future>

#include "supervisor/launch/device_table.hpp"
#include "tests/support/net_namespace.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"
#include "tests/support/vm_home.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using spec::NetworkMode;
using test::ScriptedQmpPeer;
using testing::HasSubstr;

constexpr auto patience = 60s;

spec::Network user_card() {
    spec::Network card;
    card.mac = "52:54:00:00:00:77";
    card.restricted = true;
    return card;
}

/// A VM with a card in place 0 and one in spare port 1.
spec::VmSpec with_plugged_card() {
    auto spec = test::sample_bridge_spec(spec::Arch::amd64);
    auto& card = spec.networks.emplace_back(user_card());
    card.slot = 1;
    card.spare_port = 1;
    return spec;
}

// What a script says.
void answer_status(ScriptedQmpPeer& p) {
    p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
}
void let_go(ScriptedQmpPeer& p, const std::string& device) {
    p.say_event("DEVICE_DELETED", {{"device", device}, {"path", "/machine/peripheral/" + device}});
}
/// All that comes before a card is told; QEMU has these PCI devices.
void answer_place(ScriptedQmpPeer& p, const Json& pci = Json::array()) {
    answer_status(p);
    p.answer(p.expect("query-pci"), pci);
    p.refuse(p.expect("netdev_del"), "DeviceNotFound", "Device 'net1' not found");
}

class VmCards : public testing::Test {
  protected:
    using Script = ScriptedQmpPeer::Script;

    void adopt(Script script, spec::VmSpec spec, netbridge::KernelNetwork* kernel = nullptr) {
        stand_in_.emplace(context_, std::move(script), std::move(spec), kernel);
        boost::asio::co_spawn(context_, vm().adopt(), boost::asio::detached);
        EXPECT_TRUE(test::run_async(context_, settled(vm())));
    }
    static boost::asio::awaitable<bool> settled(Vm& of) {
        co_await of.settled();
        co_return true;
    }
    Vm& vm() { return *stand_in_->testvm; }
    Result<> attach(spec::Network card) {
        return test::run_async(context_, vm().attach_card(std::move(card)));
    }
    Result<> detach(const std::string& card, std::chrono::milliseconds limit = patience) {
        return test::run_async(context_, vm().detach_card(card, limit));
    }
    bool comes_true(const std::function<bool()>& condition) {
        return test::comes_true(context_, condition, patience);
    }
    /// The supervisor ends; what was wrong with what it said, or nothing.
    std::string finish() {
        vm().release();
        context_.restart();
        context_.run_for(50ms);
        return stand_in_->peer.finish();
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
};

TEST_F(VmCards, ACardIsPluggedAndRecorded) {
    Json netdev;
    Json device;
    adopt(
        [&](ScriptedQmpPeer& p) {
            answer_place(p);
            const auto first = p.expect("netdev_add");
            netdev = first.at("arguments");
            p.answer(first);
            const auto second = p.expect("device_add");
            device = second.at("arguments");
            p.answer(second);
            p.expect_hang_up();
        },
        test::sample_bridge_spec(spec::Arch::amd64));
    const auto attached = attach(user_card());
    ASSERT_TRUE(attached) << attached.error().message;
    const auto spec = vm().spec();
    ASSERT_EQ(spec.networks.size(), 2U);
    EXPECT_EQ(spec.networks[1].slot, 1U);
    EXPECT_EQ(spec.networks[1].spare_port, 0U);
    EXPECT_EQ(stand_in_->stored().spec, spec);
    EXPECT_EQ(vm().to_json()["networks"][1]["slot"], 1);
    EXPECT_EQ(vm().cards().size(), 2U);
    EXPECT_EQ(finish(), "");
    EXPECT_EQ(netdev, Json({{"type", "user"}, {"id", "net1"}, {"restrict", true}}));
    EXPECT_EQ(device, launch::nic_json(spec, 1));
}

TEST_F(VmCards, PlacesThatOnlyQemuKnowsAreLeftAlone) {
    // A supervisor died after it had plugged a card and before it could say so.
    const Json port{{"qdev_id", "spare0"}, {"pci_bridge", {{"devices", {{{"qdev_id", "nic1"}}}}}}};
    const Json pci = Json::array({Json{{"bus", 0}, {"devices", Json::array({port})}}});
    adopt(
        [&](ScriptedQmpPeer& p) {
            answer_place(p, pci);
            p.answer(p.expect("netdev_add"));
            p.answer(p.expect("device_add"));
            p.expect_hang_up();
        },
        test::sample_bridge_spec(spec::Arch::amd64));
    ASSERT_TRUE(attach(user_card()));
    EXPECT_EQ(vm().spec().networks.at(1).slot, 2U);
    EXPECT_EQ(vm().spec().networks.at(1).spare_port, 1U);
    EXPECT_EQ(finish(), "");
}

TEST_F(VmCards, WhatFailsTakesBackWhatCameBefore) {
    const std::vector<std::string> steps{"query-pci", "netdev_add", "device_add", "save"};
    for (const auto& failing : steps) {
        adopt(
            [&failing](ScriptedQmpPeer& p) {
                const auto fails = [&](const char* step) {
                    const auto command = p.expect(step);
                    if (failing == step) {
                        p.refuse(command, "GenericError", "not today");
                    } else {
                        p.answer(command, std::string_view(step) == "query-pci" ? Json::array()
                                                                                : Json::object());
                    }
                    return failing == step;
                };
                answer_status(p);
                if (fails("query-pci")) return p.expect_hang_up();
                p.refuse(p.expect("netdev_del"), "DeviceNotFound", "Device 'net1' not found");
                if (fails("netdev_add")) return p.expect_hang_up();
                if (!fails("device_add")) {
                    const auto command = p.expect("device_del");
                    EXPECT_EQ(command.at("arguments"), Json({{"id", "nic1"}}));
                    p.answer(command);
                    let_go(p, "nic1");
                }
                const auto command = p.expect("netdev_del");
                EXPECT_EQ(command.at("arguments"), Json({{"id", "net1"}}));
                p.answer(command);
                p.expect_hang_up();
            },
            test::sample_bridge_spec(spec::Arch::amd64));
        const auto before = vm().spec();
        const auto directory = vm().directory();
        const auto aside = directory.string() + ".aside";
        if (failing == "save") std::filesystem::rename(directory, aside);
        const auto attached = attach(user_card());
        if (failing == "save") std::filesystem::rename(aside, directory);
        ASSERT_FALSE(attached) << failing;
        if (failing != "save") {
            EXPECT_THAT(attached.error().message, HasSubstr("not today"));
        }
        EXPECT_EQ(vm().spec(), before) << failing;
        EXPECT_EQ(vm().cards().size(), 1U) << failing;
        EXPECT_EQ(stand_in_->stored().spec, before) << failing;
        EXPECT_EQ(finish(), "") << failing;
        stand_in_.reset();
    }
}

TEST_F(VmCards, AGuestLetsGoOfACard) {
    for (const bool event_first : {false, true}) {
        adopt(
            [event_first](ScriptedQmpPeer& p) {
                answer_status(p);
                const auto command = p.expect("device_del");
                EXPECT_EQ(command.at("arguments"), Json({{"id", "nic1"}}));
                if (event_first) let_go(p, "nic1");
                p.answer(command);
                if (!event_first) {
                    // Of the device's bus, and of others.
                    let_go(p, "");
                    let_go(p, "disk0");
                    let_go(p, "nic1");
                }
                p.answer(p.expect("netdev_del"));
                p.expect_hang_up();
            },
            with_plugged_card());
        const auto detached = detach("52:54:00:00:00:77");
        ASSERT_TRUE(detached) << detached.error().message;
        EXPECT_EQ(vm().spec(), test::sample_bridge_spec(spec::Arch::amd64));
        EXPECT_EQ(stand_in_->stored().spec, vm().spec());
        EXPECT_EQ(finish(), "");
        stand_in_.reset();
    }
}

TEST_F(VmCards, AGuestThatKeepsACardMayLetGoLater) {
    std::promise<void> later;
    adopt(
        [&later](ScriptedQmpPeer& p) {
            answer_status(p);
            p.answer(p.expect("device_del"));
            answer_status(p);
            p.refuse(p.expect("device_del"), "GenericError",
                     "Device nic1 is already in the process of unplug");
            later.get_future().wait_for(patience);
            let_go(p, "nic1");
            p.answer(p.expect("netdev_del"));
            p.expect_hang_up();
        },
        with_plugged_card());
    for (int times = 0; times < 2; ++times) {
        const auto detached = detach("1", 100ms);
        ASSERT_FALSE(detached);
        EXPECT_EQ(detached.error().code, ErrorCode::timeout) << detached.error().message;
        EXPECT_EQ(vm().spec(), with_plugged_card());
    }
    later.set_value();
    EXPECT_TRUE(comes_true([this] { return vm().spec().networks.size() == 1; }));
    EXPECT_EQ(finish(), "");
}

TEST_F(VmCards, WhatAGuestEjectsByItselfStaysItsOwn) {
    adopt(
        [](ScriptedQmpPeer& p) {
            let_go(p, "nic1");
            answer_status(p);
            p.refuse(p.expect("device_del"), "DeviceNotFound", "Device 'nic1' not found");
            p.answer(p.expect("netdev_del"));
            p.expect_hang_up();
        },
        with_plugged_card());
    EXPECT_TRUE(comes_true([this] {
        EventCursor cursor;
        while (const auto event = stand_in_->environment.events.read(cursor)) {
            if (event->event == "DEVICE_DELETED") return true;
        }
        return false;
    }));
    EXPECT_EQ(vm().spec(), with_plugged_card()) << "for its owner to say";
    EXPECT_TRUE(detach("1"));
    EXPECT_EQ(vm().spec().networks.size(), 1U);
    EXPECT_EQ(finish(), "");
}

TEST_F(VmCards, ARefusedDetachChangesNothing) {
    adopt(
        [](ScriptedQmpPeer& p) {
            answer_status(p);
            p.refuse(p.expect("device_del"), "GenericError", "not today");
            p.expect_hang_up();
        },
        with_plugged_card());
    EXPECT_THAT(detach("1").error().message, HasSubstr("not today"));
    const auto fixed = detach("0");
    ASSERT_FALSE(fixed);
    EXPECT_EQ(fixed.error().code, ErrorCode::wrong_state);
    EXPECT_THAT(fixed.error().hint, HasSubstr("noxsup stop testvm"));
    EXPECT_EQ(detach("2").error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(vm().spec(), with_plugged_card());
    EXPECT_EQ(finish(), "");
}

TEST_F(VmCards, OneChangeAtATime) {
    std::promise<void> later;
    adopt(
        [&later](ScriptedQmpPeer& p) {
            answer_status(p);
            later.get_future().wait_for(patience);
            p.refuse(p.expect("query-pci"), "GenericError", "not today");
            p.expect_hang_up();
        },
        with_plugged_card());
    std::optional<bool> first;
    boost::asio::co_spawn(context_, vm().attach_card(user_card()),
                          [&first](const std::exception_ptr&, const Result<>& outcome) {
                              first = outcome.has_value();
                          });
    EXPECT_TRUE(comes_true([this] { return vm().cards().size() == 3; })) << "its MAC is taken";
    EXPECT_EQ(attach(user_card()).error().code, ErrorCode::wrong_state);
    EXPECT_EQ(detach("1").error().code, ErrorCode::wrong_state);
    later.set_value();
    EXPECT_TRUE(comes_true([&first] { return first.has_value(); }));
    EXPECT_EQ(first, false);
    EXPECT_EQ(vm().cards().size(), 2U);
    EXPECT_EQ(finish(), "");
}

/// The host's side is real: a bridge in a namespace of its own, a TAP, its rules.
class VmCardsOnBridge : public VmCards {
  protected:
    void SetUp() override {
        if (!namespace_.problem().empty()) GTEST_SKIP() << namespace_.problem();
        if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TAP can be made here";
        test::run_program({"ip", "link", "add", "br0", "type", "bridge"});
        test::run_program({"ip", "link", "set", "br0", "up"});
        auto kernel = netbridge::open_kernel_network();
        ASSERT_TRUE(kernel) << kernel.error().message;
        kernel_ = std::move(*kernel);
    }

    // The VM is let go of before the kernel and its namespace are.
    void TearDown() override { stand_in_.reset(); }

    static spec::Network card() {
        auto card = test::sample_bridge_spec(spec::Arch::amd64).networks[0];
        card.mac = "52:54:00:00:00:77";
        return card;
    }
    bool has_tap() {
        return kernel_->find_link(*netbridge::InterfaceName::parse(tap))->has_value();
    }
    bool has_rules() {
        const auto tables = kernel_->rule_tables();
        return tables && std::ranges::find(*tables, std::string("noxsup_") + tap) != tables->end();
    }
    /// The descriptors that come before the next command, which it returns; how many are counted.
    static Json take_descriptors(ScriptedQmpPeer& p, std::vector<std::string>& names) {
        for (;;) {
            auto command = p.read_command();
            if (command["execute"] != "getfd") return command;
            names.push_back(command["arguments"]["fdname"]);
            p.answer(command);
        }
    }

    static constexpr const char* tap = "nx3f2a9c411";
    test::NetNamespace namespace_;
    std::unique_ptr<netbridge::KernelNetwork> kernel_;
};

TEST_F(VmCardsOnBridge, ItsPortComesAndGoesWithIt) {
    std::vector<std::string> names;
    Json netdev;
    adopt(
        [&](ScriptedQmpPeer& p) {
            answer_place(p);
            const auto command = take_descriptors(p, names);
            netdev = command;
            p.answer(command);
            p.answer(p.expect("device_add"));
            answer_status(p);
            p.answer(p.expect("device_del"));
            let_go(p, "nic1");
            const auto last = p.expect("netdev_del");
            p.descriptors().clear();
            p.answer(last);
            p.expect_hang_up();
        },
        test::sample_spec(), kernel_.get());
    const auto attached = attach(card());
    ASSERT_TRUE(attached) << attached.error().message;
    EXPECT_EQ(vm().spec().networks.at(1).tap, tap);
    EXPECT_TRUE(has_tap());
    EXPECT_EQ(has_rules(), vm().to_json()["degraded"].empty());
    EXPECT_TRUE(vm().has_port());
    const auto detached = detach("1");
    ASSERT_TRUE(detached) << detached.error().message;
    EXPECT_FALSE(has_tap());
    EXPECT_FALSE(has_rules());
    EXPECT_FALSE(vm().has_port());
    EXPECT_EQ(finish(), "");
    EXPECT_EQ(netdev["execute"], "netdev_add");
    EXPECT_EQ(netdev["arguments"]["fds"], "net1-tap0:net1-tap1") << "of two CPUs";
    EXPECT_GE(names.size(), 2U);
}

TEST_F(VmCardsOnBridge, NothingOfItIsLeftWhereAStepFails) {
    for (const std::string failing : {"lease", "getfd", "netdev_add", "device_add"}) {
        adopt(
            [&failing](ScriptedQmpPeer& p) {
                answer_place(p);
                if (failing == "lease") return p.expect_hang_up();
                std::vector<std::string> names;
                if (failing == "getfd") {
                    p.answer(p.expect("getfd"));
                    p.refuse(p.expect("getfd"), "GenericError", "not today");
                } else {
                    const auto command = take_descriptors(p, names);
                    if (failing == "netdev_add") {
                        p.refuse(command, "GenericError", "not today");
                    } else {
                        p.answer(command);
                        p.refuse(p.expect("device_add"), "GenericError", "not today");
                        const auto last = p.expect("netdev_del");
                        p.descriptors().clear();
                        p.answer(last);
                        return p.expect_hang_up();
                    }
                }
                // All of the names, whether QEMU took them or not.
                auto command = p.expect("closefd");
                EXPECT_EQ(command["arguments"]["fdname"], "net1-tap0");
                p.descriptors().clear();
                p.answer(command);
                command = p.expect("closefd");
                EXPECT_EQ(command["arguments"]["fdname"], "net1-tap1");
                p.refuse(command, "FdNotFound", "File descriptor named 'net1-tap1' not found");
                for (std::size_t i = 2; i < names.size(); ++i) p.answer(p.expect("closefd"));
                if (names.empty()) {
                    // Not known to the script: there may be some for vhost-net.
                    try {
                        for (;;) p.answer(p.expect("closefd"));
                    } catch (const std::runtime_error&) {
                    }
                    return;
                }
                p.expect_hang_up();
            },
            test::sample_spec(), kernel_.get());
        if (failing == "lease") test::run_program({"ip", "link", "set", "br0", "down"});
        const auto attached = attach(card());
        if (failing == "lease") test::run_program({"ip", "link", "set", "br0", "up"});
        ASSERT_FALSE(attached) << failing;
        EXPECT_FALSE(has_tap()) << failing;
        EXPECT_FALSE(has_rules()) << failing;
        EXPECT_EQ(vm().spec(), test::sample_spec()) << failing;
        EXPECT_EQ(finish(), "") << failing;
        stand_in_.reset();
    }
}

class VmCardsStopped : public test::VmHome {
  protected:
    std::shared_ptr<Vm> make_vm(const std::function<void(state::VmRecord&)>& change = {}) {
        state::VmRecord record;
        record.spec = test::sample_bridge_spec(spec::Arch::amd64);
        if (change) change(record);
        const auto begun = store_.begin_create(record.spec.id);
        EXPECT_TRUE(begun);
        EXPECT_TRUE(store_.finish_create(*begun, record));
        return std::make_shared<Vm>(environment_, record);
    }
    static spec::Network card(int number) {
        auto card = test::sample_bridge_spec(spec::Arch::amd64).networks[0];
        card.mac = "52:54:00:00:00:0" + std::to_string(number);
        return card;
    }
};

TEST_F(VmCardsStopped, CardsKeepTheirPlacesAsOthersGo) {
    const auto vm = make_vm();
    const auto attach = [&](int number) {
        return test::run_async(context_, vm->attach_card(card(number)));
    };
    const auto detach = [&](const std::string& name) {
        return test::run_async(context_, vm->detach_card(name));
    };
    EXPECT_EQ(detach("0").error().code, ErrorCode::wrong_state) << "the only one";
    ASSERT_TRUE(attach(1));
    ASSERT_TRUE(attach(2));
    ASSERT_TRUE(detach("1"));
    const auto places = [&] {
        std::vector<std::string> list;
        for (const auto& network : vm->spec().networks) list.push_back(network.tap);
        return list;
    };
    EXPECT_THAT(places(), testing::ElementsAre("nx3f2a9c41", "nx3f2a9c412"));
    ASSERT_TRUE(detach("0"));
    ASSERT_TRUE(attach(3));
    EXPECT_THAT(places(), testing::ElementsAre("nx3f2a9c412", "nx3f2a9c41"))
        << "the place is free, and ssh's card is the one that was there";
    EXPECT_EQ(vm->spec().networks[1].spare_port, std::nullopt);
    EXPECT_EQ(attach(3).error().code, ErrorCode::invalid_argument) << "the MAC";
    EXPECT_EQ(store_.load("testvm")->record->spec, vm->spec());
    for (const int number : {4, 5, 6, 7, 8, 9}) ASSERT_TRUE(attach(number));
    const auto ninth = test::run_async(context_, vm->attach_card(user_card()));
    ASSERT_FALSE(ninth);
    EXPECT_THAT(ninth.error().message, HasSubstr("which is the most"));
}

TEST_F(VmCardsStopped, ASuspendedGuestKeepsItsCards) {
    const auto vm = make_vm([](state::VmRecord& record) {
        record.spec = with_plugged_card();
        record.state = lifecycle::State::suspended;
        record.saved_ram = state::SavedRam{{"key"}, "2026-11-23T07:00:00Z"};
    });
    for (const auto& refused : {test::run_async(context_, vm->attach_card(card(1))),
                                test::run_async(context_, vm->detach_card("1"))}) {
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, ErrorCode::wrong_state);
        EXPECT_THAT(refused.error().hint, HasSubstr("noxsup start --cold testvm"));
    }
    EXPECT_EQ(vm->spec(), with_plugged_card());
}

}  // namespace
}  // namespace noxsup::vm
