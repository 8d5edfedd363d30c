// One command at work: its home, its connection to the supervisor, calls that Ctrl-C cancels.
#pragma once

#include <boost/asio.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/cli/options.hpp"
#include "supervisor/cli/output.hpp"
#include "supervisor/cli/progress_display.hpp"
#include "supervisor/control/client.hpp"
#include "supervisor/state/home.hpp"

namespace noxsup::cli {

/// What one of several calls ended with.
struct NamedReply {
    std::string name;
    Result<control::ClientReply> reply;
};

/// Blocking on the outside, coroutines inside. The first Ctrl-C (or SIGTERM) asks the supervisor to
/// cancel and waits for its answer, the second leaves at once.
class Session {
  public:
    explicit Session(GlobalOptions options);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    [[nodiscard]] const GlobalOptions& options() const { return options_; }
    /// Errors: as choose_home.
    Result<state::Home> home() const;

    /// From now on a supervisor that does not run is an error, not started.
    void never_start() { may_start_ = false; }

    /// From now on only the system's supervisor is meant.
    void use_system_scope() { options_.system_scope = true; }
    /// A supervisor that has to be started gets these words too.
    void start_with(std::vector<std::string> words) { daemon_words_ = std::move(words); }

    /// One call; the supervisor is started where none runs. The descriptors are borrowed.
    Result<control::ClientReply> call(std::string_view method, Json params = Json::object(),
                                      std::vector<int> fds = {});

    /// The same method for each name, some at a time; `params` are those beside the name, which is
    /// the parameter `key`. Replies come in the order of the names. Errors: the supervisor cannot
    /// be reached.
    Result<std::vector<NamedReply>> call_each(std::string_view method,
                                              const std::vector<std::string>& names, Json params,
                                              std::string_view key = "name");

    /// One call that brings events for as long as it lasts; nothing more of them is read while
    /// `on_event` works, which returns false to end the call. From now on Ctrl-C and SIGTERM end
    /// the program at once with 130, also while its output is stuck: there is nothing to undo.
    Result<control::ClientReply> subscribe(std::string_view method, Json params,
                                           std::function<bool(const Json&)> on_event);
    /// Lets go of the connection; the next call makes another.
    void disconnect() { client_.reset(); }

    /// The names meant: those given, each once, or with --all every VM in one of `states` (any when
    /// it is empty; damaged and foreign ones never).
    Result<std::vector<std::string>> names_of(const Names& vms,
                                              const std::vector<std::string_view>& states = {});

    /// Runs any coroutine to its end under the same rules for Ctrl-C.
    template <class T>
    Result<T> run(boost::asio::awaitable<Result<T>> operation) {
        std::optional<Result<T>> outcome;
        auto finish = [&outcome](const std::exception_ptr& failure, Result<T> result) {
            if (!failure) {
                outcome.emplace(std::move(result));
                return;
            }
            outcome.emplace(error_of(failure));
        };
        boost::asio::co_spawn(
            context_, std::move(operation),
            boost::asio::bind_cancellation_slot(cancellation_.slot(), std::move(finish)));
        run_until([&outcome] { return outcome.has_value(); });
        return std::move(*outcome);
    }

    /// Writes a result to standard output. Returns 0, for verbs to end with.
    int print(const Document& document) const;
    /// A line for people on standard error; nothing with --quiet or JSON.
    void note(std::string_view text);

    boost::asio::io_context& context() { return context_; }
    ProgressDisplay& display() { return display_; }

  private:
    boost::asio::awaitable<Result<control::Client*>> connected();
    boost::asio::awaitable<Result<control::ClientReply>> call_one(std::string method, Json params,
                                                                  std::vector<int> fds,
                                                                  std::string title);
    boost::asio::awaitable<Result<control::ClientReply>> call_for_events(
        std::string method, Json params, std::function<bool(const Json&)> on_event);
    struct Batch;
    boost::asio::awaitable<Result<std::vector<NamedReply>>> call_batch(
        std::string method, std::vector<std::string> names, Json params, std::string key);
    boost::asio::awaitable<void> work_off(Batch& batch);
    void run_until(const std::function<bool()>& done);
    void on_signal();
    static Error error_of(const std::exception_ptr& failure);

    GlobalOptions options_;
    boost::asio::io_context context_{1};
    boost::asio::cancellation_signal cancellation_;
    ProgressDisplay display_;
    std::unique_ptr<control::Client> client_;
    bool may_start_ = true;
    std::vector<std::string> daemon_words_;
    bool leave_at_once_ = false;  ///< at a signal
    int running_calls_ = 0;
    int signals_seen_ = 0;
};

}  // namespace noxsup::cli
