// A supervisor of canned answers for tests of what is in front of it: fake_supervisor HOME
// [--ready-fd N].
//
// HOME/replies.json maps "METHOD" or "METHOD NAME" to a list of steps, done in order:
//   {"progress": {stage, done, total, unit}}  {"ended": [stage, seconds]}  {"note": text}
//   {"event": {stream, event}}  {"sleep": seconds}  {"file": text}  {"console": text}
//   {"result": {...}}  {"error": {code, message, hint, stage, evidence}}
// Every call is appended to HOME/calls.jsonl: {method, params, fds: [content]}.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/control/daemon_launcher.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/control/rpc.hpp"
#include "supervisor/control/server.hpp"

namespace noxsup::control {
namespace {

namespace asio = boost::asio;

const std::vector<std::string_view> methods = {method::vm_create,
                                               method::vm_list,
                                               method::vm_status,
                                               method::vm_start,
                                               method::vm_stop,
                                               method::vm_restart,
                                               method::vm_reset,
                                               method::vm_delete,
                                               method::vm_wait,
                                               method::vm_console,
                                               method::vm_log,
                                               method::vm_ssh,
                                               method::image_list,
                                               method::image_pull,
                                               method::image_build,
                                               method::image_import,
                                               method::image_remove,
                                               method::host_doctor,
                                               method::events_subscribe,
                                               method::vm_autostart,
                                               method::vm_pause,
                                               method::vm_resume,
                                               method::vm_suspend,
                                               method::vm_rename,
                                               method::vm_set,
                                               method::host_stop_guests,
                                               method::vm_network_attach,
                                               method::vm_network_detach,
                                               method::image_available,
                                               method::image_verify,
                                               method::image_prune};

class FakeSupervisor {
  public:
    explicit FakeSupervisor(std::filesystem::path home) : home_(std::move(home)) {}

    asio::awaitable<Result<Reply>> answer(std::string name, CallContext& call, Json params) {
        record(name, call, params);
        const auto steps = steps_for(name, params);
        Reply reply;
        for (const auto& step : steps) {
            if (step.contains("sleep")) {
                const auto time = std::chrono::duration<double>(step["sleep"].get<double>());
                const bool slept =
                    co_await sleep_for(std::chrono::duration_cast<SteadyDuration>(time));
                if (!slept) co_return Error{ErrorCode::failed, "woken early"};
            }
            if (step.contains("error")) {
                auto error = error_from_json(step["error"]);
                co_return error;
            }
            if (step.contains("event")) {
                auto event = step["event"];
                const bool sent = co_await call.send_event(std::move(event));
                if (!sent) co_return Error{ErrorCode::failed, "not sent"};
            }
            tell(call, step);
            add_to(reply, step);
        }
        co_return reply;
    }

  private:
    Json steps_for(const std::string& name, const Json& params) const {
        const auto text = read_file(home_ / "replies.json", std::size_t{1} << 20);
        if (!text) return Json::array();
        const auto replies = Json::parse(*text);
        const auto special = name + " " + params.value("name", "");
        if (replies.contains(special)) return replies[special];
        if (replies.contains(name)) return replies[name];
        return Json::array(
            {{{"error", {{"code", "failed"}, {"message", "no reply for " + name}}}}});
    }

    void record(const std::string& name, CallContext& call, const Json& params) const {
        auto fds = Json::array();
        for (std::size_t i = 0; i < max_message_fds; ++i) {
            auto fd = call.take_fd(i);
            if (!fd) break;
            const auto text = read_all(fd->get(), 65536, "a passed file");
            fds.push_back(text ? *text : std::string());
        }
        const Json entry = {{"method", name}, {"params", params}, {"fds", fds}};
        const auto log = open_file(home_ / "calls.jsonl", O_WRONLY | O_CREAT | O_APPEND);
        if (log) (void)write_all(log->get(), dump_json(entry) + "\n", "calls.jsonl");
    }

