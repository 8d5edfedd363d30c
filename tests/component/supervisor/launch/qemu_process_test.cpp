#include "supervisor/launch/qemu_process.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <set>

#include "supervisor/base/file.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::HasSubstr;

class QemuProcessTest : public test::QemuTest, public testing::WithParamInterface<Arch> {
  protected:
    StartRequest request() {
        auto spec = test::sample_spec(GetParam());
        spec.memory_bytes = 128 * spec::mebibyte;
        spec.networks[0].ssh_port = 0;
        spec.networks[0].restricted = true;
        return make_request(spec);
    }
    bool locked(const StartRequest& request) { return *life_lock_held(request.files.lock); }
};

INSTANTIATE_TEST_SUITE_P(Architectures, QemuProcessTest, testing::Values(Arch::arm64, Arch::amd64),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST_P(QemuProcessTest, EveryThreadIsConfined) {
    const auto wanted = request();
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    int threads = 0;
    const auto tasks = "/proc/" + std::to_string(qemu.identity().pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
        const auto status = test::slurp(task.path() / "status");
        EXPECT_THAT(status, HasSubstr("\nSeccomp:\t2\n")) << status;
        EXPECT_THAT(status, HasSubstr("\nNoNewPrivs:\t1\n"));
        ++threads;
    }
    EXPECT_GE(threads, 2);
}

TEST_P(QemuProcessTest, OnlyWhatWasGivenIsOpen) {
    const auto wanted = request();
    // A descriptor of ours without CLOEXEC, as a library might leave one.
    const UniqueFd careless(::open("/etc/hostname", O_RDONLY));
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    const auto& files = wanted.files;
    const std::set<std::string> allowed{files.disk,
                                        files.base,
                                        files.seed,
                                        files.qemu_log,
                                        files.firmware_code,
                                        files.firmware_vars,
                                        files.lock,
                                        "/dev/null",
                                        "anon_inode:[eventfd]",
                                        "anon_inode:[eventpoll]",
                                        "anon_inode:[signalfd]"};
    int sockets = 0;
    const auto fds = "/proc/" + std::to_string(qemu.identity().pid) + "/fd";
    for (const auto& entry : std::filesystem::directory_iterator(fds)) {
        const auto target = std::filesystem::read_symlink(entry.path()).string();
        if (target.starts_with("socket:")) {
            ++sockets;
        } else {
            EXPECT_THAT(allowed, testing::Contains(target));
        }
    }
    // QMP, console and agent listen; one connection to QMP is ours.
    EXPECT_EQ(sockets, 4);
}

TEST_P(QemuProcessTest, ASecondStartIsRefusedByTheLock) {
    const auto wanted = request();
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    const auto second = start_qemu(context_.get_executor(), wanted);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::wrong_state);
    // The first one is as reachable as before.
    EXPECT_EQ((*qmp)->execute("query-status").at("status"), "prelaunch");
}

TEST_P(QemuProcessTest, AnUncommittedStartLeavesNothing) {
    const auto wanted = request();
    const auto before = test::count_open_fds();
    pid_t pid = -1;
    {
        auto qemu = start(wanted);
        pid = qemu.identity().pid;
        EXPECT_TRUE(locked(wanted));
    }
    EXPECT_EQ(test::count_open_fds(), before);
    EXPECT_EQ(::kill(pid, 0), -1);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
    EXPECT_FALSE(locked(wanted));
    EXPECT_TRUE(std::filesystem::is_empty(wanted.files.runtime_dir));
}

TEST_P(QemuProcessTest, KillLeavesTheLockFreeAndTheNextStartWorks) {
    const auto wanted = request();
    auto first = start(wanted);
    ASSERT_TRUE(talk(first, wanted));
    const auto child = first.commit();
    EXPECT_TRUE(locked(wanted));
    ASSERT_TRUE(send_signal(child.pidfd.get(), SIGKILL));
    test::wait_for_end(child.pidfd.get());
    EXPECT_FALSE(locked(wanted)) << "also while it is not reaped";
    EXPECT_TRUE(std::filesystem::exists(wanted.files.qmp_socket()))
        << "a killed QEMU cannot clean up";
    EXPECT_EQ(reap(child.pidfd.get())->signal, SIGKILL);

    auto second = start(wanted);
    const auto qmp = talk(second, wanted);
    EXPECT_TRUE(qmp) << qmp.error().message;
}

