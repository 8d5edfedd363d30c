// The raw floor: what QEMU alone takes to start and to quit, with the very arguments noxsup gives
// it.
//
// usage: noxsup-bench-floor VM_DIRECTORY IMAGES_DIRECTORY QEMU COUNT
// Prints {"start_ms": [...], "quit_ms": [...]}. The VM must be stopped; its disk is opened as QEMU
// would.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "supervisor/base/file.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "supervisor/launch/qemu_argv.hpp"
#include "supervisor/state/vm_record.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using noxsup::Result;
using noxsup::UniqueFd;
namespace fs = std::filesystem;

constexpr std::size_t meta_limit = std::size_t{1} << 20;
constexpr int answer_timeout_ms = 30000;

/// The paths and the spec that all runs share.
struct Setup {
    noxsup::spec::VmSpec spec;
    noxsup::launch::QemuBinary qemu;
    fs::path vm;
    fs::path images;
    fs::path sockets;
};

double milliseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

Result<UniqueFd> open_or_none(const fs::path& path, int flags) {
    if (path.empty()) return UniqueFd();
    return noxsup::open_file(path, flags);
}

/// One QEMU's descriptors; closed when it runs.
struct Descriptors {
    UniqueFd disk, base, seed, code, vars, kernel, initrd, qmp, console, agent;
};

Result<> open_files(const Setup& setup, Descriptors& fds) {
    const auto& spec = setup.spec;
    const auto below = [&](const std::string& name) {
        return name.empty() ? fs::path() : setup.vm / name;  // an absolute name stays what it is
    };
    const auto base = spec.disk.base_file.empty() ? fs::path() : setup.images / spec.disk.base_file;
    const auto seed = spec.cloud_init.enabled ? setup.vm / "cloud-init.iso" : fs::path();
    NOXSUP_TRY_VALUE(fds.disk, noxsup::open_file(setup.vm / "disk.qcow2", O_RDWR));
    NOXSUP_TRY_VALUE(fds.base, open_or_none(base, O_RDONLY));
    NOXSUP_TRY_VALUE(fds.seed, open_or_none(seed, O_RDONLY));
    NOXSUP_TRY_VALUE(fds.code, open_or_none(spec.boot.firmware_code, O_RDONLY));
    NOXSUP_TRY_VALUE(
        fds.vars,
        open_or_none(spec.boot.firmware_code.empty() ? fs::path() : setup.vm / "efivars.fd",
                     O_RDWR));
    NOXSUP_TRY_VALUE(fds.kernel, open_or_none(below(spec.boot.kernel), O_RDONLY));
    NOXSUP_TRY_VALUE(fds.initrd, open_or_none(below(spec.boot.initrd), O_RDONLY));
    for (const auto& [name, fd] :
         {std::pair{"qmp", &fds.qmp}, {"console", &fds.console}, {"agent", &fds.agent}}) {
        ::unlink((setup.sockets / name).c_str());
        NOXSUP_TRY_VALUE(*fd, noxsup::listen_unix(setup.sockets / name, 0600));
    }
    return {};
}

noxsup::launch::LaunchFds numbers_of(const Descriptors& fds) {
    noxsup::launch::LaunchFds numbers;
    numbers.disk = fds.disk.get();
    numbers.base = fds.base.get();
    numbers.seed = fds.seed.get();
    numbers.firmware_code = fds.code.get();
    numbers.firmware_vars = fds.vars.get();
    numbers.kernel = fds.kernel.get();
    numbers.initrd = fds.initrd.get();
    numbers.qmp = fds.qmp.get();
    numbers.console = fds.console.get();
    numbers.agent = fds.agent.get();
    return numbers;
}

/// posix_spawn with these descriptors kept open, and nothing else done.
Result<pid_t> spawn_qemu(const std::vector<std::string>& arguments, const Descriptors& fds) {
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    for (const auto* fd : {&fds.disk, &fds.base, &fds.seed, &fds.code, &fds.vars, &fds.kernel,
                           &fds.initrd, &fds.qmp, &fds.console, &fds.agent}) {
        // To itself: the way to say that exec shall not close it.
        if (fd->get() >= 0) ::posix_spawn_file_actions_adddup2(&actions, fd->get(), fd->get());
    }
    pid_t pid = -1;
    const int failure = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failure != 0) return noxsup::errno_error("start " + arguments[0], failure);
    return pid;
}

