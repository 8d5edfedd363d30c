// Conversations recorded from real QEMUs, cut into reads in every way: the result is the same each
// time.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "qmp/events.hpp"
#include "qmp/session.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/qmp_recording.hpp"

namespace noxsup::test {

/// The name of a case in GoogleTest's output.
void PrintTo(const QmpRecording& recording, std::ostream* out) {
    *out << recording.name;
}

}  // namespace noxsup::test

namespace noxsup::qmp {
namespace {

using test::QmpRecording;
using Transcript = std::vector<std::string>;

/// Bytes parsed for one recording: short ones are cut at every offset, long ones at a part of
/// theirs. NOXSUP_LONG=1 takes the time for all.
std::size_t most_bytes() {
    return std::size_t{test::is_long_run() ? 64U : 1U} << 20;
}

constexpr std::string_view hung_up = "failed: QEMU closed the QMP connection";

std::string word(const Step& step) {
    if (std::holds_alternative<Ready>(step)) return "ready";
    if (const auto* event = std::get_if<Event>(&step)) {
        return "event " + event->name + " " + dump_json(event->data) + " " +
               std::to_string(event->seconds) + "." + std::to_string(event->microseconds);
    }
    if (const auto* ended = std::get_if<Ended>(&step)) return "ended: " + ended->why.message;
    const auto& answer = std::get<Answer>(step);
    const auto id = std::to_string(answer.id) + " ";
    if (!answer.reply) return id + "failed: " + answer.reply.error().message;
    if (answer.reply->error) {
        return id + "refused " + answer.reply->error->error_class + " " +
               answer.reply->error->description;
    }
    return id + dump_json(answer.reply->value);
}

/// A session that has been given all commands of a recording, and what it says.
class Replay {
  public:
    explicit Replay(const QmpRecording& recording) {
        for (const auto& command : recording.commands) {
            std::vector<UniqueFd> fds;
            if (command.with_fd) fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            const auto& text = command.text;
            const auto id = session_.submit(Request(
                text.at("execute"), text.value("arguments", Json::object()), std::move(fds)));
            EXPECT_EQ(Json(id), text.at("id"));
        }
    }
    void feed(std::string_view bytes) {
        session_.receive(bytes);
        drain();
    }
    void end() {
        session_.end_of_stream();
        drain();
    }
    [[nodiscard]] const Transcript& transcript() const { return transcript_; }
    [[nodiscard]] const Session& session() const { return session_; }

  private:
    void drain() {
        while (const auto step = session_.next()) {
            transcript_.push_back(word(*step));
            write();
        }
        write();
    }
    void write() {
        for (auto out = session_.output(); !out.bytes.empty(); out = session_.output()) {
            session_.sent(out.bytes.size());
        }
    }

