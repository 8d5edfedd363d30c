#include "tests/support/scripted_qmp_peer.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>

#include "supervisor/base/unix_socket.hpp"

namespace noxsup::test {
namespace {

constexpr int patience_milliseconds = 60'000;

/// Thrown through a script that the destructor ends.
struct Stopped {};

}  // namespace

ScriptedQmpPeer::ScriptedQmpPeer(Script script) : stop_(::eventfd(0, EFD_CLOEXEC)) {
    auto listener = listen_unix(path(), 0600);
    if (!listener) throw std::runtime_error(listener.error().message);
    listener_ = std::move(*listener);
    thread_ = std::thread([this, script = std::move(script)] {
        try {
            script(*this);
        } catch (const Stopped&) {
            failure_ = "stopped before its end";
        } catch (const std::exception& e) {
            failure_ = e.what();
        }
    });
}

ScriptedQmpPeer::~ScriptedQmpPeer() {
    if (thread_.joinable()) {
        const std::uint64_t one = 1;
        if (::write(stop_.get(), &one, sizeof(one)) < 0) std::terminate();
        thread_.join();
    }
}

std::string ScriptedQmpPeer::finish() {
    if (thread_.joinable()) thread_.join();
    return failure_;
}

void ScriptedQmpPeer::wait_for(int fd, short events) const {
    std::array<pollfd, 2> watched{{{fd, events, 0}, {stop_.get(), POLLIN, 0}}};
    const int ready = ::poll(watched.data(), watched.size(), patience_milliseconds);
    if (ready == 0) throw std::runtime_error("the client did nothing for 60 s");
    if (watched[1].revents != 0) throw Stopped();
}

void ScriptedQmpPeer::accept() {
    connection_.reset();
    buffer_.clear();
    wait_for(listener_.get(), POLLIN);
    connection_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection_) throw std::runtime_error("accept failed");
}

void ScriptedQmpPeer::say(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(connection_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN) {
            wait_for(connection_.get(), POLLOUT);
        } else {
            throw std::runtime_error("the client closed its end");
        }
    }
}

void ScriptedQmpPeer::say_in_pieces(std::string_view bytes, std::size_t size) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(size, bytes.size()))) {
        say(bytes.substr(0, size));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void ScriptedQmpPeer::say_event(std::string_view name, const Json& data) {
    const Json event{{"event", std::string(name)},
                     {"data", data},
                     {"timestamp", {{"seconds", 1}, {"microseconds", 2}}}};
    say(dump_json(event) + "\r\n");
}

void ScriptedQmpPeer::greet() {
    say("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
        "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n");
}

void ScriptedQmpPeer::negotiate() {
    accept();
    greet();
    answer(expect("qmp_capabilities"));
}

bool ScriptedQmpPeer::receive() {
    wait_for(connection_.get(), POLLIN);
    std::array<char, 65536> part{};
    auto received = receive_with_fds(connection_.get(), part);
    if (!received) throw std::runtime_error(received.error().message);
    if (received->closed) return false;
    if (received->bytes > 0) reads_.emplace_back(part.data(), received->bytes);
    buffer_.append(part.data(), received->bytes);
    for (auto& fd : received->fds) descriptors_.push_back(std::move(fd));
    return true;
}

Json ScriptedQmpPeer::read_command() {
    while (buffer_.find('\n') == std::string::npos) {
        if (!receive()) throw std::runtime_error("the client hung up instead of sending a command");
    }
    const auto end = buffer_.find('\n');
    auto line = std::string_view(buffer_).substr(0, end);
    // A guest agent drops what came before this byte.
    if (const auto mark = line.rfind('\xff'); mark != line.npos) line.remove_prefix(mark + 1);
    auto command = parse_json(line);
    if (!command) throw std::runtime_error(command.error().message);
    buffer_.erase(0, end + 1);
    return std::move(*command);
}

Json ScriptedQmpPeer::expect(std::string_view name) {
    auto command = read_command();
    if (command["execute"] != name) {
        throw std::runtime_error("expected " + std::string(name) + ", got " + dump_json(command));
    }
    return command;
}

void ScriptedQmpPeer::answer(const Json& command, const Json& value) {
    say(dump_json(Json{{"return", value}, {"id", command.at("id")}}) + "\r\n");
}

void ScriptedQmpPeer::refuse(const Json& command, std::string_view error_class,
                             std::string_view description) {
    const Json error{{"class", std::string(error_class)}, {"desc", std::string(description)}};
    say(dump_json(Json{{"error", error}, {"id", command.at("id")}}) + "\r\n");
}

void ScriptedQmpPeer::expect_hang_up() {
    while (receive()) {
    }
    if (!buffer_.empty()) throw std::runtime_error("the client said before it left: " + buffer_);
}

void ScriptedQmpPeer::hang_up() {
    connection_.reset();
}

}  // namespace noxsup::test
