#include "supervisor/vm/event_hub.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.hpp"

namespace noxsup::vm {
namespace {

using lifecycle::Reason;
using lifecycle::State;
using testing::ElementsAre;
using testing::IsEmpty;

const std::string uuid = "6f1c9a52-7a3e-4f0b-9c55-3d2e1b0a9f87";

Event about(const std::string& vm) {
    Event event;
    event.vm = vm;
    event.uuid = uuid;
    event.state = State::running;
    return event;
}

/// What a reader gets until it has everything: numbers, and "3 missed".
std::vector<std::string> read_all(const EventHub& hub, EventCursor& cursor) {
    std::vector<std::string> got;
    while (const auto event = hub.read(cursor)) {
        got.push_back(event->kind == EventKind::missed ? std::to_string(event->count) + " missed"
                                                       : std::to_string(event->seq));
    }
    return got;
}

std::vector<std::string> read_all(const EventHub& hub, EventCursor&& cursor) {
    return read_all(hub, cursor);
}

EventLimits at_most(std::size_t events) {
    EventLimits limits;
    limits.events = events;
    return limits;
}

TEST(EventHub, EveryReaderGetsEverythingInOrderAtItsOwnPace) {
    EventHub hub;
    EventCursor fast;
    EventCursor slow;
    EXPECT_FALSE(hub.read(fast));
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, fast), ElementsAre("1"));
    hub.publish(about("b"));
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, fast), ElementsAre("2", "3"));
    EXPECT_THAT(read_all(hub, fast), IsEmpty());
    EXPECT_THAT(read_all(hub, slow), ElementsAre("1", "2", "3"));
    EXPECT_EQ(hub.last_seq(), 3U);
}

TEST(EventHub, ASlowReaderIsToldOnceWhatItMissed) {
    EventHub hub(at_most(3));
    EventCursor slow;
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, slow), ElementsAre("1"));
    for (int i = 0; i < 10; ++i) hub.publish(about("a"));
    const auto missed = hub.read(slow);
    ASSERT_TRUE(missed);
    EXPECT_EQ(missed->kind, EventKind::missed);
    EXPECT_EQ(missed->count, 7U);
    EXPECT_EQ(missed->seq, 8U) << "the last one it missed";
    EXPECT_THAT(read_all(hub, slow), ElementsAre("9", "10", "11"));
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, slow), ElementsAre("12"));
    EXPECT_EQ(hub.size(), 3U);
}

TEST(EventHub, AStormOfOneVmLeavesTheOthersNews) {
    EventHub hub(at_most(10));
    EventCursor slow;
    hub.publish(about("quiet"));
    for (int i = 0; i < 50; ++i) hub.publish(about("loud"));
    hub.publish(about("quiet"));
    for (int i = 0; i < 50; ++i) hub.publish(about("loud"));
    EXPECT_THAT(read_all(hub, slow), ElementsAre("1", "50 missed", "52", "42 missed", "95", "96",
                                                 "97", "98", "99", "100", "101", "102"));
    EXPECT_TRUE(hub.knows("quiet"));
    EXPECT_FALSE(hub.knows("nobody"));
}

TEST(EventHub, BytesAreBoundedToo) {
    EventLimits limits;
    limits.bytes = 20'000;
    EventHub hub(limits);
    EventCursor slow;
    const Json data{{"text", std::string(1000, 'x')}};
    for (int i = 0; i < 1000; ++i) {
        hub.publish_qmp(about("vm" + std::to_string(i % 3)), "BIG", data);
        ASSERT_LE(hub.bytes(), 20'000U);
    }
    EXPECT_LT(hub.size(), 20U);
    EXPECT_GT(hub.size(), 10U);
    std::uint64_t told = 0;
    while (const auto event = hub.read(slow)) {
        told += event->kind == EventKind::missed ? event->count : 1;
    }
    EXPECT_EQ(told, 1000U);
}

TEST(EventHub, TheNewestStaysHoweverSmallTheRing) {
    EventHub hub(at_most(1));
    EventCursor slow;
    hub.publish(about("a"));
    hub.publish(about("b"));
    EXPECT_THAT(read_all(hub, slow), ElementsAre("1 missed", "2"));
    EXPECT_FALSE(hub.knows("a"));
}

TEST(EventHub, NamesChooseAndEverythingMissedIsCounted) {
    EventHub hub(at_most(4));
    auto cursor = hub.from_kept({"a", "c"});
    hub.publish(about("a"));
    hub.publish(about("b"));
    hub.publish(about("c"));
    EXPECT_THAT(read_all(hub, cursor), ElementsAre("1", "3"));
    for (int i = 0; i < 4; ++i) hub.publish(about("a"));
    hub.publish(about("b"));
    EXPECT_THAT(read_all(hub, cursor), ElementsAre("3 missed", "7"));
}

TEST(EventHub, AReaderMayWantTheLastFew) {
    EventHub hub(at_most(6));
    for (int i = 0; i < 4; ++i) {
        hub.publish(about("a"));
        hub.publish(about("b"));
    }
    // 1 and 2 are gone: who comes later missed nothing.
    EXPECT_THAT(read_all(hub, hub.from_kept()), ElementsAre("3", "4", "5", "6", "7", "8"));
    EXPECT_THAT(read_all(hub, hub.from_kept({}, 2)), ElementsAre("7", "8"));
    EXPECT_THAT(read_all(hub, hub.from_kept({"a"}, 2)), ElementsAre("5", "7"));
    EXPECT_THAT(read_all(hub, hub.from_kept({"a"}, 99)), ElementsAre("3", "5", "7"));
    auto none = hub.from_kept({}, 0);
    EXPECT_THAT(read_all(hub, none), IsEmpty());
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, none), ElementsAre("9"));
}

