// Snapshots of a VM that is off, with the real qemu-img; and each of them cut off at each step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "supervisor/launch/ram_state.hpp"
#include "supervisor/vm/vm.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/file_calls.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::vm {
namespace {

namespace fs = std::filesystem;
using lifecycle::State;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A supervisor that is gone from its nth step on: nothing it does reaches the disk any more. Steps
/// are its calls on files, and the beginning and the end of each program it runs.
class Death {
  public:
    explicit Death(int after) : left_(after) {}
    /// True while it lives, this step included.
    bool step() { return left_ > 0 ? --left_, true : false; }
    [[nodiscard]] bool came() const { return left_ == 0; }

  private:
    int left_;
};

class MortalRunner final : public CommandRunner {
  public:
    boost::asio::awaitable<Result<CommandOutput>> run(Command command) override {
        if (death != nullptr && !death->step()) co_return gone();
        auto running = runner_.run(std::move(command));
        auto output = co_await std::move(running);
        if (death != nullptr && !death->step()) co_return gone();
        co_return output;
    }
    Death* death = nullptr;

  private:
    static Error gone() { return {ErrorCode::io_error, "the supervisor is gone"}; }
    ProcessRunner runner_;
};

/// What a user can tell of a VM: all of it old, or all of it new.
struct Seen {
    std::string disk;  ///< "old" or "new": by a pattern in it
    std::string vars;
    unsigned cpus = 0;
    State state = State::stopped;
    std::string ram;  ///< content of ram-state, or "none"
    std::vector<std::string> snapshots;
    bool operator==(const Seen&) const = default;
};

void PrintTo(const Seen& seen, std::ostream* out) {
    *out << "disk " << seen.disk << ", variables " << seen.vars << ", " << seen.cpus << " CPUs, "
         << lifecycle::to_string(seen.state) << ", RAM " << seen.ram << ", snapshots "
         << testing::PrintToString(seen.snapshots);
}

/// A home with "testvm", which is off; its disk has a base.
class OffVm {
  public:
    OffVm() {
        EXPECT_TRUE(home.prepare());
        state::VmRecord record;
        record.spec = test::sample_spec();
        record.reason = lifecycle::Reason::user;
        const auto begun = store_.begin_create(record.spec.id);
        EXPECT_TRUE(begun);
        const auto base = home.images() / record.spec.disk.base_file;
        shell({"qemu-img", "create", "-q", "-f", "qcow2", base.string(), "64M"});
        shell({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
               "../../images/" + record.spec.disk.base_file, (*begun / "disk.qcow2").string(),
               "64M"});
        EXPECT_TRUE(store_.finish_create(*begun, record));
        environment_.find_qemu =
            [](spec::Arch arch) -> boost::asio::awaitable<Result<launch::QemuBinary>> {
            co_return test::sample_qemu(arch);
        };
        become("old");
        begin();
    }
    ~OffVm() { end(); }
    OffVm(const OffVm&) = delete;
    OffVm& operator=(const OffVm&) = delete;

