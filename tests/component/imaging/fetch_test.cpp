// Every way a download can go wrong ends in the right file or in none.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <random>

#include "imaging/http_response.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/process.hpp"
#include "tests/support/fault_http_server.hpp"
#include "tests/support/image_test.hpp"
#include "tests/support/long_run.hpp"

namespace noxsup::imaging {
namespace {

using namespace std::chrono_literals;
using test::FaultHttpServer;
using test::HttpExchange;
using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;

constexpr auto etag = "\"v1\"";

std::string pattern(std::size_t bytes) {
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 2654435761U >> 11U);
    return text;
}

class FetchTest : public test::ImageTest {
  protected:
    FetchTest() : content_(pattern(300'000)) {}

    FetchRequest request(const std::string& url) {
        part_ = *open_file(dir_ / "image.part", O_RDWR | O_CREAT);
        state_ = *open_file(dir_ / "image.part.json", O_RDWR | O_CREAT);
        FetchRequest request;
        request.url = url;
        request.output_fd = part_.get();
        request.state_fd = state_.get();
        request.max_bytes = 1'000'000;
        request.attempts = 3;
        request.retry_delay = 10ms;
        request.stall_timeout = 1s;
        request.connect_timeout = 2s;
        return request;
    }
    Result<FetchResult> fetch(const std::string& url) {
        progress_.clear();
        auto prepared = request(url);
        return run(worker_.fetch(prepared, [this](const Progress& p) { progress_.push_back(p); }));
    }
    /// Plants a part as a former run would have left it.
    void plant_part(const std::string& url, std::string_view bytes, const std::string& tag,
                    std::uint64_t total) {
        dir_.write("image.part", bytes);
        Json state;
        state["url"] = url;
        state["etag"] = tag;
        state["total"] = total;
        dir_.write("image.part.json", dump_json(state));
    }
    std::string part() { return test::slurp(dir_ / "image.part"); }

    void expect_the_file(const Result<FetchResult>& result) {
        ASSERT_TRUE(result) << result.error().message;
        EXPECT_EQ(result->bytes, content_.size());
        EXPECT_TRUE(part() == content_);
    }

    std::string content_;
    UniqueFd part_;
    UniqueFd state_;
    std::vector<Progress> progress_;
};

TEST_F(FetchTest, GetsAWholeFileAndTellsHowFarItIs) {
    const FaultHttpServer server(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    expect_the_file(fetch(server.url("/image")));
    ASSERT_FALSE(progress_.empty());
    EXPECT_EQ(progress_.back().done, content_.size());
    EXPECT_EQ(progress_.back().total, content_.size());
    EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(FetchTest, ResumesWhereItStopped) {
    const FaultHttpServer server(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    const auto url = server.url("/image");
    plant_part(url, content_.substr(0, 100'000), etag, content_.size());
    const auto result = fetch(url);
    expect_the_file(result);
    EXPECT_TRUE(result->resumed);
    ASSERT_EQ(server.requests().size(), 1U);
    EXPECT_EQ(server.requests()[0].range_start(), 100'000U);
    EXPECT_EQ(server.requests()[0].headers.at("if-range"), etag);
}

TEST_F(FetchTest, ACompletePartNeedsNoRequest) {
    const FaultHttpServer server(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    const auto url = server.url("/image");
    plant_part(url, content_, etag, content_.size());
    expect_the_file(fetch(url));
    EXPECT_TRUE(server.requests().empty());
}

TEST_F(FetchTest, ACompletePartOfUnknownLengthIsConfirmedBy416) {
    const FaultHttpServer server(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    const auto url = server.url("/image");
    plant_part(url, content_, etag, 0);
    expect_the_file(fetch(url));
    EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(FetchTest, APartOfAnotherUrlOrWithoutATagIsDropped) {
    const FaultHttpServer server(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    plant_part("https://elsewhere.example/image", "other bytes", etag, content_.size());
    expect_the_file(fetch(server.url("/image")));
    plant_part(server.url("/image"), "other bytes", "", content_.size());
    expect_the_file(fetch(server.url("/image")));
    dir_.write("image.part.json", "damaged");
    dir_.write("image.part", "other bytes");
    expect_the_file(fetch(server.url("/image")));
    for (const auto& each : server.requests()) EXPECT_FALSE(each.range_start());
}

/// A server that is honest to whole requests and answers ranges by `fault`.
struct RangeFault {
    const char* name;
    std::function<void(const HttpExchange&, const std::string&)> answer;
};

class RangeFaultTest : public FetchTest, public testing::WithParamInterface<RangeFault> {};

TEST_P(RangeFaultTest, EndsInTheRightFile) {
    const FaultHttpServer server([this](const HttpExchange& exchange) {
        if (exchange.request().range_start()) {
            GetParam().answer(exchange, content_);
        } else {
            exchange.serve(content_, etag);
        }
    });
    const auto url = server.url("/image");
    plant_part(url, content_.substr(0, 100'000), etag, content_.size());
    expect_the_file(fetch(url));
}

const std::string tag_header = std::string("ETag: ") + etag;

INSTANTIATE_TEST_SUITE_P(
    Faults, RangeFaultTest,
    testing::Values(
        RangeFault{"IgnoredRange", [](const HttpExchange& e,
                                      const std::string& c) { e.respond(200, {tag_header}, c); }},
        RangeFault{"OtherStart",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206, {tag_header, "Content-Range: bytes 50000-299999/300000"},
                                 c.substr(50'000));
                   }},
        RangeFault{"ShorterRange",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206, {tag_header, "Content-Range: bytes 100000-199999/300000"},
                                 c.substr(100'000, 100'000));
                   }},
        RangeFault{"NoContentRange",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206, {tag_header}, c.substr(100'000));
                   }},
        RangeFault{"ChangedEtag",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206, {"ETag: \"v2\"", "Content-Range: bytes 100000-299999/300000"},
                                 c.substr(100'000));
                   }},
        RangeFault{"NoEtag",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206, {"Content-Range: bytes 100000-299999/300000"},
                                 c.substr(100'000));
                   }},
        RangeFault{
            "RangeWithABody416",
            [](const HttpExchange& e, const std::string&) {
                e.respond(416, {tag_header, "Content-Range: bytes */12"}, "<html>not there</html>");
            }},
        RangeFault{"Bare416",
                   [](const HttpExchange& e, const std::string&) { e.respond(416, {}, "no"); }},
        RangeFault{"Multipart",
                   [](const HttpExchange& e, const std::string&) {
                       e.respond(206,
                                 {tag_header, "Content-Type: multipart/byteranges; boundary=x"},
                                 "--x\r\n\r\n--x--");
                   }},
        RangeFault{"GzipRange",
                   [](const HttpExchange& e, const std::string& c) {
                       e.respond(206,
                                 {tag_header, "Content-Encoding: gzip",
                                  "Content-Range: bytes 100000-299999/300000"},
                                 c.substr(100'000));
                   }}),
    [](const auto& parameter) { return parameter.param.name; });

TEST_F(FetchTest, AnswersCutShortAreContinued) {
    std::atomic<int> count = 0;
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        if (++count == 1) {
            exchange.respond(200, {tag_header, "Content-Length: 300000"},
                             content_.substr(0, 120'000));
        } else {
            exchange.serve(content_, etag);
        }
    });
    expect_the_file(fetch(server.url("/image")));
    EXPECT_EQ(server.requests().at(1).range_start(), 120'000U);
}

TEST_F(FetchTest, AServerThatAlwaysEndsEarlyAndBeginsAnewIsGivenUp) {
    const std::string half(std::size_t{2} << 20, 'x');
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        exchange.respond(200, {tag_header, "Content-Length: 4194304"}, half);
    });
    auto prepared = request(server.url("/image"));
    prepared.max_bytes = std::uint64_t{8} << 20;
    const auto result = run(worker_.fetch(prepared, ProgressCallback()));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::download_failed);
    EXPECT_LT(server.requests().size(), 10U) << "the same bytes again are no progress";
}

TEST_F(FetchTest, ResetsAndBusyServersAreTriedAgain) {
    std::atomic<int> count = 0;
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        const auto number = ++count;
        if (number == 1) {
            exchange.send("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 300000\r\n\r\nabc");
            exchange.reset();
        } else if (number == 2) {
            exchange.respond(503, {"Retry-After: 1"}, "busy");
        } else {
            exchange.respond(200, {tag_header}, content_);
        }
    });
    expect_the_file(fetch(server.url("/image")));
    EXPECT_EQ(count, 3);
}

TEST_F(FetchTest, ChunkedAnswersOfUnknownLengthAreTaken) {
    const FaultHttpServer server([this](const HttpExchange& exchange) {
        exchange.respond(200, {tag_header, "Transfer-Encoding: chunked"},
                         "493e0\r\n" + content_ + "\r\n0\r\n\r\n");
    });
    expect_the_file(fetch(server.url("/image")));
}

TEST_F(FetchTest, AChunkedAnswerCutShortIsNoWholeFile) {
    const FaultHttpServer server([this](const HttpExchange& exchange) {
        exchange.respond(200, {"Transfer-Encoding: chunked"},
                         "493e0\r\n" + content_.substr(0, 1000));
    });
    const auto result = fetch(server.url("/image"));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::download_failed);
}

/// A server whose every answer is this one: there must be an error, soon, of this kind.
struct LastingFault {
    const char* name;
    std::function<void(const HttpExchange&)> answer;
    ErrorCode code;
    const char* words;
};

class LastingFaultTest : public FetchTest, public testing::WithParamInterface<LastingFault> {};

TEST_P(LastingFaultTest, EndsInAnError) {
    const FaultHttpServer server(GetParam().answer);
    const auto begin = std::chrono::steady_clock::now();
    const auto result = fetch(server.url("/image"));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, GetParam().code) << result.error().message;
    EXPECT_THAT(result.error().message, HasSubstr(GetParam().words));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
    EXPECT_LE(std::filesystem::file_size(dir_ / "image.part"), 1'000'000U);
}

void endless_body(const HttpExchange& exchange, const char* head) {
    exchange.send(head);
    const std::string piece(65536, 'x');
    while (exchange.send(piece)) {
    }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, LastingFaultTest,
    testing::Values(
        LastingFault{"WebPage",
                     [](const HttpExchange& e) {
                         e.respond(200, {"Content-Type: text/html"}, "<html>log in</html>");
                     },
                     ErrorCode::download_failed, "web page"},
        LastingFault{"WebPageInDisguise",
                     [](const HttpExchange& e) {
                         e.respond(200, {"Content-Type: application/octet-stream"},
                                   "\n<!doctype HTML><html>");
                     },
                     ErrorCode::download_failed, "web page"},
        LastingFault{"GzipBomb",
                     [](const HttpExchange& e) {
                         e.respond(200, {"Content-Encoding: gzip"}, "\x1f\x8b\x08");
                     },
                     ErrorCode::download_failed, "encoded answer"},
        LastingFault{
            "TooLong",
            [](const HttpExchange& e) { e.respond(200, {"Content-Length: 99999999999"}, "x"); },
            ErrorCode::download_failed, "more than"},
        LastingFault{"EndlessBody",
                     [](const HttpExchange& e) { endless_body(e, "HTTP/1.1 200 OK\r\n\r\n"); },
                     ErrorCode::download_failed, "more than"},
        LastingFault{"EndlessHead",
                     [](const HttpExchange& e) {
                         e.send("HTTP/1.1 200 OK\r\n");
                         while (e.send("X-Filler: " + std::string(1000, 'x') + "\r\n")) {
                         }
                     },
                     ErrorCode::download_failed, ""},
        LastingFault{"EndlessRedirectBody",
                     [](const HttpExchange& e) {
                         endless_body(e,
                                      "HTTP/1.1 302 Go\r\nLocation: http://10.255.255.1/\r\n\r\n");
                     },
                     ErrorCode::download_failed, "redirects"},
        LastingFault{"RedirectToPlainHttp",
                     [](const HttpExchange& e) {
                         e.respond(302, {"Location: http://mirror.example/image"}, "");
                     },
                     ErrorCode::download_failed, "plain http"},
        LastingFault{
            "RedirectToAFile",
            [](const HttpExchange& e) { e.respond(301, {"Location: file:///etc/passwd"}, ""); },
            ErrorCode::download_failed, "only https"},
        LastingFault{"RedirectLoop",
                     [](const HttpExchange& e) { e.respond(302, {"Location: /image"}, ""); },
                     ErrorCode::download_failed, "redirect"},
        LastingFault{"RedirectNowhere", [](const HttpExchange& e) { e.respond(302, {}, ""); },
                     ErrorCode::download_failed, "without a place"},
        LastingFault{"SlowAsOneByteASecond",
                     [](const HttpExchange& e) {
                         e.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
                         while (e.send("x") && e.wait(1s)) {
                         }
                     },
                     ErrorCode::download_failed, ""},
        LastingFault{"Silence", [](const HttpExchange& e) { static_cast<void>(e.wait(8s)); },
                     ErrorCode::vendor_unreachable, ""},
        LastingFault{"AlwaysReset", [](const HttpExchange& e) { e.reset(); },
                     ErrorCode::vendor_unreachable, ""},
        LastingFault{"NotHttp", [](const HttpExchange& e) { e.send("SSH-2.0-OpenSSH_9.2\r\n"); },
                     ErrorCode::vendor_unreachable, ""},
        LastingFault{
            "PartNobodyAskedFor",
            [](const HttpExchange& e) { e.respond(206, {"Content-Range: bytes 0-0/1"}, "x"); },
            ErrorCode::download_failed, "nobody asked"},
        LastingFault{"NotFound", [](const HttpExchange& e) { e.respond(404, {}, "no"); },
                     ErrorCode::vendor_unreachable, "404"},
        LastingFault{"ForbiddenByAProxy", [](const HttpExchange& e) { e.respond(403, {}, "no"); },
                     ErrorCode::vendor_unreachable, "403"},
        LastingFault{"Broken", [](const HttpExchange& e) { e.respond(500, {}, "no"); },
                     ErrorCode::vendor_unreachable, "500"},
        LastingFault{"NoContent", [](const HttpExchange& e) { e.respond(204, {}, ""); },
                     ErrorCode::download_failed, "204"}),
    [](const auto& parameter) { return parameter.param.name; });

TEST_F(FetchTest, AServerThatChangesItsAnswerForEverIsGivenUp) {
    std::atomic<int> version = 0;
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        const auto tag = "ETag: \"v" + std::to_string(++version) + "\"";
        exchange.respond(200, {tag, "Content-Length: 300000"}, content_.substr(0, 1000));
    });
    EXPECT_FALSE(fetch(server.url("/image")));
    EXPECT_LT(version, 10);
}

TEST_F(FetchTest, RedirectsOnLoopbackAreFollowed) {
    const FaultHttpServer target(
        [this](const HttpExchange& exchange) { exchange.serve(content_, etag); });
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        exchange.respond(307, {"Location: " + target.url("/there")}, "moved");
    });
    expect_the_file(fetch(server.url("/image")));
}

TEST_F(FetchTest, NamesInHeadersChooseNothing) {
    const FaultHttpServer server([this](const HttpExchange& exchange) {
        exchange.respond(200, {"Content-Disposition: attachment; filename=\"../../../../etc/x\""},
                         content_);
    });
    expect_the_file(fetch(server.url("/../../up?name=/etc/x")));
    EXPECT_THAT(test::names_in(dir_.path()), testing::ElementsAre("image.part", "image.part.json"));
}

TEST_F(FetchTest, NobodyThereIsTold) {
    std::string url;
    {
        const FaultHttpServer server([](const HttpExchange&) {});
        url = server.url("/image");
    }
    const auto result = fetch(url);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::vendor_unreachable);
    const auto name = fetch("https://no-such-host.invalid/image");
    ASSERT_FALSE(name);
    EXPECT_EQ(name.error().code, ErrorCode::vendor_unreachable);
}

TEST_F(FetchTest, PlainHttpElsewhereIsNotEvenTried) {
    const auto result = fetch("http://192.0.2.1/image");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
}

/// Kills the worker by cancelling at many points of the download, and resumes each time.
TEST_F(FetchTest, InterruptedAnywhereItGoesOnToTheSameBytes) {
    content_ = pattern(400'000);
    const FaultHttpServer server([this](const HttpExchange& exchange) {
        const auto start = exchange.request().range_start().value_or(0);
        const auto range = "Content-Range: bytes " + std::to_string(start) + "-399999/400000";
        const std::vector<std::string> headers{
            tag_header, "Content-Length: " + std::to_string(400'000 - start), range};
        exchange.respond(exchange.request().range_start() ? 206 : 200, headers, "");
        for (auto at = start; at < content_.size(); at += 4000) {
            if (!exchange.send(std::string_view(content_).substr(at, 4000)) || !exchange.wait(2ms))
                return;
        }
    });
    const auto url = server.url("/image");
    int interruptions = 0;
    for (int round = 0; round < 200; ++round) {
        auto prepared = request(url);
        namespace asio = boost::asio;
        const auto attempt = [&]() -> asio::awaitable<Result<FetchResult>> {
            auto fetching = worker_.fetch(prepared, ProgressCallback());
            Error late(ErrorCode::timeout, "cut off");
            auto limited = with_deadline(std::move(fetching),
                                         std::chrono::milliseconds(150 + 7 * round), late);
            co_return co_await std::move(limited);
        };
        const auto result = run(attempt());
        if (result) break;
        ++interruptions;
        const auto so_far = part();
        ASSERT_TRUE(content_.starts_with(so_far)) << "after " << so_far.size() << " bytes";
    }
    EXPECT_TRUE(part() == content_);
    EXPECT_GE(interruptions, 1);
}

/// kill -9 of the worker at random points of the download, and once after its last byte.
/// NOXSUP_LONG takes ten times as many.
TEST_F(FetchTest, KilledAnywhereItGoesOnToTheSameBytes) {
    const int kills = test::is_long_run() ? 200 : 20;
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    content_ = pattern(1'000'000);
    // The worker's pid is its starter's: the wrapper becomes the worker.
    const auto pid_file = dir_ / "pid";
    dir_.write("worker", "#!/bin/sh\necho $$ >" + pid_file.string() + "\nexec " +
                             find_libexec("noxsup-worker")->string() + " \"$@\"\n");
    std::filesystem::permissions(dir_ / "worker", std::filesystem::perms::owner_all);
    WorkerClient worker(runner_, dir_ / "worker");
    std::atomic<int> killed = 0;
    const FaultHttpServer server([&](const HttpExchange& exchange) {
        const auto start = exchange.request().range_start().value_or(0);
        const auto left = content_.size() - start;
        if (killed == kills) return exchange.serve(content_, etag);
        const auto victim = open_pidfd(std::stoi(test::slurp(pid_file)));
        // So far apart that the last point is near the end of the file.
        const auto to_come = static_cast<std::size_t>(kills - killed);
        const auto reach = std::min(left, 2 * left / to_come);
        const auto point =
            to_come == 1 ? left : std::uniform_int_distribution<std::size_t>(0, reach)(random);
        const auto size = std::to_string(content_.size());
        const auto range = "Content-Range: bytes " + std::to_string(start) + "-" +
                           std::to_string(content_.size() - 1) + "/" + size;
        exchange.respond(exchange.request().range_start() ? 206 : 200,
                         {tag_header, "Content-Length: " + std::to_string(left), range},
                         std::string_view(content_).substr(start, point));
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
        ++killed;
        if (victim) static_cast<void>(send_signal(victim->get(), SIGKILL));
    });
    int interruptions = 0;
    for (;; ++interruptions) {
        ASSERT_LE(interruptions, kills);
        auto prepared = request(server.url("/image"));
        const auto result = run(worker.fetch(prepared, ProgressCallback()));
        if (result) {
            expect_the_file(result);
            break;
        }
        const auto so_far = part();
        ASSERT_TRUE(content_.starts_with(so_far)) << "after " << so_far.size() << " bytes";
    }
    EXPECT_EQ(killed, kills);
    EXPECT_GE(interruptions, kills - 1) << "after the last byte it may have ended by itself";
    const auto digest = run(worker_.digest(part_.get(), ProgressCallback()));
    ASSERT_TRUE(digest) << digest.error().message;
    EXPECT_EQ(digest->sha256, test::sha256_of(content_));
}

}  // namespace
}  // namespace noxsup::imaging