TEST_P(QemuProcessTest, QuitRemovesTheSocketsAndFreesTheLock) {
    const auto wanted = request();
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    const auto child = qemu.commit();
    try {
        (*qmp)->execute("quit");
    } catch (const std::runtime_error&) {
        // The end of the connection is a reply as good.
    }
    test::wait_for_end(child.pidfd.get());
    EXPECT_FALSE(locked(wanted));
    EXPECT_EQ(reap(child.pidfd.get())->exit_code, 0);
}

TEST_P(QemuProcessTest, AdoptionByTheRecordedIdentity) {
    const auto wanted = request();
    auto qemu = start(wanted);
    ASSERT_TRUE(talk(qemu, wanted));
    const auto adopted = adopt_qemu(qemu.identity(), wanted.files, wanted.spec.uuid);
    ASSERT_TRUE(adopted) << adopted.error().message;
    ASSERT_TRUE(std::holds_alternative<Alive>(*adopted));
    EXPECT_EQ(std::get<Alive>(*adopted).identity, qemu.identity());
    EXPECT_FALSE(process_ended(std::get<Alive>(*adopted).pidfd.get()));
}

TEST_P(QemuProcessTest, AdoptionWithoutARecordAsksTheSocket) {
    const auto wanted = request();
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    // Also while another client has the monitor, and with the record of a stranger.
    auto stranger = qemu.identity();
    stranger.start_time += 1;
    for (const auto& record : {ProcessIdentity{}, stranger}) {
        const auto adopted = adopt_qemu(record, wanted.files, wanted.spec.uuid);
        ASSERT_TRUE(adopted) << adopted.error().message;
        ASSERT_TRUE(std::holds_alternative<Alive>(*adopted))
            << std::get<AliveUnknown>(*adopted).reason;
        EXPECT_EQ(std::get<Alive>(*adopted).identity, qemu.identity());
    }
}

TEST_P(QemuProcessTest, ADeadOneIsKnownToBeDead) {
    const auto wanted = request();
    ProcessIdentity identity;
    {
        auto qemu = start(wanted);
        identity = qemu.identity();
    }
    const auto adopted = adopt_qemu(identity, wanted.files, wanted.spec.uuid);
    ASSERT_TRUE(adopted);
    EXPECT_TRUE(std::holds_alternative<Dead>(*adopted));
}

TEST(QemuAdoptionTest, AHeldLockWithoutAProcessIsAliveAndUnknown) {
    const test::TempDir dir;
    VmFiles files;
    files.lock = dir / "lock";
    files.runtime_dir = dir.path();
    const auto lock = take_life_lock(files.lock);
    ASSERT_TRUE(lock);
    const auto adopted = adopt_qemu({}, files, "6f1c9a52");
    ASSERT_TRUE(adopted);
    ASSERT_TRUE(std::holds_alternative<AliveUnknown>(*adopted));
    EXPECT_THAT(std::get<AliveUnknown>(*adopted).reason, HasSubstr("qmp"));
}

TEST(QemuLastWordsTest, AreBoundedEscapedAndOfThisStartOnly) {
    const test::TempDir dir;
    const std::string old = "of an earlier start\n";
    std::string text = old;
    for (int i = 0; i < 5000; ++i)
        text += "line " + std::to_string(i) + " \x1b[2J and more text to fill it\n";
    const auto log = dir.write("qemu.log", text);
    const auto words = qemu_last_words(log, old.size());
    ASSERT_EQ(words.size(), 20U);
    EXPECT_THAT(words.back(), HasSubstr("line 4999"));
    EXPECT_THAT(words.back(), testing::Not(HasSubstr("\x1b")));
    EXPECT_THAT(qemu_last_words(log, text.size()), testing::IsEmpty());
    EXPECT_EQ(qemu_last_words(log, text.size() + 1000).size(), 20U)
        << "a log that was cut in between";
    EXPECT_THAT(qemu_last_words(dir / "none", 0), testing::IsEmpty());
}

}  // namespace
}  // namespace noxsup::launch