    void begin() {
        const auto loaded = store_.load("testvm");
        ASSERT_TRUE(loaded && loaded->record) << "the record is gone";
        EXPECT_EQ(loaded->problem, "");
        vm = std::make_shared<Vm>(environment_, *loaded->record);
    }
    void end() {
        if (!vm) return;
        vm->release();
        test::run_async(context_, joined(vm));
        vm.reset();
    }
    /// The next supervisor, which looks after what the last one left.
    void begin_again() {
        end();
        begin();
        test::run_async(context_, adopted(vm));
    }
    /// Disk and variables as the guest would have made them.
    void become(const std::string& what) {
        shell({"qemu-io", "-f", "qcow2", "-c", "write -q -P " + pattern(what) + " 1M 128k",
               disk().string()});
        dir.write("home/vms/testvm/efivars.fd", "variables " + what);
    }
    /// Suspended, as far as files and record tell.
    void suspend() {
        auto record = *store_.load("testvm")->record;
        record.state = State::suspended;
        record.saved_ram =
            state::SavedRam{launch::ram_state_key(record.spec, "7.2.22"), "2026-11-26T12:00:00Z"};
        dir.write("home/vms/testvm/ram-state", "memory");
        ASSERT_TRUE(store_.save(record));
        end();
        begin();
    }
    Result<Vm::SnapshotOutcome> create(const std::string& name, bool ram = false) {
        Vm::SnapshotRequest request;
        request.name = name;
        request.ram = ram;
        return test::run_async(context_, vm->create_snapshot(std::move(request), {}));
    }
    Result<Vm::SnapshotOutcome> restore(const std::string& name) {
        return test::run_async(context_, vm->restore_snapshot(name));
    }
    Result<> remove(const std::string& name) {
        return test::run_async(context_, vm->remove_snapshot(name));
    }
    Result<> change(Vm::Edit edit) {
        return test::run_async(context_, vm->change(std::move(edit), {}));
    }
    Result<> set_cpus(unsigned cpus) {
        return change([cpus](spec::VmSpec& spec) { spec.cpus = cpus; });
    }

    Seen seen() {
        Seen seen;
        for (const auto* what : {"old", "new"}) {
            const auto read = shell({"qemu-io", "-r", "-f", "qcow2", "-c",
                                     "read -q -P " + pattern(what) + " 1M 128k", disk().string()});
            if (read.find("failed") == std::string::npos) seen.disk += what;
        }
        seen.vars = content("efivars.fd");
        seen.cpus = vm->spec().cpus;
        seen.state = vm->state();
        seen.ram = content("ram-state");
        for (const auto& snapshot : vm->snapshots()) seen.snapshots.push_back(snapshot.name);
        return seen;
    }
    /// Disk, files and record know the same snapshots, and none of it is broken or left over.
    void expect_whole() {
        const auto stored = store_.load("testvm")->record;
        EXPECT_FALSE(stored->snapshot_work);
        std::vector<std::string> tags;
        std::vector<std::string> files;
        for (const auto& snapshot : stored->snapshots) {
            tags.push_back(snapshot.tag);
            if (snapshot.firmware_vars) files.push_back(snapshot.tag + ".efivars");
            if (snapshot.ram) files.push_back(snapshot.tag + ".ram");
        }
        const auto info = Json::parse(
            shell({"qemu-img", "info", "--output=json", "-f", "qcow2", disk().string()}));
        std::vector<std::string> in_disk;
        for (const auto& entry : info.value("snapshots", Json::array()))
            in_disk.push_back(entry["name"]);
        EXPECT_THAT(in_disk, testing::UnorderedElementsAreArray(tags));
        std::vector<std::string> there;
        std::error_code none;
        for (const auto& entry : fs::directory_iterator(vm->directory() / "snapshots", none))
            there.push_back(entry.path().filename());
        std::erase(there, "efivars.tmp");  // a name that nothing reads
        EXPECT_THAT(there, testing::UnorderedElementsAreArray(files));
        EXPECT_THAT(shell({"qemu-img", "check", "-f", "qcow2", disk().string()}),
                    HasSubstr("No errors were found"));
        EXPECT_EQ(info["backing-filename"], "../../images/" + stored->spec.disk.base_file);
    }
    std::string content(const std::string& file) {
        return fs::exists(vm->directory() / file) ? test::slurp(vm->directory() / file) : "none";
    }
    [[nodiscard]] fs::path disk() const { return home.vm("testvm") / "disk.qcow2"; }

    std::string shell(std::vector<std::string> argv) {
        Command command;
        command.argv = std::move(argv);
        const auto output = test::run_async(context_, plain_runner_.run(std::move(command)));
        EXPECT_TRUE(output) << output.error().message;
        return output ? output->out + output->err : std::string();
    }

    test::TempDir dir;
    state::Home home{dir / "home", state::Scope::user};
    MortalRunner runner;
    std::shared_ptr<Vm> vm;

