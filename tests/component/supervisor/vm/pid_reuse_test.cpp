// Promise P10: no wrong process is ever signalled. A QEMU dies, a stranger gets its pid (by
// clone3's set_tid, in a pid namespace of the test's own), and the VM is adopted, stopped and
// killed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>

#include "supervisor/launch/life_lock.hpp"
#include "supervisor/vm/vm.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/pid_namespace.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/stranger.hpp"

namespace noxsup::vm {
namespace {

using std::chrono::milliseconds;
using VmPointer = std::shared_ptr<Vm>;

constexpr StopLimits brief{milliseconds(30), milliseconds(30), milliseconds(30), milliseconds(30),
                           milliseconds(30)};

/// Holds a VM's life lock and has its UUID among its arguments, as QEMU does, and costs less.
class StandIn {
  public:
    StandIn(boost::asio::io_context& context, const UniqueFd& lock, const std::string& uuid) {
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
        const UniqueFd input(ends[0]);
        // cat waits for its input, as long as this end is open.
        keeper_ = UniqueFd(ends[1]);
        SpawnSpec spec;
        spec.argv = {"/bin/cat", "-", uuid};
        spec.stdin_fd = input.get();
        spec.inherit = {lock.get()};
        auto child = spawn(context.get_executor(), spec);
        if (!child) throw std::runtime_error(child.error().message);
        child_ = std::move(*child);
        identity_ = *launch::identify(child_.pid);
    }
    StandIn(const StandIn&) = delete;
    StandIn& operator=(const StandIn&) = delete;
    ~StandIn() { end(); }
    [[nodiscard]] const launch::ProcessIdentity& identity() const { return identity_; }
    void hang() const { ASSERT_TRUE(send_signal(child_.pidfd.get(), SIGSTOP)); }
    /// Dies and is reaped: its pid may be another's from here on.
    void end() {
        if (child_.pid <= 0) return;
        EXPECT_TRUE(send_signal(child_.pidfd.get(), SIGKILL));
        ::waitpid(child_.pid, nullptr, 0);
        child_.pid = -1;
    }

  private:
    UniqueFd keeper_;
    Child child_;
    launch::ProcessIdentity identity_;
};

class PidReuseTest : public test::QemuTest {
  protected:
    /// All that a trial needs; made in the namespace.
    struct World {
        explicit World(const test::TempDir& dir, boost::asio::io_context& context)
            : home(dir / "home", state::Scope::user), store(home), io(context) {
            EXPECT_TRUE(home.prepare());
            record.spec = test::sample_spec();
            const auto begun = store.begin_create(record.spec.id);
            EXPECT_TRUE(store.finish_create(*begun, record));
        }
        [[nodiscard]] UniqueFd lock() const {
            auto taken = launch::take_life_lock(home.vm(record.spec.name) / "lock");
            EXPECT_TRUE(taken) << taken.error().message;
            return taken ? std::move(*taken) : UniqueFd();
        }
        [[nodiscard]] std::unique_ptr<StandIn> start() const {
            const auto held = lock();
            return std::make_unique<StandIn>(io, held, record.spec.uuid);
        }

        state::Home home;
        state::VmStore store;
        boost::asio::io_context& io;
        ProcessRunner runner;
        test::FakeKernelNetwork kernel;
        boost::asio::thread_pool pool{1};
        state::VmRecord record;
        Environment environment{io.get_executor(),       home, store, runner, kernel, {},
                                *launch::read_boot_id(), pool};
    };

