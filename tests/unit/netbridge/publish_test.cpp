#include "netbridge/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace noxsup::netbridge {
namespace {

using testing::HasSubstr;

TEST(ParsePublish, ReadsEveryForm) {
    const auto parsed = [](std::string_view text) {
        const auto spec = parse_publish(text);
        return spec ? spec->to_string() : spec.error().message;
    };
    EXPECT_EQ(parsed("8080:80"), "127.0.0.1:8080:80/tcp");
    EXPECT_EQ(parsed("8080:80/tcp"), "127.0.0.1:8080:80/tcp");
    EXPECT_EQ(parsed("5353:53/udp"), "127.0.0.1:5353:53/udp");
    EXPECT_EQ(parsed("0.0.0.0:1:65535"), "0.0.0.0:1:65535/tcp");
    EXPECT_EQ(parsed("192.168.1.5:65535:1/udp"), "192.168.1.5:65535:1/udp");
    EXPECT_EQ(*parse_publish(parse_publish("8080:80")->to_string()), *parse_publish("8080:80"));
}

TEST(ParsePublish, RefusesTheRestAndShowsTheForm) {
    for (const std::string_view text : {"",
                                        "80",
                                        ":80",
                                        "8080:",
                                        "0:80",
                                        "80:0",
                                        "65536:80",
                                        "80:65536",
                                        "-1:80",
                                        "+1:80",
                                        "8080:80/",
                                        "8080:80/sctp",
                                        "8080:80/TCP",
                                        "8080:80/tcp/udp",
                                        "localhost:8080:80",
                                        ":8080:80",
                                        "1.2.3:1:2",
                                        "224.0.0.1:1:2",
                                        "[::1]:8080:80",
                                        "::1:8080:80",
                                        "8080 :80",
                                        "0x50:80",
                                        "1:2:3:4",
                                        "127.0.0.1:8080:80:90"}) {
        const auto spec = parse_publish(text);
        ASSERT_FALSE(spec) << text;
        EXPECT_EQ(spec.error().code, ErrorCode::invalid_argument) << text;
        EXPECT_THAT(spec.error().hint, HasSubstr("HOSTPORT:GUESTPORT")) << text;
    }
}

TEST(CheckPublishList, FindsAPortWantedTwice) {
    const auto check = [](std::initializer_list<const char*> texts) {
        std::vector<PublishSpec> specs;
        for (const auto* text : texts) specs.push_back(*parse_publish(text));
        const auto result = check_publish_list(specs);
        return result ? "fine" : result.error().message;
    };
    EXPECT_EQ(check({}), "fine");
    EXPECT_EQ(check({"8080:80", "8081:80", "8080:80/udp"}), "fine");
    EXPECT_EQ(check({"127.0.0.1:8080:80", "127.0.0.2:8080:80"}), "fine");
    EXPECT_THAT(check({"8080:80", "8080:81"}), HasSubstr("published twice"));
    EXPECT_THAT(check({"8080:80", "9090:1", "0.0.0.0:8080:81"}), HasSubstr("8080"));
}

}  // namespace
}  // namespace noxsup::netbridge
