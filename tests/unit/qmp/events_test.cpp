#include "qmp/events.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::qmp {
namespace {

using ::testing::HasSubstr;

Event event_of(std::string name, std::string_view data) {
    Event event;
    event.name = std::move(name);
    event.data = Json::parse(data);
    return event;
}

template <class T>
T expect_event(std::string name, std::string_view data) {
    auto typed = parse_event(event_of(std::move(name), data));
    if (!typed) throw std::runtime_error(typed.error().message);
    return std::get<T>(std::move(*typed));
}

TEST(Events, ReadsShutdownAndReset) {
    const auto shutdown =
        expect_event<ShutdownEvent>("SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
    EXPECT_TRUE(shutdown.guest);
    EXPECT_EQ(shutdown.reason, ShutdownCause::guest_shutdown);
    EXPECT_EQ(shutdown_cause_name(shutdown.reason), "guest-shutdown");
    const auto reset =
        expect_event<ResetEvent>("RESET", R"({"guest": false, "reason": "host-qmp-system-reset"})");
    EXPECT_EQ(reset.reason, ShutdownCause::host_qmp_system_reset);
    EXPECT_EQ(
        expect_event<ShutdownEvent>("SHUTDOWN", R"({"guest": false, "reason": "snapshot-load"})")
            .reason,
        ShutdownCause::snapshot_load);
    EXPECT_EQ(
        expect_event<ShutdownEvent>("SHUTDOWN", R"({"guest": false, "reason": "new"})").reason,
        ShutdownCause::unknown);
}

TEST(Events, ReadsTheOnesWithoutData) {
    expect_event<PowerdownEvent>("POWERDOWN", "{}");
    expect_event<StopEvent>("STOP", "{}");
    expect_event<ResumeEvent>("RESUME", "{}");
    expect_event<SuspendEvent>("SUSPEND", "{}");
    expect_event<WakeupEvent>("WAKEUP", "{}");
}

TEST(Events, ReadsBlockEvents) {
    const auto full = expect_event<BlockIoErrorEvent>(
        "BLOCK_IO_ERROR",
        R"({"device": "", "node-name": "disk", "operation": "write", "action": "stop",
                              "nospace": true, "reason": "No space left on device"})");
    EXPECT_TRUE(full.write);
    EXPECT_TRUE(full.stopped);
    EXPECT_TRUE(full.no_space);
    EXPECT_EQ(full.node_name, "disk");
    EXPECT_EQ(full.reason, "No space left on device");
    const auto bad = expect_event<BlockIoErrorEvent>(
        "BLOCK_IO_ERROR", R"({"device": "d", "operation": "read", "action": "report"})");
    EXPECT_FALSE(bad.write || bad.stopped || bad.no_space);
    const auto corrupt = expect_event<BlockImageCorruptedEvent>(
        "BLOCK_IMAGE_CORRUPTED", R"({"device": "d", "msg": "bad L2", "offset": 1, "fatal": true})");
    EXPECT_TRUE(corrupt.fatal);
    EXPECT_EQ(corrupt.message, "bad L2");
}

TEST(Events, ReadsTheRest) {
    EXPECT_EQ(expect_event<GuestPanickedEvent>("GUEST_PANICKED", R"({"action": "pause"})").action,
              "pause");
    EXPECT_EQ(expect_event<WatchdogEvent>("WATCHDOG", R"({"action": "reset"})").action, "reset");
    const auto deleted = expect_event<DeviceDeletedEvent>(
        "DEVICE_DELETED", R"({"device": "nic1", "path": "/machine/peripheral/nic1"})");
    EXPECT_EQ(deleted.device, "nic1");
    EXPECT_EQ(expect_event<DeviceDeletedEvent>("DEVICE_DELETED", R"({"path": "/x"})").device, "");
    EXPECT_TRUE(
        expect_event<VserportChangeEvent>("VSERPORT_CHANGE", R"({"id": "agent", "open": true})")
            .open);
    EXPECT_EQ(expect_event<MigrationEvent>("MIGRATION", R"({"status": "completed"})").status,
              MigrationStatus::completed);
    EXPECT_EQ(expect_event<BalloonChangeEvent>("BALLOON_CHANGE", R"({"actual": 5})").actual, 5U);
    EXPECT_EQ(expect_event<OtherEvent>("RTC_CHANGE", R"({"offset": 78})").name, "RTC_CHANGE");
}

TEST(Events, RefusesKnownEventsOfAnotherShape) {
    const std::vector<std::pair<std::string, std::string>> bad = {
        {"SHUTDOWN", "{}"},
        {"SHUTDOWN", R"({"guest": 1, "reason": "host-signal"})"},
        {"SHUTDOWN", R"({"guest": true, "reason": 1})"},
        {"BLOCK_IO_ERROR", "{}"},
        {"BLOCK_IO_ERROR", R"({"device": 1})"},
        {"BLOCK_IO_ERROR", R"({"node-name": 1})"},
        {"BLOCK_IO_ERROR", R"({"operation": "read"})"},
        {"BLOCK_IO_ERROR", R"({"operation": "read", "action": "stop", "nospace": 1})"},
        {"BLOCK_IO_ERROR", R"({"operation": "read", "action": "stop", "reason": 1})"},
        {"BLOCK_IMAGE_CORRUPTED", R"({"msg": "x"})"},
        {"BLOCK_IMAGE_CORRUPTED", R"({"fatal": true})"},
        {"BLOCK_IMAGE_CORRUPTED", R"({"device": 1})"},
        {"BLOCK_IMAGE_CORRUPTED", R"({"node-name": 1})"},
        {"GUEST_PANICKED", "{}"},
        {"WATCHDOG", R"({"action": 1})"},
        {"DEVICE_DELETED", "{}"},
        {"DEVICE_DELETED", R"({"device": 1, "path": "x"})"},
        {"VSERPORT_CHANGE", R"({"id": "a"})"},
        {"VSERPORT_CHANGE", R"({"open": true})"},
        {"MIGRATION", "{}"},
        {"BALLOON_CHANGE", R"({"actual": -1})"},
    };
    for (const auto& [name, data] : bad) {
        const auto typed = parse_event(event_of(name, data));
        ASSERT_FALSE(typed) << name << data;
        EXPECT_EQ(typed.error().code, ErrorCode::protocol_error);
        EXPECT_THAT(typed.error().message, HasSubstr("QMP event " + name));
    }
}

}  // namespace
}  // namespace noxsup::qmp