  private:
    static std::string pattern(const std::string& what) { return what == "old" ? "17" : "34"; }
    static boost::asio::awaitable<bool> joined(std::shared_ptr<Vm> of) {
        co_await of->join();
        co_return true;
    }
    static boost::asio::awaitable<bool> adopted(std::shared_ptr<Vm> of) {
        co_await of->adopt();
        co_await of->join();
        co_return true;
    }

    state::VmStore store_{home};
    boost::asio::io_context context_;
    boost::asio::thread_pool pool_{1};
    ProcessRunner plain_runner_;
    test::FakeKernelNetwork kernel_;
    Environment environment_{
        context_.get_executor(), home, store_, runner, kernel_, {}, "boot", pool_};
};

TEST(VmSnapshot, AStoppedVmComesBackToIt) {
    OffVm it;
    const auto taken = it.create("fresh");
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_THAT(taken->notes, IsEmpty());
    EXPECT_EQ(taken->snapshot->state, State::stopped);
    EXPECT_EQ(state::consistency_of(*taken->snapshot), "off");
    EXPECT_GT(taken->snapshot->disk_used_bytes, 0U);
    it.expect_whole();
    it.become("new");
    ASSERT_TRUE(it.set_cpus(1));
    ASSERT_TRUE(it.create(""));
    EXPECT_EQ(it.seen(),
              (Seen{"new", "variables new", 1, State::stopped, "none", {"fresh", "snap1"}}));

    const auto back = it.restore("fresh");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(it.seen(),
              (Seen{"old", "variables old", 2, State::stopped, "none", {"fresh", "snap1"}}));
    it.expect_whole();
    ASSERT_TRUE(it.restore("snap1"));
    EXPECT_EQ(it.seen(),
              (Seen{"new", "variables new", 1, State::stopped, "none", {"fresh", "snap1"}}));
    ASSERT_TRUE(it.remove("fresh"));
    it.expect_whole();
    it.begin_again();
    EXPECT_EQ(it.seen().snapshots, std::vector<std::string>{"snap1"});
    ASSERT_TRUE(it.remove("snap1"));
    it.expect_whole();
}

TEST(VmSnapshot, ASuspendedVmsMemoryBelongsToIt) {
    OffVm it;
    it.suspend();
    const auto taken = it.create("asleep", true);
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(state::consistency_of(*taken->snapshot), "suspended");
    ASSERT_TRUE(it.vm->discard_ram());
    it.become("new");
    EXPECT_EQ(it.seen(), (Seen{"new", "variables new", 2, State::stopped, "none", {"asleep"}}));
    // Twice: the second time the file that is put back is there already.
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(it.restore("asleep"));
        EXPECT_EQ(it.seen(),
                  (Seen{"old", "variables old", 2, State::suspended, "memory", {"asleep"}}));
        it.expect_whole();
    }
    ASSERT_TRUE(it.remove("asleep"));
    EXPECT_EQ(it.seen().ram, "memory") << "what it was restored from was another name for it";
    it.expect_whole();
}

TEST(VmSnapshot, AMemoryThatNoQemuOfTodayLoadsIsLeftOutAndSaid) {
    OffVm it;
    it.suspend();
    ASSERT_TRUE(it.create("asleep"));
    ASSERT_TRUE(it.vm->discard_ram());
    ASSERT_TRUE(it.change([](spec::VmSpec& spec) { spec.networks[0].mac = "52:54:00:00:00:01"; }));
    const auto back = it.restore("asleep");
    ASSERT_TRUE(back) << back.error().message;
    ASSERT_EQ(back->notes.size(), 1U);
    EXPECT_THAT(back->notes[0], HasSubstr("the next start is a boot"));
    EXPECT_EQ(it.seen(), (Seen{"old", "variables old", 2, State::stopped, "none", {"asleep"}}));
    it.expect_whole();
}

