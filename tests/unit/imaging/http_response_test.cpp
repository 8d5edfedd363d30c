#include "imaging/http_response.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/worker_protocol.hpp"

namespace noxsup::imaging {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t limit = 1000;

ResponseHead head_of(std::initializer_list<std::string_view> lines) {
    ResponseHead head;
    for (const auto line : lines) head.add_line(line);
    return head;
}

Judgement judge(std::initializer_list<std::string_view> lines, std::uint64_t offset = 0) {
    return judge_response(head_of(lines), ResumePoint{offset, "\"v1\""}, limit);
}

TEST(ResponseHead, KeepsTheLastAnswer) {
    const auto head =
        head_of({"HTTP/1.1 100 Continue\r\n", "ETag: \"old\"\r\n", "\r\n", "HTTP/2 200\r\n",
                 "content-length: 12\r\n", "ETAG:  \"new\" \r\n", "\r\n"});
    EXPECT_EQ(head.status(), 200);
    EXPECT_EQ(head.etag(), "\"new\"");
    EXPECT_EQ(head.content_length(), 12U);
}

TEST(ResponseHead, AnEndlessHeadIsRefused) {
    ResponseHead head;
    head.add_line("HTTP/1.1 200 OK");
    bool taken = true;
    for (int i = 0; i < 2000 && taken; ++i) taken = head.add_line("X: " + std::string(100, 'x'));
    EXPECT_FALSE(taken);
}

TEST(ResponseHead, WeakEtagsPutNothingTogether) {
    EXPECT_TRUE(head_of({"ETag: \"a\""}).has_strong_etag());
    for (const auto* etag : {"ETag: W/\"a\"", "ETag: a", "ETag: \"\"", "ETag:", "X: y"}) {
        EXPECT_FALSE(head_of({etag}).has_strong_etag()) << etag;
    }
}

TEST(ContentRange, ReadsOnlyTheTwoForms) {
    const auto range = parse_content_range("bytes 100-199/200");
    ASSERT_TRUE(range);
    EXPECT_EQ(range->first, 100U);
    EXPECT_EQ(range->last, 199U);
    EXPECT_EQ(parse_content_range("bytes */7")->total, 7U);
    for (const auto* bad :
         {"", "bytes", "bytes 1-2", "bytes 2-1/3", "bytes 0-3/3", "bytes -/3", "bytes 1-2/*",
          "items 0-1/2", "bytes 0-99999999999999999999/1", "bytes 0x1-2/3"}) {
        EXPECT_FALSE(parse_content_range(bad)) << bad;
    }
}

TEST(Judge, AWholeAnswerStartsAnew) {
    const auto whole = judge({"HTTP/1.1 200 OK", "Content-Length: 500"}, 100);
    EXPECT_EQ(whole.plan, BodyPlan::from_start);
    EXPECT_EQ(whole.total, 500U);
    EXPECT_EQ(judge({"HTTP/1.1 200 OK"}).plan, BodyPlan::from_start);
}

TEST(Judge, OnlyTheExactRestIsAppended) {
    const auto with = [](std::string_view range, std::string_view etag) {
        return judge({"HTTP/1.1 206 Partial", range, etag}, 100).plan;
    };
    EXPECT_EQ(with("Content-Range: bytes 100-199/200", "ETag: \"v1\""), BodyPlan::append);
    EXPECT_EQ(with("Content-Range: bytes 100-199/200", "ETag: \"v2\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes 100-199/200", "X: no etag"), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes 99-199/200", "ETag: \"v1\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes 0-199/200", "ETag: \"v1\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes 100-150/200", "ETag: \"v1\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("X: no range", "ETag: \"v1\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes 100-1999/2000", "ETag: \"v1\""), BodyPlan::refuse)
        << "beyond the limit";
    EXPECT_EQ(judge({"HTTP/1.1 206 Partial", "Content-Range: bytes 0-9/10", "ETag: \"v1\""}).plan,
              BodyPlan::refuse);
}