    /// A supervisor that finds this record and adopts the VM.
    static VmPointer adopt(World& world, const launch::ProcessIdentity& identity,
                           TaskGroup& tasks) {
        auto record = world.record;
        record.state = lifecycle::State::running;
        record.qemu = identity;
        auto vm = std::make_shared<Vm>(world.environment, record);
        vm->expect_adoption();
        tasks.spawn("adoption", vm->adopt());
        auto settle = [](VmPointer of) -> boost::asio::awaitable<int> {
            co_await of->settled();
            co_return 0;
        };
        test::run_async(world.io, settle(vm));
        return vm;
    }
    static Result<StopMethod> stop(World& world, const VmPointer& vm) {
        return test::run_async(world.io, vm->stop(true, brief));
    }
    static void let_go(World& world, const VmPointer& vm, TaskGroup& tasks) {
        tasks.cancel();
        vm->release();
        world.io.restart();
        world.io.run();
    }

    /// The QEMU died while no supervisor ran.
    static void found_dead(World& world) {
        const auto qemu = world.start();
        qemu->end();
        expect_dead_and_stop(world, qemu->identity(), qemu->identity().pid);
    }
    /// The stranger is the recorded process to the tick, of another boot.
    static void found_after_a_reboot(World& world) {
        const auto qemu = world.start();
        qemu->end();
        const test::Stranger stranger(qemu->identity().pid);
        auto recorded = *launch::identify(stranger.pid());
        recorded.boot_id.front() = recorded.boot_id.front() == '0' ? '1' : '0';
        stop_beside(world, recorded, stranger, lifecycle::State::stopped);
    }
    /// The lock is held by something that cannot be identified.
    static void found_with_a_held_lock(World& world) {
        const auto lock = world.lock();
        auto qemu = std::make_unique<StandIn>(world.io, lock, world.record.spec.uuid);
        qemu->end();
        const test::Stranger stranger(qemu->identity().pid);
        stop_beside(world, qemu->identity(), stranger, lifecycle::State::unresponsive);
        auto exact = *launch::identify(stranger.pid());
        stop_beside(world, exact, stranger, lifecycle::State::unresponsive);
        exact.boot_id.front() = exact.boot_id.front() == '0' ? '1' : '0';
        stop_beside(world, exact, stranger, lifecycle::State::unresponsive);
    }
    /// Adopted alive; it dies and its pid is reused before the stop.
    static void reused_after_the_adoption(World& world) {
        const auto qemu = world.start();
        TaskGroup tasks(world.io.get_executor());
        const auto vm = adopt(world, qemu->identity(), tasks);
        EXPECT_EQ(vm->to_json().at("pid"), qemu->identity().pid);
        qemu->end();
        const test::Stranger stranger(qemu->identity().pid);
        EXPECT_TRUE(stop(world, vm));
        EXPECT_FALSE(vm->is_active());
        EXPECT_EQ(stranger.touched(), "");
        let_go(world, vm, tasks);
    }
    /// The same in the middle of a stop, which has sent TERM to a QEMU that hangs.
    static void reused_during_the_stop(World& world) {
        const auto qemu = world.start();
        TaskGroup tasks(world.io.get_executor());
        const auto vm = adopt(world, qemu->identity(), tasks);
        qemu->hang();
        std::optional<Result<StopMethod>> outcome;
        boost::asio::co_spawn(world.io, vm->stop(true, brief),
                              [&](const std::exception_ptr& failure, Result<StopMethod> result) {
                                  EXPECT_FALSE(failure);
                                  outcome = std::move(result);
                              });
        world.io.restart();
        world.io.run_for(milliseconds(5));
        qemu->end();
        const test::Stranger stranger(qemu->identity().pid);
        // Past the time at which KILL is sent.
        ::usleep(40'000);
        const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!outcome && std::chrono::steady_clock::now() < late) {
            world.io.restart();
            world.io.run_for(milliseconds(100));
        }
        ASSERT_TRUE(outcome);
        EXPECT_TRUE(*outcome);
        EXPECT_EQ(stranger.touched(), "");
        let_go(world, vm, tasks);
    }
    /// A real QEMU that this supervisor started.
    void real_qemu(World& world) {
        // Its files are made once.
        if (!request_) request_ = make_request(world.record.spec);
        const auto& request = *request_;
        auto pending = start(request);
        const auto identity = pending.identity();
        const auto adopted = launch::adopt_qemu(identity, request.files, request.spec.uuid);
        ASSERT_TRUE(adopted);
        ASSERT_TRUE(std::holds_alternative<launch::Alive>(*adopted));
        const auto child = pending.commit();
        ASSERT_TRUE(send_signal(child.pidfd.get(), SIGKILL));
        ASSERT_EQ(::waitpid(identity.pid, nullptr, 0), identity.pid);
        const test::Stranger stranger(identity.pid);
        for (const int fd : {child.pidfd.get(), std::get<launch::Alive>(*adopted).pidfd.get()}) {
            for (const int signal : {SIGTERM, SIGKILL, SIGSTOP})
                EXPECT_TRUE(send_signal(fd, signal));
        }
        const auto again = launch::adopt_qemu(identity, request.files, request.spec.uuid);
        ASSERT_TRUE(again);
        EXPECT_TRUE(std::holds_alternative<launch::Dead>(*again));
        EXPECT_EQ(stranger.touched(), "");
    }

