// A control server with canned methods on an io_context, for the tests of both ends.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <filesystem>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/control/client.hpp"
#include "supervisor/control/server.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::control {

/// How many descriptors this process has open.
inline std::size_t open_fds() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
        ++count;
    return count;
}

class RunningServer : public ::testing::Test {
  protected:
    RunningServer() { start({}); }

    ~RunningServer() override {
        if (server_) stop();
    }

    void start(ServerOptions options) {
        options.version = "1.2.3";
        options.home = "/a/home";
        server_ = std::make_unique<Server>(context_.get_executor(), std::move(options));
        add_methods();
        std::filesystem::remove(socket_);
        auto listener = listen_unix(socket_, 0600);
        ASSERT_TRUE(listener) << listener.error().message;
        group_.spawn("serve", server_->serve(std::move(*listener)));
    }

    void restart(ServerOptions options) {
        stop();
        start(std::move(options));
    }

    void stop() {
        server_->stop();
        EXPECT_TRUE(run_until([this] { return group_.size() == 0; }));
        server_.reset();
    }

    template <class T>
    T run(boost::asio::awaitable<T> operation) {
        return test::run_async(context_, std::move(operation));
    }

    /// Runs the context until the condition holds; false after ten seconds.
    template <class Condition>
    bool run_until(Condition holds) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        context_.restart();
        // The condition may take something in, so its first true counts.
        while (std::chrono::steady_clock::now() < end) {
            if (holds()) return true;
            context_.run_one_for(std::chrono::milliseconds(5));
            if (context_.stopped()) context_.restart();
        }
        return false;
    }

    std::unique_ptr<Client> connected() {
        auto client = run(Client::connect(socket_));
        if (!client) throw std::runtime_error(client.error().message);
        return std::move(*client);
    }

    void add_methods() {
        server_->register_method("echo", [](CallContext&, Json params) { return echo(params); });
        server_->register_method("stages",
                                 [](CallContext& call, Json) { return report_stages(call); });
        server_->register_method("sleep",
                                 [this](CallContext& call, Json) { return sleep_long(call); });
        server_->register_method("flood", [this](CallContext& call, Json) { return flood(call); });
        server_->register_method("read-file",
                                 [](CallContext& call, Json) { return read_passed(call); });
        server_->register_method("open-file",
                                 [](CallContext&, Json params) { return open_passed(params); });
        server_->register_method("throw", [](CallContext&, Json) { return throw_something(); });
        server_->register_method("fail", [](CallContext&, Json) { return fail(); });
        server_->register_method("huge", [](CallContext&, Json) { return huge(); });
    }

    static boost::asio::awaitable<Result<Reply>> echo(Json params) { co_return Reply(params); }

    static boost::asio::awaitable<Result<Reply>> report_stages(CallContext& call) {
        call.progress("disk", 1, 2, "bytes");
        co_await sleep_for(std::chrono::milliseconds(20));
        call.note("a note");
        call.stage_ended("disk", 0.25);
        co_return Reply();
    }

    boost::asio::awaitable<Result<Reply>> sleep_long(CallContext& call) {
        ++sleeping_;
        const bool slept = co_await sleep_for(std::chrono::hours(1));
        --sleeping_;
        cancelled_seen_ = call.cancelled();
        if (slept) co_return Reply();
        co_return Error{ErrorCode::timeout, "woken early"};
    }

    boost::asio::awaitable<Result<Reply>> flood(CallContext& call) {
        ++sleeping_;
        const std::string text(1000, 'x');
        while (!call.cancelled()) {
            for (int i = 0; i < 1000; ++i) {
                call.note(text);
                call.progress("stage", ++flooded_, 0, "");
            }
            co_await sleep_for(std::chrono::milliseconds(1));
            co_await boost::asio::this_coro::throw_if_cancelled(false);
        }
        --sleeping_;
        co_return Reply();
    }

    static boost::asio::awaitable<Result<Reply>> read_passed(CallContext& call) {
        NOXSUP_CO_TRY_VALUE(const auto fd, call.take_fd(0));
        EXPECT_FALSE(call.take_fd(0)) << "a descriptor is taken once";
        EXPECT_FALSE(call.take_fd(1));
        EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
        NOXSUP_CO_TRY_VALUE(auto text, read_all(fd.get(), 4096, "the passed file"));
        Json result = {{"text", text}};
        co_return Reply(std::move(result));
    }

    static boost::asio::awaitable<Result<Reply>> open_passed(Json params) {
        const auto count = params.value("count", 1);
        std::vector<UniqueFd> fds;
        for (int i = 0; i < count; ++i) fds.emplace_back(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
        co_return Reply(Json::object(), std::move(fds));
    }

    static boost::asio::awaitable<Result<Reply>> throw_something() {
        throw std::runtime_error("a bug");
        co_return Reply();
    }

    static boost::asio::awaitable<Result<Reply>> fail() {
        Error error(ErrorCode::qemu_failed, "start testvm", "noxsup logs testvm");
        error.stage = "launch";
        error.evidence = {"qemu-system: no such machine"};
        co_return error;
    }

    static boost::asio::awaitable<Result<Reply>> huge() {
        Json result = {{"text", std::string(max_result, 'x')}};
        co_return Reply(std::move(result));
    }

    static constexpr std::size_t max_result = std::size_t{2} << 20;

    test::TempDir directory_;
    std::filesystem::path socket_ = directory_ / "control.sock";
    boost::asio::io_context context_;
    TaskGroup group_{context_.get_executor()};
    std::unique_ptr<Server> server_;
    int sleeping_ = 0;
    bool cancelled_seen_ = false;
    std::uint64_t flooded_ = 0;
};

}  // namespace noxsup::control