    Session session_;
    Transcript transcript_;
};

/// Feeds the recording in reads that end at `cuts` and after the greeting (QEMU answers nothing
/// before it was asked).
Transcript replay(const QmpRecording& recording, const std::string& stream,
                  std::vector<std::size_t> cuts) {
    cuts.push_back(recording.lines.empty() ? 0 : recording.lines.front().size() + 2);
    cuts.push_back(stream.size());
    std::ranges::sort(cuts);
    Replay session(recording);
    std::size_t start = 0;
    for (const auto cut : cuts) {
        session.feed(std::string_view(stream).substr(start, cut - start));
        start = cut;
    }
    if (recording.closed) session.end();
    return session.transcript();
}

/// What the recording says, read without our framer, messages and session.
Transcript expected(const QmpRecording& recording) {
    Transcript words;
    std::map<std::uint64_t, std::string> open;
    for (const auto& command : recording.commands) {
        open[command.text.at("id")] = command.text.at("execute");
    }
    for (const auto& line : recording.lines) {
        const auto json = Json::parse(line);
        if (json.contains("event")) {
            words.push_back("event " + json["event"].get<std::string>() + " " +
                            json.value("data", Json::object()).dump() + " " +
                            json["timestamp"]["seconds"].dump() + "." +
                            json["timestamp"]["microseconds"].dump());
        } else if (json.contains("id") && open.erase(json["id"]) != 0) {
            words.push_back(json["id"].dump() + " " +
                            (json.contains("return")
                                 ? json["return"].dump()
                                 : "refused " + json["error"]["class"].get<std::string>() + " " +
                                       json["error"]["desc"].get<std::string>()));
        } else if (json.contains("return")) {
            words.emplace_back("ready");
        }
    }
    if (!recording.closed) return words;
    for (const auto& [id, name] : open) {
        words.push_back(std::to_string(id) + " " + (name == "quit" ? "{}" : std::string(hung_up)));
    }
    words.emplace_back("ended: QEMU closed the QMP connection");
    return words;
}

class Recorded : public ::testing::TestWithParam<QmpRecording> {};

TEST_P(Recorded, SaysWhatQemuSaid) {
    const auto& recording = GetParam();
    EXPECT_EQ(replay(recording, recording.stream(), {}), expected(recording));
}

TEST_P(Recorded, EveryEventOfOursIsUnderstood) {
    for (const auto& line : GetParam().lines) {
        const auto message = parse_message(line);
        ASSERT_TRUE(message) << line;
        const auto* event = std::get_if<Event>(&*message);
        if (event == nullptr) continue;
        const auto typed = parse_event(*event);
        ASSERT_TRUE(typed) << typed.error().message;
        // One a pass over the memory is of no use to a supervisor.
        EXPECT_EQ(std::holds_alternative<OtherEvent>(*typed), event->name == "MIGRATION_PASS");
    }
}

TEST_P(Recorded, HasTheSameLinesCutAtEveryByteOffset) {
    const auto& recording = GetParam();
    const auto bytes = recording.stream();
    const auto stream = std::string_view(bytes);
    // Each cut costs all bytes and all lines: the storms and the schema are cut at a part of
    // theirs.
    const auto cost = stream.size() * (stream.size() + 200 * recording.lines.size());
    const auto step = 1 + cost / (100 * most_bytes());
    for (std::size_t cut = 0; cut <= stream.size(); cut += step) {
        Framer framer;
        std::size_t number = 0;
        for (const auto part : {stream.substr(0, cut), stream.substr(cut)}) {
            framer.feed(part);
            for (auto line = framer.next(); line && *line; line = framer.next()) {
                ASSERT_LT(number, recording.lines.size()) << "cut at " << cut;
                ASSERT_TRUE(**line == recording.lines[number]) << "cut at " << cut;
                ++number;
            }
        }
        ASSERT_EQ(number, recording.lines.size()) << "cut at " << cut;
    }
}

TEST_P(Recorded, IsTheSameCutAtEveryByteOffset) {
    const auto& recording = GetParam();
    const auto stream = recording.stream();
    const auto whole = replay(recording, stream, {});
    std::size_t longest = 0;
    for (const auto& line : recording.lines) longest = std::max(longest, line.size() + 2);
    const auto passes = std::min(longest, std::max(most_bytes() / stream.size(), std::size_t{2}));
    // Pass n cuts every line at its nth offset: all offsets of all lines in `longest` passes.
    for (std::size_t pass = 0; pass < passes; ++pass) {
        const auto offset = pass * longest / passes;
        std::vector<std::size_t> cuts;
        std::size_t start = 0;
        for (const auto& line : recording.lines) {
            cuts.push_back(start + std::min(offset, line.size() + 1));
            start += line.size() + 2;
        }
        ASSERT_EQ(replay(recording, stream, cuts), whole) << "each line cut at its byte " << offset;
    }
}

TEST_P(Recorded, IsTheSameForRandomCuts) {
    const auto& recording = GetParam();
    const auto stream = recording.stream();
    const auto whole = replay(recording, stream, {});
    std::mt19937 random(20'260);
    const auto sets =
        std::min(std::size_t{1000}, std::max(most_bytes() / 4 / stream.size(), std::size_t{2}));
    for (std::size_t set = 0; set < sets; ++set) {
        std::uniform_int_distribution<std::size_t> how_many(1, 40);
        std::uniform_int_distribution<std::size_t> where(0, stream.size());
        std::vector<std::size_t> cuts(how_many(random));
        std::ranges::generate(cuts, [&] { return where(random); });
        ASSERT_EQ(replay(recording, stream, cuts), whole) << "set " << set;
    }
}

TEST_P(Recorded, IsTheSameByteByByte) {
    const auto& recording = GetParam();
    const auto stream = recording.stream();
    std::vector<std::size_t> cuts(stream.size());
    for (std::size_t i = 0; i < cuts.size(); ++i) cuts[i] = i;
    EXPECT_EQ(replay(recording, stream, cuts), replay(recording, stream, {}));
}

INSTANTIATE_TEST_SUITE_P(Qmp, Recorded, ::testing::ValuesIn(test::qmp_recordings()),
                         [](const auto& tested) {
                             auto name = tested.param.name;
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

TEST(Recordings, AreFortyOrMoreOfBothMachines) {
    const auto recordings = test::qmp_recordings();
    EXPECT_GE(recordings.size(), 40U);
    const auto of = [&](std::string_view suffix) {
        return std::ranges::count_if(recordings,
                                     [&](const auto& r) { return r.name.ends_with(suffix); });
    };
    EXPECT_GE(of("-arm64"), 20);
    EXPECT_GE(of("-amd64"), 20);
}

}  // namespace
}  // namespace noxsup::qmp
