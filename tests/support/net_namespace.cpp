#include "tests/support/net_namespace.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "supervisor/base/command.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/user_namespace.hpp"

namespace noxsup::test {
namespace {

UniqueFd open_namespace(const char* path) {
    return UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
}

}  // namespace

NetNamespace::NetNamespace() {
    if (const auto* failed = enter(); failed != nullptr) {
        problem_ = std::string("no network namespace can be made here (") + failed + ": " +
                   std::generic_category().message(errno) + ")";
        return;
    }
    run_program({"ip", "link", "set", "lo", "up"});
}

const char* NetNamespace::enter() {
    if (::geteuid() != 0 && !become_root_inside()) return "user namespace";
    auto network = open_namespace("/proc/self/ns/net");
    auto mounts = open_namespace("/proc/self/ns/mnt");
    if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return "unshare";
    old_network_ = std::move(network);
    old_mounts_ = std::move(mounts);
    if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return "private mounts";
    if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) return "mount /sys";
    return nullptr;
}

NetNamespace::~NetNamespace() {
    // From a user namespace of our own there is no way back; the process stays where it harms
    // nobody.
    if (old_mounts_) (void)::setns(old_mounts_.get(), CLONE_NEWNS);
    if (old_network_) (void)::setns(old_network_.get(), CLONE_NEWNET);
}

WithoutCapability::WithoutCapability(unsigned capability) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    if (::syscall(SYS_capget, &header, before_) != 0) throw std::runtime_error("capget failed");
    __user_cap_data_struct less[2]{before_[0], before_[1]};
    less[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
    if (::syscall(SYS_capset, &header, less) != 0) throw std::runtime_error("capset failed");
}

WithoutCapability::~WithoutCapability() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    if (::syscall(SYS_capset, &header, before_) != 0) ::abort();
}

std::string run_program(std::vector<std::string> argv, std::string input) {
    boost::asio::io_context context;
    ProcessRunner runner;
    Command command;
    command.argv = std::move(argv);
    command.input = std::move(input);
    auto output = run_async(context, run_checked(runner, std::move(command)));
    if (!output) throw std::runtime_error(output.error().message);
    return *output;
}

}  // namespace noxsup::test
