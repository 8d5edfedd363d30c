#include "tests/support/other_host.hpp"

#include <signal.h>

#include <boost/asio.hpp>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "tests/support/net_namespace.hpp"

namespace noxsup::test {
namespace {

using namespace std::chrono_literals;

std::filesystem::path network_of(const std::string& process) {
    return std::filesystem::read_symlink("/proc/" + process + "/ns/net");
}

}  // namespace

OtherHost::OtherHost(const std::string& here, const std::string& mac) {
    boost::asio::io_context context;
    SpawnSpec spec;
    spec.argv = {find_program("unshare").value(), "--net", "sleep", "600"};
    spec.environment = {"PATH=/usr/bin:/bin"};
    auto child = spawn(context.get_executor(), spec);
    if (!child) throw std::runtime_error(child.error().message);
    keeper_ = std::move(*child);
    const auto pid = std::to_string(keeper_.pid);
    for (int i = 0; i < 500 && network_of(pid) == network_of("self"); ++i)
        std::this_thread::sleep_for(10ms);
    std::vector<std::string> cable{"ip",   "link", "add",  here,  "type",
                                   "veth", "peer", "name", "eth0"};
    if (!mac.empty()) cable.insert(cable.end(), {"address", mac});
    cable.insert(cable.end(), {"netns", pid});
    run_program(cable);
    run_program({"ip", "link", "set", here, "up"});
    run({"ip", "link", "set", "lo", "up"});
    run({"ip", "link", "set", "eth0", "up"});
}

OtherHost::~OtherHost() {
    (void)send_signal(keeper_.pidfd.get(), SIGKILL);
    for (int i = 0; i < 500 && !process_ended(keeper_.pidfd.get()); ++i)
        std::this_thread::sleep_for(10ms);
    (void)reap(keeper_.pidfd.get());
}

std::string OtherHost::run(std::vector<std::string> argv) const {
    argv.insert(argv.begin(), {"nsenter", "--target", std::to_string(keeper_.pid), "--net"});
    return run_program(std::move(argv));
}

bool OtherHost::can(std::vector<std::string> argv) const {
    try {
        run(std::move(argv));
        return true;
    } catch (const std::runtime_error&) {
        return false;
    }
}

bool OtherHost::can_ping(const std::string& address) const {
    return can({"busybox", "ping", "-c", "1", "-W", "2", address});
}

}  // namespace noxsup::test
