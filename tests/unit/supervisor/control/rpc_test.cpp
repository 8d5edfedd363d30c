#include "supervisor/control/rpc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace noxsup::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class T>
T parsed(std::string_view line) {
    auto outcome = parse_message(line);
    auto* message = std::get_if<Message>(&outcome);
    if (message == nullptr) throw std::runtime_error(std::get<Malformed>(outcome).problem);
    return std::get<T>(*message);
}

Malformed refused(std::string_view line) {
    auto outcome = parse_message(line);
    auto* bad = std::get_if<Malformed>(&outcome);
    if (bad == nullptr) throw std::runtime_error("taken as a message: " + std::string(line));
    return *bad;
}

std::string without_newline(std::string text) {
    EXPECT_TRUE(text.ends_with('\n'));
    text.pop_back();
    EXPECT_EQ(text.find('\n'), std::string::npos);
    return text;
}

std::vector<std::string> all_lines(LineFramer& framer) {
    std::vector<std::string> lines;
    while (auto line = framer.next()) lines.push_back(*line);
    return lines;
}

TEST(LineFramer, GivesTheSameLinesForEveryCut) {
    const std::string stream = "{\"a\":1}\n\n{\"b\":\"\xc3\xa4\"}\r\nlast\n";
    for (std::size_t first = 0; first <= stream.size(); ++first) {
        for (std::size_t second = first; second <= stream.size(); ++second) {
            LineFramer framer;
            ASSERT_TRUE(framer.feed(stream.substr(0, first)));
            auto lines = all_lines(framer);
            for (const auto& part : {stream.substr(first, second - first), stream.substr(second)}) {
                ASSERT_TRUE(framer.feed(part));
                for (auto& line : all_lines(framer)) lines.push_back(std::move(line));
            }
            ASSERT_THAT(lines, ElementsAre("{\"a\":1}", "", "{\"b\":\"\xc3\xa4\"}", "last"));
            ASSERT_FALSE(framer.partial());
        }
    }
}

TEST(LineFramer, KnowsAnUnfinishedLine) {
    LineFramer framer;
    ASSERT_TRUE(framer.feed("a\nb"));
    EXPECT_TRUE(framer.partial());
    EXPECT_EQ(framer.next(), "a");
    EXPECT_EQ(framer.next(), std::nullopt);
}

TEST(LineFramer, TakesALineOfTheLimitAndNotOneByteMore) {
    LineFramer fits(8);
    ASSERT_TRUE(fits.feed("12345678\n"));
    EXPECT_EQ(fits.next(), "12345678");
    for (std::size_t cut = 0; cut <= 9; ++cut) {
        LineFramer framer(8);
        const std::string line = "123456789";
        auto fed = framer.feed(line.substr(0, cut));
        if (fed) fed = framer.feed(line.substr(cut));
        ASSERT_FALSE(fed) << "cut at " << cut;
        EXPECT_EQ(fed.error().code, ErrorCode::protocol_error);
        EXPECT_FALSE(framer.feed("\n")) << "a broken stream stays broken";
        EXPECT_EQ(framer.next(), std::nullopt);
    }
}

TEST(Rpc, RequestsComeBackAsTheyWere) {
    Request request{7, "image.import", {{"name", "\xf0\x9f\x98\x80 \"x\"\n"}, {"fd", 0}}, 1};
    const auto back = parsed<Request>(without_newline(encode(request)));
    EXPECT_EQ(back.id, 7);
    EXPECT_EQ(back.method, "image.import");
    EXPECT_EQ(back.params, request.params);
    EXPECT_EQ(back.fds, 1U);
}

TEST(Rpc, TextIdsAreTakenAndGivenBack) {
    const auto request = parsed<Request>(R"({"jsonrpc":"2.0","id":"abc","method":"m"})");
    EXPECT_EQ(request.id, "abc");
    EXPECT_EQ(request.params, Json::object());
}

TEST(Rpc, NotificationsAndResponsesComeBackAsTheyWere) {
    const auto note = parsed<Notification>(
        without_newline(encode(Notification{"note", {{"call", 1}, {"text", "hello"}}})));
    EXPECT_EQ(note.method, "note");
    EXPECT_EQ(note.params["text"], "hello");
    const auto response =
        parsed<Response>(without_newline(encode(Response{3, {{"vms", Json::array()}}, 2})));
    EXPECT_EQ(response.id, 3);
    EXPECT_EQ(response.fds, 2U);
    EXPECT_EQ(response.result, Json({{"vms", Json::array()}}));
}

TEST(Rpc, EveryErrorCodeComesBackAsItWas) {
    for (const auto code : all_error_codes()) {
        Error error(code, "start testvm", "noxsup logs testvm");
        error.stage = "launch";
        error.evidence = {"qemu: no", "gone"};
        const auto back = parsed<ErrorResponse>(
            without_newline(encode(ErrorResponse{1, RpcCode::noxsup_error, error})));
        EXPECT_EQ(back.error.code, code);
        EXPECT_EQ(back.error.message, error.message);
        EXPECT_EQ(back.error.hint, error.hint);
        EXPECT_EQ(back.error.stage, error.stage);
        EXPECT_EQ(back.error.evidence, error.evidence);
        EXPECT_EQ(back.rpc_code, RpcCode::noxsup_error);
    }
}

