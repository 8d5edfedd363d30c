// A start that fails, at every step: it says why and leaves no process, lock, socket or descriptor.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "supervisor/launch/life_lock.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::launch {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

struct Sabotage {
    const char* name;
    void (*act)(StartRequest& request);
    ErrorCode code;
    const char* message;
};

void PrintTo(const Sabotage& sabotage, std::ostream* out) {
    *out << sabotage.name;
}

class StartFailureTest : public test::QemuTest, public testing::WithParamInterface<Sabotage> {
  protected:
    StartRequest request() {
        auto spec = test::sample_spec(spec::Arch::arm64);
        spec.networks[0].ssh_port = 0;
        return make_request(spec);
    }
};

/// A directory where a socket is to be, in a runtime directory as it should be.
void take_place_of(const fs::path& socket) {
    fs::create_directories(socket);
    fs::permissions(socket.parent_path(), fs::perms::owner_all);
}

TEST_P(StartFailureTest, LeavesNothing) {
    auto wanted = request();
    GetParam().act(wanted);
    const auto before = test::count_open_fds();
    {
        const auto started = start_qemu(context_.get_executor(), wanted);
        ASSERT_FALSE(started);
        EXPECT_EQ(started.error().code, GetParam().code) << started.error().message;
        EXPECT_THAT(started.error().message, HasSubstr(GetParam().message));
    }
    EXPECT_EQ(test::count_open_fds(), before);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
    const auto held = life_lock_held(wanted.files.lock);
    EXPECT_TRUE(!held || !*held);
    for (const auto* name : {"qmp", "console", "agent"}) {
        EXPECT_FALSE(fs::is_socket(wanted.files.runtime_dir / name)) << name;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Steps, StartFailureTest,
    testing::Values(
        Sabotage{"NoLockDirectory", [](StartRequest& r) { r.files.lock = "/nonexistent/lock"; },
                 ErrorCode::io_error, "/nonexistent/lock"},
        Sabotage{"NoDisk", [](StartRequest& r) { fs::remove(r.files.disk); }, ErrorCode::io_error,
                 "disk.qcow2"},
        Sabotage{"DiskIsALink",
                 [](StartRequest& r) {
                     fs::rename(r.files.disk, r.files.disk.string() + ".other");
                     fs::create_symlink(r.files.disk.string() + ".other", r.files.disk);
                 },
                 ErrorCode::io_error, "disk.qcow2"},
        Sabotage{"DiskIsAFifo",
                 [](StartRequest& r) {
                     fs::remove(r.files.disk);
                     ::mkfifo(r.files.disk.c_str(), 0600);
                 },
                 ErrorCode::unreadable_file, "is not a regular file"},
        Sabotage{"NoBase", [](StartRequest& r) { fs::remove(r.files.base); },
                 ErrorCode::unreadable_file, "base.qcow2"},
        Sabotage{"NoSeed", [](StartRequest& r) { fs::remove(r.files.seed); },
                 ErrorCode::unreadable_file, "seed.iso"},
        Sabotage{"NoFirmware",
                 [](StartRequest& r) { r.files.firmware_code = "/nonexistent/code.fd"; },
                 ErrorCode::unreadable_file, "code.fd"},
        Sabotage{"NoVariables", [](StartRequest& r) { fs::remove(r.files.firmware_vars); },
                 ErrorCode::io_error, "efivars.fd"},
        Sabotage{"FirmwareNotGiven", [](StartRequest& r) { r.files.firmware_vars.clear(); },
                 ErrorCode::invalid_argument, "firmware"},
        Sabotage{"KernelNotGiven",
                 [](StartRequest& r) { r.spec.boot.mode = spec::BootMode::kernel; },
                 ErrorCode::invalid_argument, "kernel"},
        Sabotage{"TapNotGiven",
                 [](StartRequest& r) { r.spec.networks[0].mode = spec::NetworkMode::bridge; },
                 ErrorCode::invalid_argument, "TAP"},
        Sabotage{"LogIsADirectory", [](StartRequest& r) { fs::create_directory(r.files.qemu_log); },
                 ErrorCode::io_error, "qemu.log"},
        Sabotage{"RuntimeDirectoryIsAFile",
                 [](StartRequest& r) { r.files.runtime_dir = r.files.seed; }, ErrorCode::io_error,
                 "seed.iso"},
        Sabotage{"RuntimeDirectoryIsALink",
                 [](StartRequest& r) {
                     const auto elsewhere = r.files.disk.parent_path() / "elsewhere";
                     fs::create_directories(r.files.runtime_dir.parent_path());
                     fs::create_directory(elsewhere);
                     fs::permissions(elsewhere, fs::perms::owner_all);
                     fs::create_symlink(elsewhere, r.files.runtime_dir);
                 },
                 ErrorCode::host_lacks_right, "no directory of this user's alone"},
        Sabotage{"RuntimeDirectoryIsOpenToOthers",
                 [](StartRequest& r) {
                     fs::create_directories(r.files.runtime_dir);
                     fs::permissions(r.files.runtime_dir, fs::perms::all);
                 },
                 ErrorCode::host_lacks_right, "no directory of this user's alone"},
        Sabotage{"FirstSocketIsTaken", [](StartRequest& r) { take_place_of(r.files.qmp_socket()); },
                 ErrorCode::io_error, "/qmp"},
        Sabotage{"LastSocketIsTaken",
                 [](StartRequest& r) { take_place_of(r.files.agent_socket()); },
                 ErrorCode::io_error, "/agent"},
        Sabotage{"NoQemu", [](StartRequest& r) { r.qemu.path = "/nonexistent/qemu"; },
                 ErrorCode::host_lacks_qemu, "/nonexistent/qemu"},
        Sabotage{"OtherMachine", [](StartRequest& r) { r.spec.machine = "virt-99.0"; },
                 ErrorCode::host_lacks_qemu, "virt-99.0"}),
    [](const auto& tested) { return tested.param.name; });

class EarlyDeathTest : public StartFailureTest {};

TEST_F(EarlyDeathTest, QemusOwnWordsAreTheEvidence) {
    auto wanted = request();
    wanted.spec.machine = "virt-99.0";
    wanted.qemu.machines.push_back("virt-99.0");
    {
        auto qemu = start(wanted);
        const auto end = test::run_async(context_, qemu.died());
        ASSERT_FALSE(end);
        EXPECT_EQ(end.error().code, ErrorCode::qemu_failed);
        ASSERT_FALSE(end.error().evidence.empty());
        EXPECT_THAT(end.error().evidence.front(), HasSubstr("unsupported machine type"));
        EXPECT_THAT(end.error().message, HasSubstr("QEMU ended before it was ready: "));
    }
    EXPECT_FALSE(*life_lock_held(wanted.files.lock));
    EXPECT_TRUE(fs::is_empty(wanted.files.runtime_dir));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(EarlyDeathTest, ACorruptDiskIsNamedByQemu) {
    auto wanted = request();
    fs::resize_file(wanted.files.disk, 0);
    auto qemu = start(wanted);
    const auto end = test::run_async(context_, qemu.died());
    ASSERT_FALSE(end);
    EXPECT_THAT(end.error().message, HasSubstr("qcow2"));
}

TEST_F(EarlyDeathTest, ALongRuntimePathStillWorks) {
    auto wanted = request();
    wanted.files.runtime_dir = dir_ / std::string(120, 'r');
    auto qemu = start(wanted);
    const auto qmp = talk(qemu, wanted);
    EXPECT_TRUE(qmp) << qmp.error().message;
}

}  // namespace
}  // namespace noxsup::launch
