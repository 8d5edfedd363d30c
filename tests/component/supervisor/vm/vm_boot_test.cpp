// A VM whose boot follows its disk: what it does when its guest reboots, stops and changes its
// kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "tests/support/run_async.hpp"
#include "tests/support/stand_in_vm.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using lifecycle::State;
using test::ScriptedQmpPeer;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto patience = 60s;

spec::VmSpec following(spec::Arch arch = spec::Arch::amd64) {
    auto spec = test::sample_spec(arch);
    spec.boot = spec::Boot();
    spec.boot.mode = spec::BootMode::kernel;
    spec.boot.follow = true;
    spec.boot.kernel = "../../images/boot/a/kernel";
    spec.boot.initrd = "../../images/boot/a/initrd";
    spec.boot.command_line = "ro";
    spec.boot.source = "old";
    spec.boot.kernel_name = "/boot/vmlinuz-1";
    return spec;
}

imaging::BootLook direct(const std::string& source, const std::string& kernel) {
    imaging::BootLook look;
    look.direct = imaging::DirectBoot{source, kernel, "ro console=ttyS0"};
    return look;
}

class VmBoot : public testing::Test {
  protected:
    /// A running VM whose disk is found like this, once it is adopted.
    void begin(ScriptedQmpPeer::Script script, Result<imaging::BootLook> look,
               spec::VmSpec spec = following()) {
        stand_in_.emplace(context_, std::move(script), std::move(spec));
        auto& stand_in = *stand_in_;
        std::ofstream(vm().files().disk) << "disk";
        stand_in.environment.look_at_boot =
            [this,
             look](imaging::BootQuery query) -> boost::asio::awaitable<Result<imaging::BootLook>> {
            queries_.push_back(std::move(query));
            co_return look;
        };
        stand_in.environment.find_qemu =
            [](spec::Arch) -> boost::asio::awaitable<Result<launch::QemuBinary>> {
            co_return Error{ErrorCode::host_lacks_qemu, "there is no QEMU here"};
        };
        auto listening = listen_unix(vm().files().guest_port_socket(), 0600);
        ASSERT_TRUE(listening);
        port_ = std::move(*listening);
        bool adopted = false;
        boost::asio::co_spawn(context_, vm().adopt(),
                              [&adopted](const std::exception_ptr&) { adopted = true; });
        ASSERT_TRUE(comes([&adopted] { return adopted; }));
        ASSERT_EQ(vm().state(), State::running);
    }
    Vm& vm() { return *stand_in_->testvm; }

    bool comes(const std::function<bool()>& what) {
        return test::comes_true(context_, what, patience);
    }
    std::vector<std::string> states() {
        std::vector<std::string> seen;
        while (const auto event = stand_in_->environment.events.read(cursor_)) {
            if (event->kind == EventKind::state && event->state)
                seen.emplace_back(to_string(*event->state));
        }
        return seen;
    }

    boost::asio::io_context context_;
    std::optional<test::StandInVm> stand_in_;
    UniqueFd port_;
    std::vector<imaging::BootQuery> queries_;
    EventCursor cursor_;
};

TEST_F(VmBoot, ARebootWithTheSameKernelGoesOnInTheSameQemu) {
    begin(
        [](ScriptedQmpPeer& p) {
            p.say_event("RESET", {{"guest", true}, {"reason", "guest-reset"}});
            const auto stop = p.expect("stop");
            p.say_event("STOP");
            p.answer(stop);
            const auto cont = p.expect("cont");
            p.say_event("RESUME");
            p.answer(cont);
            p.say_event("NIC_RX_FILTER_CHANGED");
            p.expect_hang_up();
        },
        direct("old", "/boot/vmlinuz-1"));
    const auto before = stand_in_->stored().spec.boot;
    ASSERT_TRUE(comes([this] {
        EventCursor all;
        while (const auto event = stand_in_->environment.events.read(all)) {
            if (event->event == "NIC_RX_FILTER_CHANGED") return true;
        }
        return false;
    }));
    ASSERT_EQ(queries_.size(), 1U);
    EXPECT_EQ(queries_[0].known, "old");
    EXPECT_EQ(queries_[0].directory, vm().directory() / "boot");
    EXPECT_EQ(queries_[0].base, vm().files().base);
    EXPECT_EQ(queries_[0].arch, "amd64");
    EXPECT_EQ(vm().state(), State::running);
    EXPECT_THAT(states(), testing::IsEmpty());
    EXPECT_EQ(stand_in_->stored().spec.boot, before);
    stand_in_.reset();
}

