#include "supervisor/cli/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "supervisor/base/async.hpp"
#include "supervisor/cli/home_choice.hpp"
#include "supervisor/cli/terminal.hpp"
#include "supervisor/control/daemon_launcher.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

namespace asio = boost::asio;

/// Calls at work at a time; the supervisor takes more, but a Pi starts no more VMs at once in
/// sense.
constexpr std::size_t parallel_calls = 8;

/// exit_code_of(ErrorCode::interrupted), for a signal handler.
constexpr int interrupted_exit = 130;

/// This program, for starting the supervisor; also after it was replaced on disk.
std::string own_program() {
    std::error_code failure;
    auto path = std::filesystem::read_symlink("/proc/self/exe", failure).string();
    constexpr std::string_view deleted = " (deleted)";
    if (path.ends_with(deleted)) path.resize(path.size() - deleted.size());
    return path;
}

control::LaunchOptions launch_options(const state::Home& home) {
    control::LaunchOptions launch;
    launch.socket = home.control_socket();
    launch.log = home.daemon_log();
    // The system's supervisor is systemd's to start.
    if (home.scope() == state::Scope::user) {
        launch.daemon = {own_program(), "--home", home.root().string(), "daemon"};
    }
    return launch;
}

extern "C" void leave(int /*signal*/) {
    ::_exit(interrupted_exit);
}

}  // namespace

struct Session::Batch {
    std::string method;
    std::vector<std::string> names;
    Json params;
    std::string key;  ///< of the name among the parameters
    std::size_t next = 0;
    std::vector<std::optional<Result<control::ClientReply>>> replies;
};

Session::Session(GlobalOptions options)
    : options_(std::move(options)), display_(progress_style(options_)) {}

Result<state::Home> Session::home() const {
    return choose_home(options_);
}

Result<control::ClientReply> Session::call(std::string_view method, Json params,
                                           std::vector<int> fds) {
    auto outcome = run(call_one(std::string(method), std::move(params), std::move(fds), ""));
    display_.clear_line();
    return outcome;
}

Result<std::vector<NamedReply>> Session::call_each(std::string_view method,
                                                   const std::vector<std::string>& names,
                                                   Json params, std::string_view key) {
    auto outcome = run(call_batch(std::string(method), names, std::move(params), std::string(key)));
    display_.clear_line();
    return outcome;
}

Result<control::ClientReply> Session::subscribe(std::string_view method, Json params,
                                                std::function<bool(const Json&)> on_event) {
    leave_at_once_ = true;
    for (const int number : {SIGINT, SIGTERM}) ::signal(number, leave);
    return run(call_for_events(std::string(method), std::move(params), std::move(on_event)));
}

Result<std::vector<std::string>> Session::names_of(const Names& vms,
                                                   const std::vector<std::string_view>& states) {
    std::vector<std::string> names;
    const auto add = [&names](const std::string& name) {
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    };
    if (!vms.all) {
        for (const auto& name : vms.names) add(name);
        return names;
    }
    NOXSUP_TRY_VALUE(const auto reply, call(control::method::vm_list));
    NOXSUP_TRY_VALUE(const auto list, json_member<Json>(reply.result, "vms"));
    for (const auto& vm : list) {
        NOXSUP_TRY_VALUE(const auto name, json_member<std::string>(vm, "name"));
        NOXSUP_TRY_VALUE(const auto state, json_member<std::string>(vm, "state"));
        if (state == "damaged" || state == "foreign") continue;
        if (states.empty() || std::ranges::find(states, state) != states.end()) add(name);
    }
    return names;
}

int Session::print(const Document& document) const {
    write_text(STDOUT_FILENO, render(document, options_));
    return 0;
}

void Session::note(std::string_view text) {
    display_.note("", text);
}

asio::awaitable<Result<control::Client*>> Session::connected() {
    if (!client_) {
        NOXSUP_CO_TRY_VALUE(const auto chosen, home());
        auto options = launch_options(chosen);
        if (!may_start_) options.daemon.clear();
        if (!options.daemon.empty()) {
            options.daemon.insert(options.daemon.end(), daemon_words_.begin(), daemon_words_.end());
        }
        NOXSUP_CO_TRY_VALUE(client_, co_await control::connect_or_start(std::move(options)));
    }
    co_return client_.get();
}

