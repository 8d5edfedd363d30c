#include "imaging/boot_report.hpp"

#include <gtest/gtest.h>

namespace noxsup::imaging {
namespace {

BootReport sample() {
    BootReport report;
    report.entry = {"/boot/vmlinuz-1", "/boot/initrd-1", "root=/dev/vda1 ro"};
    report.source = std::string(64, 'a');
    report.kernel_arch = "arm64";
    report.takes_units = true;
    report.copied = true;
    return report;
}

TEST(BootReport, ComesThroughJson) {
    const auto read = boot_report_from_json(to_json(sample()));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(to_json(*read), to_json(sample()));
    EXPECT_EQ(read->entry, sample().entry);
}

TEST(BootReport, OfAWorkerThatFellIsRefused) {
    const auto refuses = [](const char* key, const Json& value) {
        auto json = to_json(sample());
        json[key] = value;
        const auto read = boot_report_from_json(json);
        return !read && read.error().code == ErrorCode::protocol_error;
    };
    EXPECT_TRUE(refuses("kernel", "/boot/\x1b[2J"));
    EXPECT_TRUE(refuses("initrd", std::string(1025, 'a')));
    EXPECT_TRUE(refuses("command_line", "root=/dev/vda1\nro"));
    EXPECT_TRUE(refuses("command_line", std::string(2001, 'a')));
    EXPECT_TRUE(refuses("command_line", std::string("a\0b", 3)));
    EXPECT_TRUE(refuses("source", "../../etc"));
    EXPECT_TRUE(refuses("source", std::string(63, 'a')));
    EXPECT_TRUE(refuses("kernel_arch", 1));
    EXPECT_TRUE(refuses("takes_units", Json()));
}

TEST(BootRequest, ComesThroughJson) {
    BootRequest request;
    request.chain = {5, 6};
    request.kernel_fd = 7;
    request.initrd_fd = 8;
    request.known = "k";
    request.max_file_bytes = 9;
    const auto read = boot_request_from_json(to_json(request));
    ASSERT_TRUE(read);
    EXPECT_EQ(to_json(*read), to_json(request));
    EXPECT_FALSE(boot_request_from_json({{"chain", {"5"}}}));
}

}  // namespace
}  // namespace noxsup::imaging