/// Its QEMU came without a kernel, and has none for the next boot.
TEST_F(VmBoot, ARebootOfACopyIsANewQemu) {
    auto spec = following();
    spec.warm_template = "0123abcd";
    begin(
        [this](ScriptedQmpPeer& p) {
            p.say_event("RESET", {{"guest", true}, {"reason", "guest-reset"}});
            p.answer(p.expect("stop"));
            p.answer(p.expect("quit"));
            stand_in_->kill();
        },
        direct("old", "/boot/vmlinuz-1"), std::move(spec));
    EXPECT_TRUE(comes([this] { return vm().state() != State::running; }));
}

TEST_F(VmBoot, ARebootOfACopyThatIsBeingStoppedIsItsEnd) {
    auto spec = following();
    spec.warm_template = "0123abcd";
    begin(
        [this](ScriptedQmpPeer& p) {
            p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
            p.answer(p.expect("system_powerdown"));
            p.say_event("RESET", {{"guest", true}, {"reason", "guest-reset"}});
            p.answer(p.expect("stop"));
            p.answer(p.expect("quit"));
            stand_in_->kill();
        },
        direct("old", "/boot/vmlinuz-1"), std::move(spec));
    bool done = false;
    boost::asio::co_spawn(
        context_, vm().stop(false, {}),
        [&done](const std::exception_ptr&, const Result<StopMethod>&) { done = true; });
    ASSERT_TRUE(comes([&done] { return done; }));
    context_.restart();
    context_.run_for(200ms);
    EXPECT_THAT(states(), ElementsAre("stopping", "stopped"));
    stand_in_.reset();
}

TEST_F(VmBoot, ARebootIntoAnotherKernelIsANewQemu) {
    begin(
        [this](ScriptedQmpPeer& p) {
            p.say_event("RESET", {{"guest", true}, {"reason", "guest-reset"}});
            p.answer(p.expect("stop"));
            p.expect("quit");
            stand_in_->kill();
        },
        direct("new", "/boot/vmlinuz-2"));
    ASSERT_TRUE(comes([this] { return vm().state() != State::running; }));
    const auto boot = stand_in_->stored().spec.boot;
    EXPECT_EQ(boot.kernel, "boot/kernel");
    EXPECT_EQ(boot.initrd, "boot/initrd");
    EXPECT_EQ(boot.source, "new");
    EXPECT_EQ(boot.kernel_name, "/boot/vmlinuz-2");
    EXPECT_EQ(boot.command_line, "ro console=ttyS0");
    EXPECT_EQ(vm().to_json()["kernel"], "/boot/vmlinuz-2");
    // It was started at once; that this host has no QEMU for it ends that here.
    std::vector<std::string> seen;
    ASSERT_TRUE(comes([&] {
        for (auto& state : states()) seen.push_back(std::move(state));
        return seen.size() >= 3;
    }));
    EXPECT_THAT(seen, ElementsAre("stopped", "starting", "stopped"));
    stand_in_.reset();
}

TEST_F(VmBoot, AfterItsEndTheDiskIsLookedAtOnce) {
    begin([](ScriptedQmpPeer& p) { p.expect_hang_up(); }, direct("new", "/boot/vmlinuz-2"));
    stand_in_->kill();
    ASSERT_TRUE(comes([this] { return stand_in_->stored().spec.boot.source == "new"; }));
    EXPECT_FALSE(stand_in_->stored().boot_mark.empty());
    EXPECT_EQ(queries_.size(), 1U);
    Stages stages;
    const auto start = [&] {
        bool done = false;
        boost::asio::co_spawn(context_, vm().start(stages),
                              [&done](const std::exception_ptr&, const Result<>&) { done = true; });
        return comes([&done] { return done; });
    };
    ASSERT_TRUE(start());
    EXPECT_EQ(queries_.size(), 1U);
    // Somebody has written to it meanwhile.
    std::ofstream(vm().files().disk) << "another disk";
    ASSERT_TRUE(start());
    EXPECT_EQ(queries_.size(), 2U);
    EXPECT_EQ(queries_[1].known, "new");
    stand_in_.reset();
}

