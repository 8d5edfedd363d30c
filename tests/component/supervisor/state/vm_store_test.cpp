#include "supervisor/state/vm_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "supervisor/state/config.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::state {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class VmStoreTest : public testing::Test {
  protected:
    VmStoreTest() { EXPECT_TRUE(home_.prepare()); }

    static VmRecord record(const std::string& name) {
        VmRecord result;
        result.spec = test::sample_spec();
        result.spec.name = name;
        return result;
    }
    void create(const std::string& name) {
        const auto begun = store_.begin_create("0000" + name);
        ASSERT_TRUE(begun) << begun.error().message;
        ASSERT_TRUE(store_.finish_create(*begun, record(name)));
    }
    std::vector<std::string> names() {
        std::vector<std::string> result;
        for (const auto& vm : *store_.load_all()) result.push_back(vm.name);
        return result;
    }

    test::TempDir dir_;
    Home home_{dir_ / "home", Scope::user};
    VmStore store_{home_};
};

TEST_F(VmStoreTest, CreatesSavesLoadsAndRemoves) {
    create("b");
    create("a");
    EXPECT_THAT(names(), ElementsAre("a", "b"));
    auto changed = record("a");
    changed.state = lifecycle::State::running;
    ASSERT_TRUE(store_.save(changed));
    EXPECT_EQ(store_.load("a")->record, changed);
    ASSERT_TRUE(store_.remove("a"));
    EXPECT_THAT(names(), ElementsAre("b"));
    EXPECT_EQ(store_.load("a").error().code, ErrorCode::vm_not_found);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(home_.vms()), {}), 1);
}

TEST_F(VmStoreTest, ADamagedRecordFallsBackToTheOneBefore) {
    create("vm");
    auto newer = record("vm");
    newer.started_at = "2026-01-01T00:00:00Z";
    ASSERT_TRUE(store_.save(newer));
    dir_.write("home/vms/vm/meta.json", "{\"noxsup_vm\": 1, tru");
    const auto loaded = store_.load("vm");
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->kind, RecordKind::ours);
    EXPECT_EQ(loaded->record, record("vm"));
    EXPECT_THAT(loaded->problem, HasSubstr("generation before"));
}

TEST_F(VmStoreTest, ADamagedRecordDoesNotReplaceTheOneBefore) {
    create("vm");
    auto newer = record("vm");
    newer.started_at = "2026-01-01T00:00:00Z";
    ASSERT_TRUE(store_.save(newer));
    for (const auto* damage : {"{\"noxsup_vm\": 1, tru", ""}) {
        // What a power cut leaves, then a save that is cut off in its turn.
        dir_.write("home/vms/vm/meta.json", damage);
        ASSERT_TRUE(store_.save(newer));
        EXPECT_EQ(store_.load("vm")->record, newer);
        dir_.write("home/vms/vm/meta.json", damage);
        EXPECT_EQ(store_.load("vm")->record, record("vm"));
        ASSERT_TRUE(store_.save(newer));
    }
    ASSERT_TRUE(store_.save(record("vm")));
    dir_.write("home/vms/vm/meta.json", "");
    EXPECT_EQ(store_.load("vm")->record, newer) << "a good one does";
}

TEST_F(VmStoreTest, ARenameMovesTheDirectoryAndTheLinkToTheDisk) {
    create("old");
    std::filesystem::create_symlink("disk.qcow2", home_.vm("old") / "old.qcow2");
    ASSERT_TRUE(store_.rename("old", record("new")));
    EXPECT_THAT(names(), ElementsAre("new"));
    EXPECT_EQ(store_.load("new")->record, record("new"));
    EXPECT_EQ(std::filesystem::read_symlink(home_.vm("new") / "new.qcow2"), "disk.qcow2");
    EXPECT_FALSE(std::filesystem::exists(home_.vm("new") / "old.qcow2"));
    // The generation before has the new name too: a damaged record costs a change, not the VM.
    dir_.write("home/vms/new/meta.json", "");
    EXPECT_EQ(store_.load("new")->record, record("new"));
}

TEST_F(VmStoreTest, ARenameToATakenNameChangesNothing) {
    create("old");
    dir_.write("home/vms/theirs/disk", "of another tool");
    const auto renamed = store_.rename("old", record("theirs"));
    ASSERT_FALSE(renamed);
    EXPECT_EQ(renamed.error().code, ErrorCode::already_exists);
    EXPECT_EQ(store_.load("old")->record, record("old"));
    EXPECT_EQ(store_.load("old")->problem, "");
    EXPECT_EQ(test::slurp(home_.vm("theirs") / "disk"), "of another tool");
}

