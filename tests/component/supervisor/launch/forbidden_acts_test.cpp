// A QEMU that a hostile guest has taken over: what it can still do to the host, tried for real.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "supervisor/base/landlock.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

using std::filesystem::path;

/// A listening socket with an abstract name, and that name with '@' for its first byte.
std::pair<UniqueFd, std::string> listen_abstract() {
    const auto name = "@noxsup-test-" + std::to_string(::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, name.size());
    address.sun_path[0] = '\0';
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return {std::move(fd), name};
}

/// A listening TCP socket on loopback and its port.
std::pair<UniqueFd, int> listen_tcp() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(fd.get(), generic, length), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    EXPECT_EQ(::getsockname(fd.get(), generic, &length), 0);
    return {std::move(fd), ntohs(address.sin_port)};
}

class ForbiddenActsTest : public test::QemuTest {
  protected:
    void SetUp() override {
        if (!own_uid()) GTEST_SKIP() << "only root can give a VM a uid of its own";
        if (landlock_abi() < 6) GTEST_SKIP() << "the kernel's Landlock is too old for all acts";
        // Another uid may get to the program, and no further.
        ASSERT_EQ(::chmod(dir_.path().c_str(), 0711), 0);
        std::filesystem::copy_file(NOXSUP_FORBIDDEN_ACTS, dir_ / "qemu");
        ASSERT_EQ(::chmod((dir_ / "qemu").c_str(), 0755), 0);
    }

    /// A VM on a bridge in its own private directory; its "QEMU" is the stand-in.
    StartRequest request(const std::string& name, uid_t uid, const std::string& words) {
        auto spec = test::sample_kernel_spec(spec::Arch::amd64);
        spec.networks = test::sample_bridge_spec(spec::Arch::amd64).networks;
        spec.disk.base_file.clear();
        spec.boot.command_line = words;
        StartRequest wanted;
        wanted.spec = spec;
        wanted.qemu = test::sample_qemu(spec.arch);
        wanted.qemu.path = dir_ / "qemu";
        auto& files = wanted.files;
        const auto home = "home/" + name + "/";
        files.disk = dir_.write(home + "disk.qcow2", "disk");
        files.seed = dir_.write(home + "seed.iso", "seed");
        files.kernel = dir_.write(home + "vmlinuz", "kernel");
        files.qemu_log = dir_ / (home + "qemu.log");
        files.lock = dir_ / (home + "lock");
        files.runtime_dir = dir_ / (home + "run");
        for (const auto& directory : {dir_ / "home", dir_ / home}) {
            EXPECT_EQ(::chmod(directory.c_str(), 0700), 0);
        }
        wanted.confinement = *plan_confinement(spec, uid, std::nullopt);
        wanted.confinement.landlock = landlock_abi();
        null_ = UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const auto queues = network_queues(wanted.spec, wanted.spec.networks[0]);
        wanted.nics.emplace_back().taps.assign(queues, null_.get());
        return wanted;
    }

    std::string target_words(const StartRequest& sibling, pid_t sibling_pid) {
        std::string words = "daemon=" + std::to_string(::getpid());
        const auto add = [&words](const std::string& key, const std::string& value) {
            words += " " + key + "=" + value;
        };
        control_ = *listen_unix(dir_ / "home/control.sock", 0660);
        auto [abstract, abstract_name] = listen_abstract();
        abstract_ = std::move(abstract);
        auto [tcp, port] = listen_tcp();
        tcp_ = std::move(tcp);
        const auto public_file = dir_.write("public", "readable by all");
        EXPECT_EQ(::chmod(public_file.c_str(), 0644), 0);
        const auto open_to_all = dir_ / "tmp";
        std::filesystem::create_directory(open_to_all);
        EXPECT_EQ(::chmod(open_to_all.c_str(), 01777), 0);
        add("sibling", std::to_string(sibling_pid));
        add("other_disk", sibling.files.disk);
        add("sibling_socket", sibling.files.qmp_socket());
        add("own_disk", dir_ / "home/taken/disk.qcow2");
        add("home", dir_ / "home");
        add("control", dir_ / "home/control.sock");
        add("abstract", abstract_name);
        add("port", std::to_string(port));
        add("public_file", public_file);
        add("temporary", open_to_all / "made");
        return words;
    }

    /// Its lines, once it has ended.
    static std::vector<std::string> report_of(const PendingQemu& qemu, const path& log) {
        test::wait_for_end(qemu.pidfd());
        return split(test::slurp(log), '\n');
    }

    static std::pair<int, int> count(const std::vector<std::string>& lines) {
        int denied = 0;
        int allowed = 0;
        for (const auto& line : lines) {
            if (line.starts_with("denied ")) ++denied;
            if (line.starts_with("ALLOWED ")) ++allowed;
        }
        return {denied, allowed};
    }

    static constexpr int acts = 29;
    UniqueFd null_, control_, abstract_, tcp_;
};

TEST_F(ForbiddenActsTest, AreAllDenied) {
    const auto sibling_request = request("sibling", *own_uid() - 1, "wait");
    const auto sibling = start(sibling_request);
    auto wanted = request("taken", *own_uid(), "");
    wanted.spec.boot.command_line = target_words(sibling_request, sibling.identity().pid);
    const auto taken = start(wanted);
    const auto lines = report_of(taken, wanted.files.qemu_log);
    for (const auto& line : lines) EXPECT_FALSE(line.starts_with("ALLOWED")) << line;
    EXPECT_EQ(count(lines), std::pair(acts, 0)) << join(lines, "\n");
    EXPECT_FALSE(process_ended(sibling.pidfd()));
}

/// The acts are possible where nothing forbids them: otherwise the test above could not fail.
TEST_F(ForbiddenActsTest, AreAllowedToRoot) {
    const auto sibling_request = request("sibling", *own_uid() - 1, "wait");
    const auto sibling = start(sibling_request);
    auto wanted = request("taken", *own_uid(), "");
    const auto words = target_words(sibling_request, sibling.identity().pid);
    const UniqueFd disk(::open(wanted.files.disk.c_str(), O_RDWR | O_CLOEXEC));
    const UniqueFd seed(::open(wanted.files.seed.c_str(), O_RDONLY | O_CLOEXEC));
    const UniqueFd log(
        ::open(wanted.files.qemu_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    SpawnSpec plain;
    plain.argv = {wanted.qemu.path,
                  "-add-fd",
                  "fd=" + std::to_string(disk.get()) + ",set=1",
                  "-add-fd",
                  "fd=" + std::to_string(seed.get()) + ",set=3",
                  "-append",
                  words};
    plain.inherit = {disk.get(), seed.get()};
    plain.stdout_fd = log.get();
    const auto child = spawn(context_.get_executor(), plain);
    ASSERT_TRUE(child) << child.error().message;
    test::wait_for_end(child->pidfd.get());
    EXPECT_EQ(reap(child->pidfd.get())->exit_code, 0);
    const auto lines = split(test::slurp(wanted.files.qemu_log), '\n');
    const auto [denied, allowed] = count(lines);
    EXPECT_EQ(denied + allowed, acts);
    EXPECT_GE(allowed, 24) << join(lines, "\n");
}

}  // namespace
}  // namespace noxsup::launch
