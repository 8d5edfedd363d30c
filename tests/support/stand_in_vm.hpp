// A VM that runs as far as the supervisor can tell: a sleeping process holds its life lock, and a
// scripted peer speaks QMP for it.
#pragma once

#include <signal.h>
#include <sys/socket.h>

#include <boost/asio.hpp>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "supervisor/base/unix_socket.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "supervisor/vm/vm.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/scripted_qmp_peer.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// A home with one recorded VM, "testvm". Its QEMU answers the questions of an adoption, then the
/// script goes on. The kernel's network is a fake, unless the test brings another; so it does with
/// what the record says beside the spec.
class StandInVm {
  public:
    StandInVm(boost::asio::io_context& context, ScriptedQmpPeer::Script script,
              spec::VmSpec spec = sample_spec(), netbridge::KernelNetwork* kernel = nullptr,
              const std::function<void(state::VmRecord&)>& change = {})
        : context_(context),
          peer([script = std::move(script)](ScriptedQmpPeer& p) {
              answer_adoption(p);
              script(p);
          }),
          environment{context.get_executor(),
                      home,
                      store_,
                      runner_,
                      kernel != nullptr ? *kernel : kernel_,
                      {},
                      "boot",
                      pool_} {
        check(home.prepare());
        state::VmRecord record;
        record.spec = std::move(spec);
        record.state = lifecycle::State::running;
        if (change) change(record);
        auto begun = store_.begin_create(record.spec.id);
        check(begun);
        check(store_.finish_create(*begun, record));
        const auto files = vm::Vm(environment, record).files();
        auto lock = launch::take_life_lock(files.lock);
        check(lock);
        SpawnSpec sleeper;
        // A QEMU is known by its UUID among its arguments; this one waits for what is not there.
        sleeper.argv = {"/usr/bin/tail", "--follow",      "--silent", "--",
                        "/dev/null",     record.spec.uuid};
        // A copy of a template has begun without one.
        const bool has_kernel =
            spec::boots_directly(record.spec.boot) && record.spec.warm_template.empty();
        if (has_kernel) sleeper.argv.emplace_back("-kernel");
        sleeper.inherit = {lock->get()};
        auto child = spawn(context.get_executor(), sleeper);
        check(child);
        process_ = std::move(*child);
        auto identity = launch::identify(process_.pid);
        check(identity);
        record.qemu = *identity;
        std::filesystem::create_directories(files.runtime_dir);
        std::filesystem::create_symlink(peer.path(), files.qmp_socket());
        auto listening = listen_unix(files.console_socket(), 0600);
        check(listening);
        console_ = std::move(*listening);
        testvm = std::make_shared<vm::Vm>(environment, std::move(record));
        testvm->expect_adoption();
    }
    StandInVm(const StandInVm&) = delete;
    StandInVm& operator=(const StandInVm&) = delete;
    ~StandInVm() {
        kill();
        testvm->release();
        bool joined = false;
        boost::asio::co_spawn(context_, testvm->join(),
                              [&joined](const std::exception_ptr&) { joined = true; });
        context_.restart();
        while (!joined) context_.run_one();
        boost::asio::co_spawn(context_, wait_for_exit(process_.pidfd.get()), boost::asio::detached);
        context_.restart();
        context_.run_for(std::chrono::seconds(10));
        // The VM has reaped it where it watched.
        static_cast<void>(reap(process_.pidfd.get()));
    }

    /// QEMU's end of the console; once, after the adoption.
    UniqueFd accept_console() {
        return UniqueFd(::accept4(console_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }

    /// As the next supervisor would read it.
    [[nodiscard]] state::VmRecord stored() const {
        const auto loaded = store_.load("testvm");
        check(loaded);
        return loaded->record.value();
    }

    /// Ends "QEMU".
    void kill() { static_cast<void>(send_signal(process_.pidfd.get(), SIGKILL)); }

  private:
    template <class T>
    static void check(const Result<T>& outcome) {
        if (!outcome) throw std::runtime_error(outcome.error().message);
    }

    static void answer_adoption(ScriptedQmpPeer& p) {
        p.negotiate();
        p.answer(p.expect("query-status"), {{"status", "running"}, {"running", true}});
        p.answer(p.expect("query-version"),
                 {{"qemu", {{"major", 7}, {"minor", 2}, {"micro", 22}}}, {"package", ""}});
        p.answer(p.expect("query-block"), Json::array());
        p.answer(p.expect("query-migrate"));
    }

    boost::asio::io_context& context_;
    TempDir directory_{TempDir::In::memory};
    ProcessRunner runner_;
    FakeKernelNetwork kernel_;
    boost::asio::thread_pool pool_{1};
    Child process_;
    UniqueFd console_;

  public:
    state::Home home{directory_ / "home", state::Scope::user};

  private:
    state::VmStore store_{home};

  public:
    ScriptedQmpPeer peer;
    vm::Environment environment;
    std::shared_ptr<vm::Vm> testvm;
};

}  // namespace noxsup::test
