// Promise P8b: the power goes between any two calls of a sequence of state changes; what the store
// reads from what may be left on the disk is the last completed state, or the one under way.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <iostream>

#include "supervisor/state/vm_store.hpp"
#include "tests/support/file_calls.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/power_cut_disk.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::state {
namespace {

namespace fs = std::filesystem;

using MaybeRecord = std::optional<VmRecord>;

/// What may be read of each VM after a cut at this moment.
class Ledger {
  public:
    void begin(const std::string& name, MaybeRecord to) {
        last_.try_emplace(name);
        next_[name] = std::move(to);
    }
    /// Of the two names exactly one is there.
    void begin_rename(const std::string& from, const std::string& to, MaybeRecord record) {
        begin(from, std::nullopt);
        begin(to, std::move(record));
        renamed_ = {from, to};
    }
    void complete_rename() {
        complete(renamed_.first);
        complete(renamed_.second);
        renamed_ = {};
    }
    void complete(const std::string& name) {
        last_[name] = std::move(next_.at(name));
        next_.erase(name);
    }
    /// Empty when it may be so, otherwise what is wrong.
    [[nodiscard]] std::string objection(const std::vector<StoredVm>& found) const {
        std::map<std::string, const StoredVm*> by_name;
        for (const auto& vm : found) {
            if (!last_.contains(vm.name)) return "who is " + vm.name;
            if (vm.kind != RecordKind::ours || !vm.problem.empty())
                return vm.name + " cannot be read: " + vm.problem;
            by_name[vm.name] = &vm;
        }
        if (!renamed_.first.empty() &&
            by_name.contains(renamed_.first) == by_name.contains(renamed_.second))
            return renamed_.first + " and " + renamed_.second + " are both there, or both gone";
        for (const auto& [name, record] : last_) {
            const auto read = by_name.contains(name) ? by_name.at(name)->record : std::nullopt;
            const auto next = next_.find(name);
            if (read == record || (next != next_.end() && read == next->second)) continue;
            return name + (read ? " is as it was at " + read->started_at : " is gone") +
                   ", older than its last completed change";
        }
        return "";
    }

  private:
    std::map<std::string, MaybeRecord> last_, next_;
    std::pair<std::string, std::string> renamed_;
};

class PowerCutTest : public testing::Test {
  protected:
    /// Cuts the power `cuts` times after each call of what follows.
    void watch(std::size_t cuts) {
        cuts_ = cuts;
        // The home's own directories are there since long before.
        EXPECT_TRUE(home_.prepare());
        calls_.emplace(home_.vms(), test::FileCalls::Judge(), [this](const test::FileCall& call) {
            disk_.follow(call);
            if (!changes_disk(call)) return;
            for (std::size_t i = 0; i < cuts_ && !HasFailure(); ++i) cut(call);
        });
    }
    static bool changes_disk(const test::FileCall& call) {
        using Kind = test::FileCall::Kind;
        return call.kind == Kind::open ? (call.flags & O_CREAT) != 0
                                       : call.kind != Kind::read && call.kind != Kind::close &&
                                             call.kind != Kind::change_mode;
    }
    void cut(const test::FileCall& call) {
        const Home home(dir_ / "after", Scope::user);
        ASSERT_TRUE(remove_tree(home.root()));
        fs::create_directory(home.root());
        disk_.make_image(random_, home.vms());
        ++images_;
        const VmStore store(home);
        const auto found = store.load_all();
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(ledger_.objection(*found), "") << "power cut after " << call.describe();
        ASSERT_TRUE(store.sweep());
        const auto swept = store.load_all();
        ASSERT_TRUE(swept);
        ASSERT_EQ(ledger_.objection(*swept), "") << "swept after " << call.describe();
        for (const auto& entry : fs::recursive_directory_iterator(home.vms())) {
            ASSERT_FALSE(entry.path().filename().string().ends_with(".tmp")) << entry.path();
            ASSERT_NE(entry.path().filename().string().front(), '.') << entry.path();
        }
    }

    VmRecord record(const std::string& name) {
        VmRecord record;
        record.spec = test::sample_spec();
        record.spec.name = name;
        record.started_at = "change " + std::to_string(++changes_);
        return record;
    }
    void create(const std::string& name) {
        const auto made = record(name);
        ledger_.begin(name, made);
        const auto begun = store_.begin_create("0000" + name);
        ASSERT_TRUE(begun);
        ASSERT_TRUE(store_.finish_create(*begun, made));
        ledger_.complete(name);
    }
    void save(const std::string& name) {
        const auto changed = record(name);
        ledger_.begin(name, changed);
        ASSERT_TRUE(store_.save(changed));
        ledger_.complete(name);
    }
    void rename(const std::string& from, const std::string& to) {
        const auto renamed = record(to);
        ledger_.begin_rename(from, to, renamed);
        ASSERT_TRUE(store_.rename(from, renamed));
        ledger_.complete_rename();
    }
    void remove(const std::string& name) {
        ledger_.begin(name, std::nullopt);
        ASSERT_TRUE(store_.remove(name));
        ledger_.complete(name);
    }
    void change_states() {
        create("a");
        save("a");
        create("b");
        for (int i = 0; i < 3; ++i) {
            save("b");
            save("a");
        }
        remove("b");
        ASSERT_TRUE(store_.sweep());
        rename("a", "c");
        save("c");
        rename("c", "a");
        create("b");
        save("b");
        remove("a");
    }

    test::TempDir dir_;
    Home home_{dir_ / "home", Scope::user};
    VmStore store_{home_};
    test::PowerCutDisk disk_{home_.vms()};
    Ledger ledger_;
    std::optional<test::FileCalls> calls_;
    std::size_t cuts_ = 0;
    std::size_t images_ = 0;
    int changes_ = 0;
    std::mt19937_64 random_{20261126};
};

TEST_F(PowerCutTest, WhatIsReadIsTheLastCompletedStateOrTheOneUnderWay) {
    const std::size_t wanted = test::is_long_run() ? 10'000 : 1'000;
    watch(test::is_long_run() ? 120 : 12);
    change_states();
    EXPECT_GE(images_, wanted);
    std::cout << images_ << " crash images\n";
}

TEST_F(PowerCutTest, TheModelFindsASaveWithoutItsSync) {
    // What a store would do that forgets fsync: the model must be able to fail.
    watch(0);
    create("a");
    const auto text = to_text(record("a"));
    const auto directory = home_.vm("a");
    const int fd = ::open((directory / "x").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
    ASSERT_EQ(::rename((directory / "x").c_str(), (directory / "meta.json").c_str()), 0);
    calls_.reset();
    bool damaged = false;
    for (int i = 0; i < 200 && !damaged; ++i) {
        const Home home(dir_ / "after", Scope::user);
        ASSERT_TRUE(remove_tree(home.root()));
        fs::create_directory(home.root());
        disk_.make_image(random_, home.vms());
        const auto found = VmStore(home).load_all();
        for (const auto& vm : *found) damaged |= vm.kind != RecordKind::ours;
    }
    EXPECT_TRUE(damaged);
}

}  // namespace
}  // namespace noxsup::state