TEST_F(VmStoreTest, ARenameThatWasCutOffLeavesTheOldName) {
    create("old");
    ASSERT_TRUE(store_.save(record("old")));
    // The new record is there, and the directory was not moved any more.
    dir_.write("home/vms/old/meta.json", to_text(record("new")));
    const auto loaded = store_.load("old");
    EXPECT_EQ(loaded->kind, RecordKind::ours);
    EXPECT_EQ(loaded->record, record("old"));
    EXPECT_EQ(loaded->problem, "");
    ASSERT_TRUE(store_.save(record("old")));
    EXPECT_EQ(store_.load("old")->record, record("old"));
}

TEST_F(VmStoreTest, OneBadVmIsQuarantinedAndTheOthersAreListed) {
    create("good");
    create("bad");
    dir_.write("home/vms/bad/meta.json", "");
    std::filesystem::remove(home_.vm("bad") / "meta.json.prev");
    const auto all = store_.load_all();
    ASSERT_TRUE(all);
    ASSERT_EQ(all->size(), 2U);
    EXPECT_EQ(all->at(0).kind, RecordKind::damaged);
    EXPECT_FALSE(all->at(0).problem.empty());
    EXPECT_EQ(all->at(1).kind, RecordKind::ours);
}

TEST_F(VmStoreTest, TheRecordOfAnotherVmIsNotTaken) {
    create("a");
    create("b");
    std::filesystem::copy_file(home_.vm("a") / "meta.json", home_.vm("b") / "meta.json",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(home_.vm("b") / "meta.json.prev");
    EXPECT_EQ(store_.load("b")->kind, RecordKind::damaged);
}

TEST_F(VmStoreTest, AVmOfNoxIsForeignAndItsNameIsTaken) {
    dir_.write("home/vms/old/meta.json", R"({"name": "old", "os": "debian", "ram": 512})");
    dir_.write("home/vms/older/older.qcow2", "disk");
    const auto all = store_.load_all();
    ASSERT_EQ(all->size(), 2U);
    EXPECT_EQ(all->at(0).kind, RecordKind::foreign);
    EXPECT_EQ(all->at(1).kind, RecordKind::foreign);
    const auto begun = store_.begin_create("1");
    const auto taken = store_.finish_create(*begun, record("old"));
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, ErrorCode::already_exists);
    EXPECT_EQ(test::slurp(home_.vm("old") / "meta.json"),
              R"({"name": "old", "os": "debian", "ram": 512})");
}

TEST_F(VmStoreTest, SweepRemovesOnlyWhatACrashLeft) {
    create("vm");
    ASSERT_TRUE(store_.begin_create("abc"));
    dir_.write("home/vms/.trash-1/disk.qcow2", "x");
    dir_.write("home/vms/vm/snapshots/efivars.tmp", "x");
    dir_.write("home/vms/vm/snapshots/a.0123abcd.efivars", "x");
    ASSERT_TRUE(store_.sweep());
    EXPECT_FALSE(std::filesystem::exists(home_.vm("vm") / "snapshots/efivars.tmp"));
    EXPECT_TRUE(std::filesystem::exists(home_.vm("vm") / "snapshots/a.0123abcd.efivars"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(home_.vms()), {}), 1);
    EXPECT_THAT(names(), ElementsAre("vm"));
}

TEST_F(VmStoreTest, ALinkInPlaceOfADirectoryIsNoVm) {
    std::filesystem::create_directory_symlink("/", home_.vms() / "root");
    EXPECT_TRUE(store_.load_all()->empty());
    EXPECT_EQ(store_.load("root").error().code, ErrorCode::vm_not_found);
    EXPECT_EQ(store_.load("../images").error().code, ErrorCode::vm_not_found);
}

TEST_F(VmStoreTest, AFailingSaveLeavesTheOldState) {
    create("vm");
    // Not the permission, which root ignores: a directory stands where the file is to go.
    std::filesystem::remove(home_.vm("vm") / "meta.json.prev");
    std::filesystem::create_directories(home_.vm("vm") / "meta.json.prev/x");
    auto newer = record("vm");
    newer.started_at = "2026-01-01T00:00:00Z";
    EXPECT_FALSE(store_.save(newer));
    EXPECT_EQ(store_.load("vm")->record, record("vm"));
}

