// A home with VMs, a registry and a keeper over it, and a QEMU that the test chooses.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/daemon/keeper.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/vm_home.hpp"

namespace noxsup::test {

/// Short waits; starts may take as long as they do on a busy machine.
inline constexpr lifecycle::BackoffLimits quick_limits{
    std::chrono::milliseconds(10), std::chrono::milliseconds(600), std::chrono::minutes(5), 5};

class KeeperTest : public VmHome {
  protected:
    using Change = std::function<void(state::VmRecord&)>;

    KeeperTest() {
        environment_.boot_id = "this-boot";
        environment_.find_qemu = [this](spec::Arch arch) { return find_qemu(arch); };
    }
    ~KeeperTest() override { end_supervisor(); }

    /// Puts a VM into the home. @param number makes its uuid, id and MAC its own
    void make_vm(const std::string& name, int number, const Change& change) {
        state::VmRecord record;
        record.spec = sample_spec();
        record.spec.name = name;
        const auto digits = std::to_string(10 + number);
        record.spec.uuid.replace(0, 2, digits);
        record.spec.id.replace(0, 2, digits);
        record.spec.networks[0].mac.replace(9, 2, digits);
        record.reason = lifecycle::Reason::user;
        if (change) change(record);
        const auto begun = store_.begin_create(record.spec.id);
        ASSERT_TRUE(begun);
        ASSERT_TRUE(store_.finish_create(*begun, record));
    }

    /// A supervisor begins: VMs are read, found, and what is to start is started.
    void begin_supervisor(bool autostart = true) {
        registry_ = std::make_unique<daemon::Registry>(environment_);
        keeper_ = std::make_unique<daemon::Keeper>(environment_, *registry_, limits_);
        environment_.on_end = [this](vm::Vm& vm, const lifecycle::End& end) {
            return keeper_->on_end(vm, end);
        };
        ASSERT_TRUE(registry_->load());
        boost::asio::co_spawn(context_, take_over(autostart), boost::asio::detached);
    }

    /// And ends: nothing of it goes on, QEMUs do.
    void end_supervisor() {
        if (!registry_) return;
        bool done = false;
        boost::asio::co_spawn(context_, let_go(done), boost::asio::detached);
        EXPECT_TRUE(runs_until([&done] { return done; }));
        environment_.on_end = {};
        keeper_.reset();
        registry_.reset();
    }

    /// Works until the condition holds; false when it does not within `limit`.
    bool runs_until(const std::function<bool()>& condition,
                    std::chrono::milliseconds limit = std::chrono::seconds(30)) {
        return test::comes_true(context_, condition, limit);
    }
    void run_for(std::chrono::milliseconds time) {
        runs_until([] { return false; }, time);
    }

    std::shared_ptr<vm::Vm> vm(const std::string& name) { return *registry_->find(name); }
    std::string state(const std::string& name) {
        const auto json = vm(name)->to_json();
        const auto reason = json["reason"].is_null() ? "" : json["reason"].get<std::string>();
        return json["state"].get<std::string>() + "/" + reason;
    }
    /// As the next supervisor would read it.
    state::VmRecord stored(const std::string& name) { return *store_.load(name)->record; }
    bool autostart_done() { return std::filesystem::exists(home_.boot_marker()); }

    /// What launch is told of QEMU; by default that there is none.
    std::function<Result<launch::QemuBinary>(spec::Arch)> qemu_ = [](spec::Arch) {
        return Error(ErrorCode::host_lacks_qemu, "no QEMU in this test");
    };
    lifecycle::BackoffLimits limits_ = quick_limits;
    std::vector<spec::Arch> asked_;  ///< one for each start that was tried

    std::unique_ptr<daemon::Registry> registry_;
    std::unique_ptr<daemon::Keeper> keeper_;

  private:
    boost::asio::awaitable<Result<launch::QemuBinary>> find_qemu(spec::Arch arch) {
        asked_.push_back(arch);
        co_return qemu_(arch);
    }
    boost::asio::awaitable<void> take_over(bool autostart) {
        co_await registry_->adopt_all();
        co_await keeper_->begin(autostart);
    }
    boost::asio::awaitable<void> let_go(bool& done) {
        keeper_->cancel();
        co_await keeper_->join();
        for (const auto& vm : registry_->all()) {
            vm->release();
            co_await vm->join();
        }
        done = true;
    }
};

}  // namespace noxsup::test
