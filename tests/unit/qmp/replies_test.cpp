#include "qmp/replies.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::qmp {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Replies, EveryRunStateHasItsName) {
    for (int i = 0; i <= static_cast<int>(RunState::colo); ++i) {
        const auto state = static_cast<RunState>(i);
        EXPECT_EQ(run_state_from_name(run_state_name(state)), state);
    }
    EXPECT_EQ(run_state_name(RunState::guest_panicked), "guest-panicked");
    EXPECT_EQ(run_state_name(RunState::running), "running");
    EXPECT_EQ(run_state_name(RunState::io_error), "io-error");
    EXPECT_EQ(run_state_from_name("from-the-future"), RunState::unknown);
}

TEST(Replies, ReadsTheStatus) {
    const auto info = parse_status(
        Json::parse(R"({"status": "prelaunch", "singlestep": false, "running": false})"));
    ASSERT_TRUE(info);
    EXPECT_EQ(info->state, RunState::prelaunch);
    EXPECT_FALSE(info->running);
    const auto newer = parse_status(Json::parse(R"({"status": "dreaming", "running": true})"));
    ASSERT_TRUE(newer);
    EXPECT_EQ(newer->state, RunState::unknown);
    EXPECT_EQ(newer->state_text, "dreaming");
    for (const auto* text :
         {"{}", "[]", R"({"status": 1, "running": true})", R"({"status": "running"})"}) {
        EXPECT_EQ(parse_status(Json::parse(text)).error().code, ErrorCode::protocol_error) << text;
    }
}