asio::awaitable<Result<control::ClientReply>> Session::call_one(std::string method, Json params,
                                                                std::vector<int> fds,
                                                                std::string title) {
    NOXSUP_CO_TRY_VALUE(auto* client, co_await connected());
    control::CallListener listener;
    listener.on_progress = [this, title](const control::Progress& progress) {
        display_.progress(title, progress);
    };
    listener.on_note = [this, title](std::string_view text) { display_.note(title, text); };
    ++running_calls_;
    auto reply = co_await client->call(std::move(method), std::move(params), std::move(fds),
                                       std::move(listener));
    --running_calls_;
    co_return reply;
}

asio::awaitable<Result<control::ClientReply>> Session::call_for_events(
    std::string method, Json params, std::function<bool(const Json&)> on_event) {
    NOXSUP_CO_TRY_VALUE(auto* client, co_await connected());
    control::CallListener listener;
    listener.on_event = [client, &on_event](const Json& event) {
        const bool wants_more = on_event(event);
        if (!wants_more) client->close();
    };
    std::vector<int> none;
    auto reply = co_await client->call(std::move(method), std::move(params), std::move(none),
                                       std::move(listener));
    co_return reply;
}

asio::awaitable<void> Session::work_off(Batch& batch) {
    while (batch.next < batch.names.size()) {
        const auto index = batch.next++;
        auto& slot = batch.replies[index];
        if (signals_seen_ > 0) {
            slot.emplace(Error(ErrorCode::interrupted, "interrupted before it began"));
            continue;
        }
        auto params = batch.params;
        params[batch.key] = batch.names[index];
        auto title = batch.names.size() > 1 ? batch.names[index] : std::string();
        std::vector<int> none;
        auto reply =
            co_await call_one(batch.method, std::move(params), std::move(none), std::move(title));
        slot.emplace(std::move(reply));
    }
}

asio::awaitable<Result<std::vector<NamedReply>>> Session::call_batch(std::string method,
                                                                     std::vector<std::string> names,
                                                                     Json params, std::string key) {
    NOXSUP_CO_TRY_VALUE([[maybe_unused]] const auto* client, co_await connected());
    Batch batch;
    batch.method = std::move(method);
    batch.names = std::move(names);
    batch.params = std::move(params);
    batch.key = std::move(key);
    batch.replies.resize(batch.names.size());
    TaskGroup workers(context_.get_executor());
    for (std::size_t i = 0; i < std::min(parallel_calls, batch.names.size()); ++i) {
        workers.spawn("calls", work_off(batch));
    }
    // The batch is on this frame: it stays until its workers are gone, whatever happens. Ctrl-C
    // ends their calls by way of the client.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await workers.join();
    std::vector<NamedReply> replies;
    for (std::size_t i = 0; i < batch.names.size(); ++i) {
        replies.push_back({std::move(batch.names[i]), std::move(*batch.replies[i])});
    }
    co_return replies;
}

void Session::run_until(const std::function<bool()>& done) {
    if (leave_at_once_) {
        context_.restart();
        while (!done()) context_.run_one();
        context_.poll();
        return;
    }
    asio::signal_set signals(context_, SIGINT, SIGTERM);
    std::function<void(const boost::system::error_code&, int)> heard =
        [&](const boost::system::error_code& failure, int /*signal*/) {
            if (failure) return;
            on_signal();
            signals.async_wait(heard);
        };
    signals.async_wait(heard);
    context_.restart();
    while (!done()) context_.run_one();
    signals.cancel();
    context_.poll();
}

void Session::on_signal() {
    ++signals_seen_;
    if (signals_seen_ == 1 && client_ && running_calls_ > 0) {
        display_.clear_line();
        display_.note("", "interrupting; once more to leave at once");
        client_->cancel_calls();
        return;
    }
    if (client_) client_->close();
    cancellation_.emit(asio::cancellation_type::terminal);
}

Error Session::error_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const boost::system::system_error& e) {
        if (e.code() == asio::error::operation_aborted) {
            return {ErrorCode::interrupted, "interrupted"};
        }
        return {ErrorCode::failed, std::string("internal error: ") + e.what()};
    } catch (const std::exception& e) {
        return {ErrorCode::failed, std::string("internal error: ") + e.what()};
    }
}

}  // namespace noxsup::cli
