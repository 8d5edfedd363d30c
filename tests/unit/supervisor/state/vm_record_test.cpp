#include "supervisor/state/vm_record.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sample_spec.hpp"

namespace noxsup::state {
namespace {

using testing::HasSubstr;

VmRecord sample_record() {
    VmRecord record;
    record.spec = test::sample_spec(spec::Arch::arm64);
    record.state = lifecycle::State::running;
    record.qemu = launch::ProcessIdentity{4321, 987654, "9c0d7f2e-1111-2222-3333-444455556666"};
    record.started_at = "2025-01-31T12:00:00Z";
    record.stages = Json::array({{{"name", "launch"}, {"seconds", 0.042}}});
    record.uid = 70'001;
    record.confinement = {{"uid", 70'001}};
    return record;
}

TEST(VmRecord, ReadsBackWhatItWrote) {
    const auto record = sample_record();
    const auto parsed = parse_record(to_text(record));
    ASSERT_EQ(parsed.kind, RecordKind::ours) << parsed.problem;
    EXPECT_EQ(*parsed.record, record);
}

TEST(VmRecord, WithoutAProcessReadsBackToo) {
    auto record = sample_record();
    record.restart_pending = true;
    record.identity_pending = true;
    record.qemu.reset();
    record.state = lifecycle::State::stopped;
    record.reason = lifecycle::Reason::guest_shutdown;
    const auto parsed = parse_record(to_text(record));
    ASSERT_EQ(parsed.kind, RecordKind::ours) << parsed.problem;
    EXPECT_EQ(*parsed.record, record);
}

TEST(VmRecord, ReformattedTextIsTheSameRecord) {
    const auto record = sample_record();
    const auto parsed = parse_record(dump_json(*parse_json(to_text(record))));
    ASSERT_EQ(parsed.kind, RecordKind::ours) << parsed.problem;
    EXPECT_EQ(*parsed.record, record);
}

TEST(VmRecord, EveryTruncationIsNoticed) {
    const auto text = to_text(sample_record());
    // The last byte is the newline after the document.
    for (std::size_t length = 0; length + 1 < text.size(); ++length) {
        EXPECT_EQ(parse_record(text.substr(0, length)).kind, RecordKind::damaged) << length;
    }
}

TEST(VmRecord, NoFlippedBitGivesAnotherRecord) {
    const auto record = sample_record();
    const auto text = to_text(record);
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
        auto damaged = text;
        damaged[bit / 8] =
            static_cast<char>(static_cast<unsigned char>(damaged[bit / 8]) ^ (1U << (bit % 8)));
        const auto parsed = parse_record(damaged);
        EXPECT_NE(parsed.kind, RecordKind::foreign) << "bit " << bit;
        // A flip inside white space or of a letter's case in an escape changes nothing.
        if (parsed.kind == RecordKind::ours) {
            EXPECT_EQ(*parsed.record, record) << "bit " << bit;
        }
    }
}

TEST(VmRecord, AnotherToolsObjectIsForeign) {
    const auto parsed = parse_record(R"({"name": "old", "os": "debian", "cpus": 1, "ram": 512})");
    EXPECT_EQ(parsed.kind, RecordKind::foreign);
}

TEST(VmRecord, WrongStatesWithARightChecksumAreDamagedNamingTheMember) {
    const auto body = (*parse_json(to_text(sample_record())))["body"];
    const auto problem = [&](const Json& patch) {
        auto wrong = body;
        wrong.merge_patch(patch);
        const auto parsed = parse_record(seal(wrong));
        EXPECT_EQ(parsed.kind, RecordKind::damaged) << patch;
        return parsed.problem;
    };
    EXPECT_THAT(problem({{"state", "sleeping"}}), HasSubstr("sleeping"));
    EXPECT_THAT(problem({{"state", nullptr}}), HasSubstr("state"));
    EXPECT_THAT(problem({{"spec", nullptr}}), HasSubstr("spec"));
    EXPECT_THAT(problem({{"spec", {{"name", "a/b"}}}}), HasSubstr("name"));
    EXPECT_THAT(problem({{"spec", {{"cpus", "many"}}}}), HasSubstr("cpus"));
    EXPECT_THAT(problem({{"qemu", {{"pid", 1}}}}), HasSubstr("pid"));
    EXPECT_THAT(problem({{"started_at", 7}}), HasSubstr("started_at"));
    EXPECT_THAT(problem({{"uid", "root"}}), HasSubstr("uid"));
    EXPECT_THAT(problem({{"uid", -1}}), HasSubstr("uid"));
}

TEST(VmRecord, WhatIsNoRecordIsDamagedWithTheReason) {
    EXPECT_THAT(parse_record(R"({"noxsup_vm": 2, "checksum": "", "body": {}})").problem,
                HasSubstr("another version"));
    EXPECT_THAT(parse_record(R"({"noxsup_vm": 1})").problem, HasSubstr("no checksum"));
    EXPECT_THAT(parse_record("[]").problem, HasSubstr("object"));
    EXPECT_THAT(parse_record("").problem, HasSubstr("JSON"));
}

}  // namespace
}  // namespace noxsup::state