TEST(VmSnapshot, WhatCannotBeIsRefusedAndChangesNothing) {
    OffVm it;
    ASSERT_TRUE(it.create("a"));
    const auto before = it.seen();
    EXPECT_EQ(it.create("a").error().code, ErrorCode::already_exists);
    EXPECT_EQ(it.create("../a").error().code, ErrorCode::invalid_name);
    const auto no_memory = it.create("b", true);
    EXPECT_EQ(no_memory.error().code, ErrorCode::wrong_state);
    EXPECT_THAT(no_memory.error().hint, HasSubstr("noxsup start testvm"));
    EXPECT_EQ(exit_code_of(it.restore("b").error().code), 4);
    EXPECT_EQ(exit_code_of(it.remove("b").error().code), 4);
    EXPECT_EQ(it.seen(), before);
    it.expect_whole();
    // A guest that owned its QEMU could have had this written.
    const auto header = test::slurp(it.disk());
    auto hostile = header;
    hostile[79] = 4;
    it.dir.write("home/vms/testvm/disk.qcow2", hostile);
    EXPECT_EQ(it.create("b").error().code, ErrorCode::image_hostile);
    EXPECT_EQ(it.restore("a").error().code, ErrorCode::image_hostile);
    it.dir.write("home/vms/testvm/disk.qcow2", header);
    it.begin_again();
    EXPECT_EQ(it.seen(), before);
    it.expect_whole();
}

using Operation = std::function<bool(OffVm&)>;

/// Each time afresh, the supervisor ends after one more step; the next one finds the VM as it was
/// or as it was to be. Returns how often that was.
void cut_off_at_each_step(const std::function<void(OffVm&)>& prepare, const Operation& operation,
                          const Seen& before, const Seen& after) {
    int points = 0;
    // In the short form every fifth step, in each of the three tests others.
    static int first = 0;
    const int stride = test::is_long_run() ? 1 : 5;
    for (int nth = test::is_long_run() ? 0 : first++;; nth += stride) {
        OffVm it;
        prepare(it);
        Death death(nth);
        bool succeeded = false;
        {
            const test::FileCalls calls(
                it.home.root(), [&](const test::FileCall&) { return death.step() ? 0 : EIO; }, {});
            it.runner.death = &death;
            succeeded = operation(it);
            it.runner.death = nullptr;
        }
        SCOPED_TRACE("after " + std::to_string(nth) + " steps");
        it.begin_again();
        EXPECT_THAT(it.seen(), AnyOf(before, after));
        if (succeeded) {
            EXPECT_EQ(it.seen(), after);
        }
        it.expect_whole();
        if (testing::Test::HasFailure() || !death.came()) break;
        ++points;
    }
    EXPECT_GT(points, 5);
    testing::Test::RecordProperty("points", points);
}

TEST(VmSnapshot, OneThatIsCutOffIsThereOrNot) {
    const Seen without{"old", "variables old", 2, State::suspended, "memory", {}};
    auto with = without;
    with.snapshots = {"a"};
    cut_off_at_each_step([](OffVm& it) { it.suspend(); },
                         [](OffVm& it) { return it.create("a").has_value(); }, without, with);
}

TEST(VmSnapshot, ARestoreThatIsCutOffIsCarriedOutOrNotBegun) {
    const Seen before{"new", "variables new", 1, State::stopped, "none", {"a"}};
    const Seen after{"old", "variables old", 2, State::suspended, "memory", {"a"}};
    cut_off_at_each_step(
        [](OffVm& it) {
            it.suspend();
            ASSERT_TRUE(it.create("a"));
            ASSERT_TRUE(it.vm->discard_ram());
            ASSERT_TRUE(it.set_cpus(1));
            it.become("new");
        },
        [](OffVm& it) { return it.restore("a").has_value(); }, before, after);
}

TEST(VmSnapshot, ARemovalThatIsCutOffIsCarriedOutOrNotBegun) {
    const Seen before{"new", "variables new", 2, State::stopped, "none", {"a", "b"}};
    auto after = before;
    after.snapshots = {"b"};
    cut_off_at_each_step(
        [](OffVm& it) {
            ASSERT_TRUE(it.create("a"));
            it.become("new");
            ASSERT_TRUE(it.create("b"));
        },
        [](OffVm& it) { return it.remove("a").has_value(); }, before, after);
}

}  // namespace
}  // namespace noxsup::vm