TEST_F(VmStoreTest, OnlyOneDaemonServesAHome) {
    const auto first = home_.lock();
    ASSERT_TRUE(first);
    const auto second = home_.lock();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::daemon_running);
}

TEST_F(VmStoreTest, RecordsArePrivate) {
    create("vm");
    struct stat info {};
    ASSERT_EQ(::stat((home_.vm("vm") / "meta.json").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    ASSERT_EQ(::stat(home_.vm("vm").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST(Config, UnderstandsNoxsFileAndWarnsOfTheRest) {
    const test::TempDir dir;
    const auto path = dir.write("config.json", R"({
        "defaults": {"os": "debian", "cpus": 2, "ram": 1024, "disk": "10G", "colour": "blue"},
        "env": {"A": "b"}, "s3": {"enabled": true, "secret_key": "x"},
        "user_network_restrict": true, "accel": 7, "theme": "dark"})");
    const auto config = load_config(path);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->cpus, "2");
    EXPECT_EQ(config->ram, "1024");
    EXPECT_EQ(config->disk, "10G");
    EXPECT_TRUE(config->restrict_user_network);
    EXPECT_EQ(config->accel, "auto");
    EXPECT_EQ(config->warnings.size(), 3U);
    EXPECT_THAT(config->warnings, Contains(HasSubstr("defaults.colour")));
    EXPECT_THAT(config->warnings, Contains(HasSubstr("theme")));
    EXPECT_THAT(config->warnings, Contains(HasSubstr("accel has a value of the wrong type")));
}

TEST(Config, TheUidsOfVmsAreARange) {
    const test::TempDir dir;
    EXPECT_EQ(load_config(dir / "none")->vm_uids, launch::default_vm_uids);
    const auto good = load_config(dir.write("good.json", R"({"vm_uids": "200000-200099"})"));
    EXPECT_EQ(good->vm_uids, (launch::UidRange{200'000, 200'099}));
    EXPECT_TRUE(good->warnings.empty());
    const auto bad = load_config(dir.write("bad.json", R"({"vm_uids": "0-99"})"));
    EXPECT_EQ(bad->vm_uids, launch::default_vm_uids);
    ASSERT_EQ(bad->warnings.size(), 1U);
    EXPECT_THAT(bad->warnings.front(), HasSubstr("\"0-99\" is no range of uids"));
}

TEST(Config, ImagesAreKeptAheadWhereTheyAreNamed) {
    const test::TempDir dir;
    EXPECT_TRUE(load_config(dir / "none")->images_ahead.empty());
    const auto good = load_config(dir.write(
        "good.json", R"({"images_ahead": ["debian", "alpine:3.24"], "images_ahead_hours": 6})"));
    EXPECT_THAT(good->images_ahead, testing::ElementsAre("debian", "alpine:3.24"));
    EXPECT_EQ(good->images_ahead_hours, 6U);
    EXPECT_TRUE(good->warnings.empty());
    for (const auto* wrong : {R"({"images_ahead": "debian"})", R"({"images_ahead": [1]})",
                              R"({"images_ahead_hours": 0})", R"({"images_ahead_hours": 721})"}) {
        const auto bad = load_config(dir.write("bad.json", wrong));
        EXPECT_TRUE(bad->images_ahead.empty());
        EXPECT_EQ(bad->images_ahead_hours, 24U);
        EXPECT_EQ(bad->warnings.size(), 1U) << wrong;
    }
}

TEST(Config, AutostartIsABoolOrAWord) {
    const test::TempDir dir;
    const auto autostart = [&dir](const std::string& value) {
        const auto path =
            dir.write("config.json", "{\"defaults\": {\"autostart\": " + value + "}}");
        const auto config = load_config(path);
        return config->autostart + (config->warnings.empty() ? "" : " and a warning");
    };
    EXPECT_EQ(autostart("true"), "on");
    EXPECT_EQ(autostart("false"), "off");
    EXPECT_EQ(autostart("\"last\""), "last");
    EXPECT_EQ(autostart("1"), "on and a warning");
}

TEST(Config, AMissingFileIsAllDefaultsAndABrokenOneAnError) {
    const test::TempDir dir;
    EXPECT_EQ(load_config(dir / "none")->cpus, "1");
    const auto broken = load_config(dir.write("config.json", "{\"defaults\": "));
    ASSERT_FALSE(broken);
    EXPECT_THAT(broken.error().message, HasSubstr("config.json"));
    EXPECT_FALSE(load_config(dir.write("list.json", "[]")));
}

}  // namespace
}  // namespace noxsup::state
