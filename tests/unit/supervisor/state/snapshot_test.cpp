#include "supervisor/state/snapshot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/state/vm_record.hpp"
#include "tests/support/sample_spec.hpp"

namespace noxsup::state {
namespace {

using lifecycle::State;

Snapshot sample(const std::string& name) {
    Snapshot snapshot;
    snapshot.name = name;
    snapshot.tag = name + ".0123abcd";
    snapshot.created_at = "2026-11-26T12:00:00Z";
    snapshot.comment = "before \"it\"\n";
    snapshot.state = State::running;
    snapshot.frozen = true;
    snapshot.cpus = 2;
    snapshot.memory_bytes = 512 * spec::mebibyte;
    snapshot.disk_virtual_bytes = std::uint64_t{5} << 30;
    snapshot.disk_used_bytes = 1 << 20;
    snapshot.files_bytes = 4096;
    snapshot.firmware_vars = true;
    return snapshot;
}

TEST(SnapshotName, LettersDigitsAndAFewSigns) {
    for (const auto* name : {"a", "1", "Before-upgrade_2.1", "snap1"})
        EXPECT_TRUE(check_snapshot_name(name)) << name;
    EXPECT_TRUE(check_snapshot_name(std::string(63, 'a')));
    for (const auto* name : {"", "-a", ".a", "a b", "a/b", "a,b", "ä", "a\n", "../a"}) {
        const auto checked = check_snapshot_name(name);
        ASSERT_FALSE(checked) << name;
        EXPECT_EQ(checked.error().code, ErrorCode::invalid_name);
    }
    EXPECT_FALSE(check_snapshot_name(std::string(64, 'a')));
}

TEST(SnapshotName, TheNextFreeOneIsGiven) {
    EXPECT_EQ(next_snapshot_name({}), "snap1");
    EXPECT_EQ(next_snapshot_name({sample("snap1"), sample("snap3")}), "snap2");
    EXPECT_EQ(next_snapshot_name({sample("snap2"), sample("snap1")}), "snap3");
}

TEST(SnapshotName, AnUnknownOneEndsWithFour) {
    const auto found = find_snapshot({sample("a"), sample("b")}, "b", "testvm");
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, 1U);
    const auto missing = find_snapshot({sample("a")}, "b", "testvm");
    ASSERT_FALSE(missing);
    EXPECT_EQ(exit_code_of(missing.error().code), 4);
    EXPECT_THAT(missing.error().message, testing::HasSubstr("testvm has no snapshot named b"));
}

TEST(Snapshot, HowWholeItsDataIsSaysWhatItWasTakenOf) {
    auto snapshot = sample("a");
    EXPECT_EQ(consistency_of(snapshot), "frozen");
    snapshot.frozen = false;
    EXPECT_EQ(consistency_of(snapshot), "crash");
    snapshot.state = State::paused;
    EXPECT_EQ(consistency_of(snapshot), "crash");
    snapshot.ram = SavedRam{{"key"}, "2026-11-26T12:00:00Z"};
    EXPECT_EQ(consistency_of(snapshot), "ram");
    snapshot.state = State::suspended;
    EXPECT_EQ(consistency_of(snapshot), "suspended");
    snapshot.ram.reset();
    snapshot.state = State::failed;
    EXPECT_EQ(consistency_of(snapshot), "off");
}

TEST(Snapshot, ARecordKeepsThemAndTheWorkUnderWay) {
    VmRecord record;
    record.spec = test::sample_spec();
    record.snapshots = {sample("a"), sample("b")};
    record.snapshots[1].comment.clear();
    record.snapshots[1].frozen = false;
    record.snapshots[1].ram = SavedRam{
        {"QEMU 7.2", "cpus 2"}, "2026-11-26T12:00:01Z", {{"52:54:00:00:00:01", {"192.168.1.20"}}}};
    SnapshotWork work;
    work.step = SnapshotStep::restore;
    work.tag = "b.0123abcd";
    work.ram = true;
    record.snapshot_work = work;
    for (const auto step : {SnapshotStep::create, SnapshotStep::restore, SnapshotStep::remove}) {
        record.snapshot_work->step = step;
        const auto parsed = parse_record(to_text(record));
        ASSERT_TRUE(parsed.record) << parsed.problem;
        EXPECT_EQ(*parsed.record, record);
    }
}

TEST(Snapshot, ATagThatIsNoneOfOursDamagesTheRecord) {
    for (const auto* tag :
         {"", "a", "a.0123abc", "a.0123abcg", "../a.0123abcd", ".0123abcd", "1"}) {
        auto json = to_json(sample("a"));
        json["tag"] = tag;
        EXPECT_FALSE(snapshot_from_json(json)) << tag;
        auto work = to_json(SnapshotWork{});
        work["tag"] = tag;
        EXPECT_FALSE(snapshot_work_from_json(work)) << tag;
    }
    auto json = to_json(sample("a"));
    json["name"] = "../a";
    EXPECT_FALSE(snapshot_from_json(json));
    auto work = to_json(SnapshotWork{SnapshotStep::create, "a.0123abcd"});
    work["step"] = "forget";
    EXPECT_FALSE(snapshot_work_from_json(work));
}

}  // namespace
}  // namespace noxsup::state