TEST(Judge, ARangeBeyondTheEndMayMeanComplete) {
    const auto with = [](std::string_view range, std::string_view etag) {
        return judge({"HTTP/1.1 416 No", range, etag}, 100).plan;
    };
    EXPECT_EQ(with("Content-Range: bytes */100", "ETag: \"v1\""), BodyPlan::complete);
    EXPECT_EQ(with("Content-Range: bytes */100", "ETag: \"v2\""), BodyPlan::again_from_start);
    EXPECT_EQ(with("Content-Range: bytes */90", "ETag: \"v1\""), BodyPlan::again_from_start);
    EXPECT_EQ(judge({"HTTP/1.1 416 No"}).plan, BodyPlan::refuse);
}

TEST(Judge, PagesEncodingsAndGiantsAreRefused) {
    const auto page = judge({"HTTP/1.1 200 OK", "Content-Type: Text/HTML; charset=utf-8"});
    EXPECT_EQ(page.plan, BodyPlan::refuse);
    EXPECT_THAT(page.error.message, HasSubstr("web page"));
    EXPECT_EQ(judge({"HTTP/1.1 200 OK", "Content-Encoding: gzip"}).plan, BodyPlan::refuse);
    EXPECT_EQ(judge({"HTTP/1.1 200 OK", "Content-Length: 1001"}).plan, BodyPlan::refuse);
    EXPECT_EQ(judge({"nonsense"}).plan, BodyPlan::refuse);
}

TEST(Judge, TellsAbsentServersFromBusyOnes) {
    const auto absent = judge({"HTTP/1.1 403 Forbidden"});
    EXPECT_EQ(absent.error.code, ErrorCode::vendor_unreachable);
    EXPECT_FALSE(absent.retry);
    EXPECT_TRUE(judge({"HTTP/1.1 503 Busy"}).retry);
    EXPECT_EQ(judge({"HTTP/1.1 204 Nothing"}).error.code, ErrorCode::download_failed);
}

class Answer : public testing::Test {
  protected:
    std::vector<Progress> seen_;
    WorkerAnswer answer_{[this](const Progress& progress) { seen_.push_back(progress); }};
};

constexpr std::string_view conversation =
    "{\"progress\":{\"stage\":\"download\",\"done\":1,\"total\":4,\"unit\":\"bytes\",\"rate\":2,"
    "\"eta\":3}}\n"
    "{\"progress\":{\"stage\":\"download\",\"done\":4,\"unit\":\"bytes\"}}\n"
    "{\"result\":{\"bytes\":4}}\n";

TEST_F(Answer, ComesTogetherFromAnyCut) {
    for (std::size_t cut = 0; cut <= conversation.size(); ++cut) {
        seen_.clear();
        WorkerAnswer answer([this](const Progress& progress) { seen_.push_back(progress); });
        answer.feed(conversation.substr(0, cut));
        answer.feed(conversation.substr(cut));
        const auto result = answer.take();
        ASSERT_TRUE(result) << cut;
        EXPECT_EQ((*result)["bytes"], 4);
        ASSERT_EQ(seen_.size(), 2U);
        EXPECT_EQ(seen_[0].total, 4U);
        EXPECT_EQ(seen_[0].eta, std::chrono::seconds(3));
        EXPECT_EQ(seen_[1].total, std::nullopt);
    }
}

TEST_F(Answer, AnErrorKeepsItsCodeAndLosesItsEscapes) {
    answer_.feed(
        "{\"error\":{\"code\":\"image-hostile\",\"message\":\"a\\u001b[2Jb\",\"evidence\":["
        "\"\\u0007\"]}}\n");
    const auto result = answer_.take();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::image_hostile);
    EXPECT_EQ(result.error().message, "a\\x1b[2Jb");
    EXPECT_EQ(result.error().evidence.at(0), "\\x07");
}

TEST_F(Answer, NonsenseAndSilenceAreErrors) {
    EXPECT_EQ(answer_.take().error().code, ErrorCode::protocol_error);
    for (const auto* text :
         {"nonsense\n", "[]\n", "{\"progress\":1}\n", "{\"progress\":{\"stage\":1}}\n"}) {
        WorkerAnswer answer{ProgressCallback()};
        answer.feed(text);
        answer.feed("{\"result\":{}}\n");
        EXPECT_EQ(answer.take().error().code, ErrorCode::protocol_error) << text;
    }
    WorkerAnswer endless{ProgressCallback()};
    endless.feed(std::string(worker_line_limit + 1, 'x'));
    EXPECT_EQ(endless.take().error().code, ErrorCode::protocol_error);
}

}  // namespace
}  // namespace noxsup::imaging