    static void expect_dead_and_stop(World& world, const launch::ProcessIdentity& recorded,
                                     pid_t pid) {
        const test::Stranger stranger(pid);
        stop_beside(world, recorded, stranger, lifecycle::State::stopped);
    }
    static void stop_beside(World& world, const launch::ProcessIdentity& recorded,
                            const test::Stranger& stranger, lifecycle::State expected) {
        TaskGroup tasks(world.io.get_executor());
        const auto vm = adopt(world, recorded, tasks);
        EXPECT_EQ(vm->state(), expected);
        const auto stopped = stop(world, vm);
        EXPECT_EQ(stopped.has_value(), expected == lifecycle::State::stopped);
        EXPECT_EQ(vm->state(), expected);
        EXPECT_EQ(stranger.touched(), "");
        let_go(world, vm, tasks);
    }

    std::optional<launch::StartRequest> request_;

    int trials() {
        const int wanted = test::is_long_run() ? 10'000 : 500;
        context_.notify_fork(boost::asio::execution_context::fork_child);
        World world(dir_, context_);
        for (int i = 0; i < wanted && !HasFailure(); ++i) {
            SCOPED_TRACE("trial " + std::to_string(i));
            if (i % 100 == 99) {
                real_qemu(world);
                continue;
            }
            constexpr std::array kinds{&found_dead, &found_after_a_reboot, &found_with_a_held_lock,
                                       &reused_after_the_adoption, &reused_during_the_stop};
            kinds.at(static_cast<std::size_t>(i) % kinds.size())(world);
        }
        std::cout << wanted << " reused pids\n";
        return HasFailure() ? 1 : 0;
    }
};

TEST_F(PidReuseTest, AStrangerIsNeverSignalled) {
    const auto run = test::run_in_pid_namespace([this] {
        try {
            return trials();
        } catch (const std::exception& failure) {
            std::cout << "a trial ended with: " << failure.what() << "\n";
            return 1;
        }
    });
    if (!run.problem.empty()) GTEST_SKIP() << run.problem;
    EXPECT_EQ(run.status, 0);
}

TEST_F(PidReuseTest, TheTestWouldNotice) {
    // A supervisor that trusted the pid alone: the stranger must tell.
    const auto run = test::run_in_pid_namespace([] {
        test::Stranger first;
        const auto pid = first.pid();
        first.end();
        test::Stranger stranger(pid);
        EXPECT_EQ(stranger.touched(), "");
        ::kill(pid, SIGTERM);
        EXPECT_THAT(stranger.touched(), testing::HasSubstr("pending"));
        ::kill(pid, SIGKILL);
        ::usleep(20'000);
        EXPECT_EQ(stranger.touched(), "it was killed");
        return HasFailure() ? 1 : 0;
    });
    if (!run.problem.empty()) GTEST_SKIP() << run.problem;
    EXPECT_EQ(run.status, 0);
}

}  // namespace
}  // namespace noxsup::vm