TEST(Replies, ReadsBlockDevices) {
    const auto devices = parse_block_devices(Json::parse(R"([
        {"device": "", "qdev": "/machine/peripheral/disk0/virtio-backend", "io-status": "nospace",
         "inserted": {"node-name": "disk", "drv": "qcow2", "ro": false, "file": "/dev/fdset/1",
                      "image": {"virtual-size": 5368709120, "actual-size": 200704}}},
        {"device": "cd0", "io-status": "ok"}, {"device": "x", "io-status": "failed"}])"));
    ASSERT_TRUE(devices) << devices.error().message;
    ASSERT_THAT(*devices, SizeIs(3));
    const auto& disk = devices->front();
    ASSERT_TRUE(disk.inserted);
    EXPECT_EQ(disk.inserted->node_name, "disk");
    EXPECT_EQ(disk.inserted->virtual_size, 5'368'709'120U);
    EXPECT_EQ(disk.inserted->actual_size, 200'704U);
    EXPECT_EQ(disk.io_status, IoStatus::no_space);
    EXPECT_FALSE(devices->at(1).inserted);
    EXPECT_EQ(devices->at(1).io_status, IoStatus::ok);
    EXPECT_EQ(devices->at(2).io_status, IoStatus::failed);
}

TEST(Replies, RefusesBlockDevicesOfAnotherShape) {
    for (const auto* text :
         {"{}", "[1]", R"([{"device": 1}])", R"([{"device": "a", "inserted": []}])",
          R"([{"device": "a", "qdev": 7}])", R"([{"device": "a", "io-status": 7}])"}) {
        const auto devices = parse_block_devices(Json::parse(text));
        ASSERT_FALSE(devices) << text;
        EXPECT_THAT(devices.error().message, HasSubstr("QMP query-block")) << text;
    }
}

TEST(Replies, ReadsBlockNodes) {
    const auto nodes = parse_block_nodes(Json::parse(R"([{"drv": "file", "file": "a", "ro": true,
        "image": {"virtual-size": 1}}])"));
    ASSERT_TRUE(nodes);
    EXPECT_TRUE(nodes->front().read_only);
    EXPECT_FALSE(nodes->front().actual_size);
    for (
        const auto* text :
        {R"([{}])", R"([{"drv": "file", "file": "a", "ro": true}])",
         R"([{"drv": "file", "file": "a", "ro": true, "image": {"virtual-size": -1}}])",
         R"([{"drv": "file", "file": "a", "ro": 1, "image": {"virtual-size": 1}}])",
         R"([{"drv": "file", "file": 1, "ro": true, "image": {"virtual-size": 1}}])",
         R"([{"drv": "file", "file": "a", "ro": true, "node-name": 1, "image": {"virtual-size": 1}}])",
         R"([{"drv": "f", "file": "a", "ro": true, "image": {"virtual-size": 1, "actual-size": "x"}}])"}) {
        EXPECT_FALSE(parse_block_nodes(Json::parse(text))) << text;
    }
}

TEST(Replies, ReadsTheSmallOnes) {
    EXPECT_EQ(*parse_balloon(Json::parse(R"({"actual": 536870912})")), 536'870'912U);
    EXPECT_FALSE(parse_balloon(Json::parse(R"({"actual": -1})")));
    const auto kvm = parse_kvm(Json::parse(R"({"enabled": false, "present": true})"));
    ASSERT_TRUE(kvm);
    EXPECT_TRUE(kvm->present);
    EXPECT_FALSE(parse_kvm(Json::parse(R"({"enabled": false})")));
    EXPECT_FALSE(parse_kvm(Json::parse(R"({"present": false})")));
    const auto member = parse_fdset_member(Json::parse(R"({"fdset-id": 3, "fd": 12})"));
    ASSERT_TRUE(member);
    EXPECT_EQ(member->fdset_id, 3);
    EXPECT_EQ(member->fd, 12);
    EXPECT_FALSE(parse_fdset_member(Json::parse(R"({"fdset-id": 3})")));
    EXPECT_FALSE(parse_fdset_member(Json::parse(R"({"fd": 3})")));
}

TEST(Replies, ReadsChardevsAndCpus) {
    const auto chardevs = parse_chardevs(
        Json::parse(R"([{"frontend-open": true, "filename": "unix:x", "label": "console"}])"));
    ASSERT_TRUE(chardevs);
    EXPECT_TRUE(chardevs->front().frontend_open);
    EXPECT_FALSE(parse_chardevs(Json::parse(R"([{"label": "x"}])")));
    EXPECT_FALSE(parse_chardevs(Json::parse(R"([{"label": "x", "filename": "y"}])")));
    EXPECT_FALSE(parse_chardevs(Json::parse(R"([{"filename": "y"}])")));
    const auto cpus = parse_cpus(Json::parse(
        R"([{"thread-id": 11, "cpu-index": 0, "qom-path": "/machine/unattached/device[0]", "target": "aarch64"}])"));
    ASSERT_TRUE(cpus);
    EXPECT_EQ(cpus->front().thread_id, 11);
    for (const auto* text :
         {R"([{"thread-id": 1}])", R"([{"cpu-index": 1}])", R"([{"cpu-index": 1, "thread-id": 1}])",
          R"([{"cpu-index": 1, "thread-id": 1, "qom-path": ""}])", "null"}) {
        EXPECT_FALSE(parse_cpus(Json::parse(text))) << text;
    }
}

TEST(Replies, ReadsMigrations) {
    const auto never = parse_migration(Json::object());
    ASSERT_TRUE(never);
    EXPECT_EQ(never->status, MigrationStatus::none);
    const auto done = parse_migration(Json::parse(
        R"({"status": "completed", "total-time": 22, "ram": {"transferred": 10, "remaining": 1, "total": 11}})"));
    ASSERT_TRUE(done);
    EXPECT_EQ(done->status, MigrationStatus::completed);
    EXPECT_TRUE(is_final(done->status));
    EXPECT_EQ(done->ram_transferred, 10U);
    EXPECT_EQ(done->ram_remaining, 1U);
    EXPECT_EQ(done->ram_total, 11U);
    EXPECT_EQ(done->total_milliseconds, 22);
    const auto failed = parse_migration(Json::parse(R"({"status": "failed", "error-desc": "no"})"));
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->error, "no");
    EXPECT_TRUE(is_final(failed->status));
    EXPECT_TRUE(is_final(MigrationStatus::cancelled));
    EXPECT_FALSE(is_final(MigrationStatus::active));
    EXPECT_EQ(migration_status_from_name("wait-unplug"), MigrationStatus::wait_unplug);
    EXPECT_EQ(migration_status_from_name("beaming"), MigrationStatus::unknown);
    for (const auto* text :
         {"[]", R"({"status": 1})", R"({"ram": {"total": "x"}})", R"({"ram": {"remaining": "x"}})",
          R"({"ram": {"transferred": -1}})", R"({"total-time": "x"})", R"({"error-desc": 1})"}) {
        EXPECT_FALSE(parse_migration(Json::parse(text))) << text;
    }
}

}  // namespace
}  // namespace noxsup::qmp