TEST(EventHub, AReaderGoesOnWhereItWas) {
    EventHub hub(at_most(3));
    for (int i = 0; i < 5; ++i) hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, hub.after(4, hub.stream())), ElementsAre("5"));
    EXPECT_THAT(read_all(hub, hub.after(1, hub.stream())), ElementsAre("1 missed", "3", "4", "5"));
    EXPECT_THAT(read_all(hub, hub.after(5, hub.stream())), IsEmpty());
    // Numbers of another supervisor say nothing here.
    EXPECT_THAT(read_all(hub, hub.after(4, "other")), ElementsAre("2 missed", "3", "4", "5"));
    auto future = hub.after(UINT64_MAX, hub.stream());
    EXPECT_THAT(read_all(hub, future), IsEmpty());
    hub.publish(about("a"));
    EXPECT_THAT(read_all(hub, future), ElementsAre("6"));
    EXPECT_NE(hub.stream(), EventHub().stream());
}

TEST(EventHub, TheListenerHearsOfEach) {
    EventHub hub;
    int heard = 0;
    hub.set_listener([&] { ++heard; });
    hub.publish(about("a"));
    hub.publish_qmp(about("a"), "STOP", Json::object());
    EXPECT_EQ(heard, 2);
}

/// The data of a QMP event as readers get it.
Json kept(const Json& data, std::string_view name = "X") {
    EventHub hub;
    hub.publish_qmp(about("a"), name, data);
    EventCursor cursor;
    const auto json = to_json(*hub.read(cursor));
    EXPECT_LT(dump_json(json).size(), 5000U);
    return json.at("data");
}

TEST(EventHub, WhatQemuSaysIsCutToSize) {
    EXPECT_EQ(kept(Json::object()), Json::object());
    const Json normal{{"guest", true}, {"reason", "guest-shutdown"}, {"list", {1, -2.5, nullptr}}};
    EXPECT_EQ(kept(normal), normal);
    EXPECT_EQ(kept({{"x", std::string(4000, 'x')}}).at("x").get<std::string>().size(), 4000U);
    EXPECT_EQ(kept({{"x", std::string(5000, 'x')}}), Json());
    EXPECT_EQ(kept({{std::string(5000, 'x'), 1}}), Json());
    // One byte each here, six in the text.
    EXPECT_EQ(kept({{"x", std::string(1000, '\x01')}}), Json());
    EXPECT_EQ(kept(std::vector<int>(3000, 1)), Json());
    EXPECT_EQ(kept({{"x", "\xff\x1b[2J"}}), Json({{"x", "\xef\xbf\xbd\x1b[2J"}}));
    Json deep = 1;
    for (int i = 0; i < 60; ++i) deep = Json::array({deep});
    EXPECT_EQ(kept({{"x", deep}}), Json());
}

TEST(EventHub, ALongNameIsCut) {
    EventHub hub;
    hub.publish_qmp(about("a"), std::string(1'000'000, 'N'), Json::object());
    EventCursor cursor;
    EXPECT_EQ(hub.read(cursor)->event, std::string(64, 'N'));
    EXPECT_LT(hub.bytes(), 1000U);
}

/// Every kind of event once, as JSON lines.
std::string every_kind() {
    EventHub hub(at_most(11), [] { return std::string("2025-01-31T12:00:00.250Z"); });
    Event started;
    started.kind = EventKind::supervisor;
    started.event = "started";
    started.data = R"({"version":"1.0.0","pid":4242})";
    hub.publish(started);
    auto event = about("web");
    event.previous = State::starting;
    hub.publish(event);
    hub.publish_qmp(about("web"), "SHUTDOWN", {{"guest", true}, {"reason", "guest-shutdown"}});
    hub.publish_qmp(about("web"), "\x1b[31mODD\n", {{"text", "\x1b[2J\xc2\x9b"}});
    hub.publish_qmp(about("web"), "LARGE", {{"text", std::string(9000, 'x')}});
    auto addressed = about("web");
    addressed.kind = EventKind::addresses;
    addressed.data = R"({"mac":"52:54:00:00:00:01","addresses":["192.168.1.7","fd00::7"]})";
    hub.publish(addressed);
    event.state = State::stopped;
    event.previous = State::stopping;
    event.reason = Reason::guest_shutdown;
    hub.publish(event);
    auto renamed = about("shop");
    renamed.kind = EventKind::renamed;
    renamed.state = State::stopped;
    renamed.reason = Reason::guest_shutdown;
    renamed.data = R"({"from":"web"})";
    hub.publish(renamed);
    auto deleted = about("shop");
    deleted.kind = EventKind::deleted;
    deleted.state.reset();
    deleted.previous = State::stopped;
    deleted.reason = Reason::user;
    hub.publish(deleted);
    EventCursor cursor;
    std::string lines;
    const auto add = [&] {
        while (const auto next = hub.read(cursor)) {
            lines += to_json(*next).dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
        }
    };
    add();
    for (int i = 0; i < 20; ++i) hub.publish(event);
    cursor.names = {"nobody"};
    add();
    return lines;
}

TEST(EventHub, LinesAreAsInTheGoldenFile) {
    test::expect_golden(every_kind(), "json/events.jsonl");
}

}  // namespace
}  // namespace noxsup::vm