TEST_F(VmBoot, AGuestThatCannotBeFollowedGoesThroughTheFirmwareMeanwhile) {
    imaging::BootLook none;
    none.why_not = "its boot menu has no entry";
    begin([](ScriptedQmpPeer& p) { p.expect_hang_up(); }, none);
    stand_in_->kill();
    ASSERT_TRUE(
        comes([this] { return stand_in_->stored().spec.boot.mode == spec::BootMode::firmware; }));
    const auto boot = stand_in_->stored().spec.boot;
    EXPECT_TRUE(boot.follow);
    EXPECT_TRUE(boot.kernel.empty());
    EXPECT_TRUE(std::filesystem::exists(boot.firmware_code)) << boot.firmware_code;
    EXPECT_TRUE(std::filesystem::exists(vm().directory() / "efivars.fd"));
    EXPECT_TRUE(vm().files().has_guest_port);
    stand_in_.reset();
}

TEST_F(VmBoot, ALookThatFailsLeavesTheBootAsItIs) {
    begin([](ScriptedQmpPeer& p) { p.expect_hang_up(); },
          Error{ErrorCode::no_space, "no space for the kernel"});
    const auto before = stand_in_->stored().spec.boot;
    stand_in_->kill();
    ASSERT_TRUE(comes([this] { return !queries_.empty(); }));
    EXPECT_EQ(stand_in_->stored().spec.boot, before);
    // The next start looks again, and tells.
    Stages stages;
    std::optional<Result<>> outcome;
    boost::asio::co_spawn(context_, vm().start(stages),
                          [&outcome](const std::exception_ptr&, Result<> end) { outcome = end; });
    ASSERT_TRUE(comes([&outcome] { return outcome.has_value(); }));
    ASSERT_FALSE(*outcome);
    EXPECT_EQ(outcome->error().code, ErrorCode::no_space);
    stand_in_.reset();
}

TEST_F(VmBoot, OnArm64AStopIsSaidToTheGuestItself) {
    for (const auto arch : {spec::Arch::arm64, spec::Arch::amd64}) {
        begin(
            [this](ScriptedQmpPeer& p) {
                p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
                p.answer(p.expect("system_powerdown"));
                stand_in_->kill();
            },
            direct("old", "/boot/vmlinuz-1"), following(arch));
        const UniqueFd guest(
            ::accept4(port_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        ASSERT_TRUE(guest);
        bool done = false;
        boost::asio::co_spawn(
            context_, vm().stop(false, {}),
            [&done](const std::exception_ptr&, const Result<StopMethod>&) { done = true; });
        ASSERT_TRUE(comes([&done] { return done; }));
        std::string said(64, '\0');
        const auto got = ::read(guest.get(), said.data(), said.size());
        said.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        EXPECT_EQ(said, arch == spec::Arch::arm64 ? "poweroff\n" : "");
        stand_in_.reset();
    }
}

/// On arm64 such a QEMU stands still after a reset, which a supervisor may not have seen.
TEST_F(VmBoot, ACopyWhoseGuestListensIsLeftAlone) {
    auto spec = following(spec::Arch::arm64);
    spec.warm_template = "0123abcd";
    std::atomic<bool> asked = false;  // the peer's thread says so
    begin(
        [&asked](ScriptedQmpPeer& p) {
            p.answer(
                p.expect("query-chardev"),
                Json::array({{{"label", "guest"}, {"filename", ""}, {"frontend-open", true}}}));
            asked = true;
            p.expect_hang_up();
        },
        direct("old", "/boot/vmlinuz-1"), std::move(spec));
    EXPECT_TRUE(comes([&asked] { return asked.load(); }));
    EXPECT_EQ(vm().state(), State::running);
}

}  // namespace
}  // namespace noxsup::vm