    static void tell(CallContext& call, const Json& step) {
        if (step.contains("progress")) {
            const auto& progress = step["progress"];
            call.progress(progress.value("stage", ""), progress.value("done", std::uint64_t{0}),
                          progress.value("total", std::uint64_t{0}), progress.value("unit", ""));
        }
        if (step.contains("ended")) {
            call.stage_ended(step["ended"][0].get<std::string>(), step["ended"][1].get<double>());
        }
        if (step.contains("note")) call.note(step["note"].get<std::string>());
    }

    void add_to(Reply& reply, const Json& step) {
        if (step.contains("result")) reply.result = step["result"];
        if (step.contains("file")) {
            UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
            (void)write_all(file.get(), step["file"].get<std::string>(), "file");
            ::lseek(file.get(), 0, SEEK_SET);
            reply.fds.push_back(std::move(file));
        }
        if (step.contains("console")) {
            std::array<int, 2> ends{};
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
            reply.fds.emplace_back(ends[0]);
            guests_.emplace_back(asio::make_strand(context_), ends[1]);
            echo(guests_.back(), step["console"].get<std::string>());
        }
    }

    /// The guest's end: a greeting, then an echo in brackets; `quit` closes it.
    void echo(asio::posix::stream_descriptor& guest, const std::string& greeting) {
        (void)write_all(guest.native_handle(), greeting, "console");
        asio::co_spawn(context_, talk(guest), asio::detached);
    }

    static asio::awaitable<void> talk(asio::posix::stream_descriptor& guest) {
        std::array<char, 1024> buffer{};
        for (;;) {
            const auto [failure, count] = co_await guest.async_read_some(
                asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
            if (failure) co_return;
            const std::string heard(buffer.data(), count);
            (void)write_all(guest.native_handle(), "[" + heard + "]", "console");
            if (heard.find("quit") != std::string::npos) {
                guest.close();
                co_return;
            }
        }
    }

    std::filesystem::path home_;
    std::list<asio::posix::stream_descriptor> guests_;

  public:
    asio::io_context context_{1};
};

int serve(const std::filesystem::path& home, int ready_fd) {
    const auto runtime = home / "run";
    std::filesystem::create_directories(runtime);
    const auto lock = open_file(runtime / "daemon.lock", O_RDWR | O_CREAT);
    if (!lock || ::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
        report_failure(ready_fd, Error(ErrorCode::daemon_running, "another one serves"));
        return exit_code_of(ErrorCode::daemon_running);
    }
    if (std::filesystem::exists(home / "refuse")) {
        std::cerr << "a line in the log\n";
        report_failure(ready_fd, Error(ErrorCode::no_space, "no space for anything"));
        return exit_code_of(ErrorCode::no_space);
    }
    if (std::filesystem::exists(home / "die")) {
        std::cerr << "last words\n";
        return 1;
    }
    const auto socket = runtime / "control.sock";
    std::filesystem::remove(socket);
    auto listener = listen_unix(socket, 0600);
    if (!listener) {
        report_failure(ready_fd, listener.error());
        return exit_code_of(listener.error().code);
    }
    FakeSupervisor fake(home);
    ServerOptions options;
    options.version = "fake";
    options.home = home.string();
    Server server(fake.context_.get_executor(), options);
    for (const auto name : methods) {
        server.register_method(name, [&fake, name](CallContext& call, Json params) {
            return fake.answer(std::string(name), call, std::move(params));
        });
    }
    server.register_method(method::daemon_stop,
                           [&](CallContext&, Json) -> asio::awaitable<Result<Reply>> {
                               server.stop();
                               co_return Reply();
                           });
    asio::signal_set signals(fake.context_, SIGTERM, SIGINT);
    signals.async_wait([&](const boost::system::error_code& failure, int) {
        if (!failure) server.stop();
    });
    asio::co_spawn(fake.context_, server.serve(std::move(*listener)),
                   [&](const std::exception_ptr&) { fake.context_.stop(); });
    report_ready(ready_fd);
    fake.context_.run();
    std::filesystem::remove(socket);
    return 0;
}

}  // namespace
}  // namespace noxsup::control

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    int ready_fd = -1;
    for (std::size_t i = 1; i + 1 < words.size(); ++i) {
        if (words[i] == "--ready-fd") ready_fd = std::atoi(words[i + 1].c_str());
    }
    return noxsup::control::serve(words.at(0), ready_fd);
}