/// Reads until `wanted` has come. Errors: timeout, protocol_error when QEMU closed the socket.
Result<> read_until(int socket, std::string_view wanted) {
    std::string text;
    while (text.find(wanted) == std::string::npos) {
        pollfd waiting{socket, POLLIN, 0};
        if (::poll(&waiting, 1, answer_timeout_ms) <= 0)
            return noxsup::Error{noxsup::ErrorCode::timeout, "QEMU did not answer: " + text};
        char buffer[4096];
        const auto got = ::read(socket, buffer, sizeof buffer);
        if (got <= 0)
            return noxsup::Error{noxsup::ErrorCode::protocol_error, "QEMU ended: " + text};
        text.append(buffer, static_cast<std::size_t>(got));
    }
    return {};
}

struct Times {
    double start_ms = 0;
    double quit_ms = 0;
};

Result<Times> run_once(const Setup& setup) {
    Times times;
    auto begin = Clock::now();
    UniqueFd socket;
    pid_t pid = -1;
    {
        Descriptors fds;
        NOXSUP_TRY(open_files(setup, fds));
        const auto argv = noxsup::launch::build_qemu_argv(setup.spec, setup.qemu, numbers_of(fds));
        NOXSUP_TRY_VALUE(pid, spawn_qemu(argv, fds));
        NOXSUP_TRY_VALUE(socket, noxsup::connect_unix(setup.sockets / "qmp"));
    }
    // QEMU takes commands that are already there as soon as it has greeted.
    constexpr std::string_view first =
        R"({"execute":"qmp_capabilities"}{"execute":"cont","id":"c"})";
    NOXSUP_TRY(noxsup::write_all(socket.get(), first, "QMP"));
    NOXSUP_TRY(read_until(socket.get(), R"("id": "c"})"));
    times.start_ms = milliseconds_since(begin);
    begin = Clock::now();
    NOXSUP_TRY(noxsup::write_all(socket.get(), R"({"execute":"quit"})", "QMP"));
    int status = 0;
    while (::waitpid(pid, &status, 0) != pid) {
    }
    times.quit_ms = milliseconds_since(begin);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return noxsup::Error{noxsup::ErrorCode::qemu_failed,
                             "QEMU ended with status " + std::to_string(status)};
    return times;
}

Result<Setup> read_setup(char** argv) {
    Setup setup;
    setup.vm = argv[1];
    setup.images = argv[2];
    setup.qemu.path = argv[3];
    NOXSUP_TRY_VALUE(const auto text, noxsup::read_file(setup.vm / "meta.json", meta_limit));
    auto parsed = noxsup::state::parse_record(text);
    if (!parsed.record)
        return noxsup::Error{noxsup::ErrorCode::vm_damaged, "meta.json: " + parsed.problem};
    setup.spec = std::move(parsed.record->spec);
    std::string made = (fs::temp_directory_path() / "nxbench-XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) return noxsup::errno_error("mkdtemp", errno);
    setup.sockets = made;
    return setup;
}

Result<noxsup::Json> run_all(const Setup& setup, int count) {
    noxsup::Json result{{"start_ms", noxsup::Json::array()}, {"quit_ms", noxsup::Json::array()}};
    for (int run = 0; run < count; ++run) {
        NOXSUP_TRY_VALUE(const auto times, run_once(setup));
        result["start_ms"].push_back(times.start_ms);
        result["quit_ms"].push_back(times.quit_ms);
    }
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: noxsup-bench-floor VM_DIRECTORY IMAGES_DIRECTORY QEMU COUNT\n";
        return 1;
    }
    auto setup = read_setup(argv);
    auto result = setup ? run_all(*setup, std::atoi(argv[4])) : Result<noxsup::Json>(setup.error());
    if (setup) {
        std::error_code ignored;
        fs::remove_all(setup->sockets, ignored);
    }
    if (!result) {
        std::cerr << "noxsup-bench-floor: " << result.error().message << "\n";
        return noxsup::exit_code_of(result.error().code);
    }
    std::cout << noxsup::dump_json(*result) << "\n";
    return 0;
}