TEST(Rpc, AnErrorCodeOfANewerBuildKeepsItsExitCode) {
    const auto error = error_from_json({{"code", "snapshot-not-found"}, {"exit", 4}});
    EXPECT_EQ(exit_code_of(error.code), 4);
    EXPECT_EQ(error_from_json({{"code", "odd"}, {"exit", 99}}).code, ErrorCode::failed);
    EXPECT_EQ(error_from_json({{"code", 5}, {"hint", 3}, {"evidence", "x"}}).code,
              ErrorCode::failed);
}

TEST(Rpc, ForeignErrorsGetACodeOfOurs) {
    const auto unknown = parsed<ErrorResponse>(
        R"({"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no method"}})");
    EXPECT_EQ(unknown.error.code, ErrorCode::protocol_mismatch);
    EXPECT_EQ(unknown.error.message, "no method");
    const auto params = parsed<ErrorResponse>(
        R"({"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad"}})");
    EXPECT_EQ(params.error.code, ErrorCode::invalid_argument);
}

TEST(Rpc, ErrorsWithBytesThatAreNoUtf8CanBeSent) {
    Error error(ErrorCode::qemu_failed, "qemu said \xff\xfe");
    const auto back = parsed<ErrorResponse>(
        without_newline(encode(ErrorResponse{1, RpcCode::noxsup_error, error})));
    EXPECT_THAT(back.error.message, HasSubstr("qemu said"));
}

struct BadLine {
    std::string_view line;
    RpcCode code;
    Json id;
};

TEST(Rpc, BrokenLinesAreToldApart) {
    const std::vector<BadLine> lines = {
        {"", RpcCode::parse_error, nullptr},
        {"nonsense", RpcCode::parse_error, nullptr},
        {"{\"jsonrpc\":\"2.0\"", RpcCode::parse_error, nullptr},
        {"\xff\xfe", RpcCode::parse_error, nullptr},
        {"[]", RpcCode::invalid_request, nullptr},
        {"null", RpcCode::invalid_request, nullptr},
        {"{}", RpcCode::invalid_request, nullptr},
        {R"({"id":1,"method":"m"})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"1.0","id":1,"method":"m"})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":2.0,"id":1,"method":"m"})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1,"method":5})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1,"method":"m","params":[1]})", RpcCode::invalid_params, 1},
        {R"({"jsonrpc":"2.0","id":1,"method":"m","params":null})", RpcCode::invalid_params, 1},
        {R"({"jsonrpc":"2.0","id":1.5,"method":"m"})", RpcCode::invalid_request, nullptr},
        {R"({"jsonrpc":"2.0","id":{},"method":"m"})", RpcCode::invalid_request, nullptr},
        {R"({"jsonrpc":"2.0","id":1,"method":"m","fds":-1})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1,"method":"m","fds":9})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1,"method":"m","fds":"1"})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","method":"m","fds":1})", RpcCode::invalid_request, nullptr},
        {R"({"jsonrpc":"2.0","id":1,"result":{},"error":{}})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","result":{}})", RpcCode::invalid_request, nullptr},
        {R"({"jsonrpc":"2.0","id":1,"error":"x"})", RpcCode::invalid_request, 1},
        {R"({"jsonrpc":"2.0","id":1,"error":{"code":"x"}})", RpcCode::invalid_request, 1},
    };
    for (const auto& [line, code, id] : lines) {
        const auto bad = refused(line);
        EXPECT_EQ(bad.rpc_code, code) << line;
        EXPECT_EQ(bad.id, id) << line;
        EXPECT_FALSE(bad.problem.empty()) << line;
    }
}

TEST(Rpc, LongTextIdsAndDeepNestingAreRefused) {
    const std::string id(65, 'x');
    EXPECT_TRUE(refused(R"({"jsonrpc":"2.0","method":"m","id":")" + id + "\"}").id.is_null());
    const std::string deep(100000, '[');
    EXPECT_EQ(refused(deep).rpc_code, RpcCode::parse_error);
}

TEST(Rpc, MutatedLinesNeverThrow) {
    const auto good = without_newline(
        encode(ErrorResponse{1, RpcCode::noxsup_error, Error(ErrorCode::failed, "m", "h")}));
    std::mt19937 random(1);
    for (int round = 0; round < 3000; ++round) {
        auto line = good;
        for (int change = 0; change < 3; ++change) {
            line[random() % line.size()] = static_cast<char>(random());
        }
        line.resize(line.size() - random() % 4);
        EXPECT_NO_THROW({ auto outcome = parse_message(line); });
    }
}

}  // namespace
}  // namespace noxsup::control
