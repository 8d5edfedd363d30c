// Orders for a guest over a real socket, with this test as the guest.
#include "supervisor/vm/guest_orders.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/base/unique_fd.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::vm {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class GuestOrders : public testing::Test {
  protected:
    GuestOrders() {
        int pair[2] = {-1, -1};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ours_ = UniqueFd(pair[0]);
        guest_ = UniqueFd(pair[1]);
    }
    void guest_says(std::string_view text) {
        ASSERT_EQ(::write(guest_.get(), text.data(), text.size()),
                  static_cast<ssize_t>(text.size()));
    }
    Result<std::string> await(std::chrono::milliseconds limit = 30s) {
        return test::run_async(context_, await_order(ours_.get(), "t1", limit));
    }

    boost::asio::io_context context_;
    UniqueFd ours_;
    UniqueFd guest_;
};

TEST_F(GuestOrders, AreALineAndTheScript) {
    ASSERT_TRUE(post_order(ours_.get(), "echo 1\n", "t1"));
    std::string read(64, '\0');
    read.resize(static_cast<std::size_t>(::read(guest_.get(), read.data(), read.size())));
    EXPECT_EQ(read, "run 7 t1\necho 1\n");
}

TEST_F(GuestOrders, TheLongestOneGoesIntoThePortAtOnce) {
    EXPECT_TRUE(post_order(ours_.get(), std::string(max_order_bytes, '#'), "t1"));
    EXPECT_EQ(post_order(ours_.get(), std::string(max_order_bytes + 1, '#'), "t1").error().code,
              ErrorCode::invalid_argument);
    // A guest that reads nothing: the port is full in the end, and nobody waits.
    Result<> outcome;
    for (int i = 0; i < 100 && outcome; ++i)
        outcome = post_order(ours_.get(), std::string(max_order_bytes, '#'), "t1");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::io_error);
}

TEST_F(GuestOrders, TheAnswerToThisOneIsWaitedFor) {
    guest_says("noise\ndone t0 1 an earlier one\ndone t1 ");
    guest_says("0 \ndone t1 1\n");
    const auto words = await();
    ASSERT_TRUE(words);
    EXPECT_EQ(*words, "");
}

TEST_F(GuestOrders, TheLastWordsOfOneThatWentWellAreHanded) {
    guest_says("done t1 0 318144 kB\n");
    const auto words = await();
    ASSERT_TRUE(words);
    EXPECT_EQ(*words, "318144 kB");
}

TEST_F(GuestOrders, WhatFailedIsToldInTheGuestsWordsAndHarmsNoTerminal) {
    guest_says("done t1 127 sh: 3: \x1b[31mdate: not found\n");
    const auto outcome = await();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::guest_failed);
    EXPECT_THAT(outcome.error().message, testing::EndsWith("status 127"));
    EXPECT_THAT(outcome.error().evidence, ElementsAre("sh: 3: \\x1b[31mdate: not found"));
}

TEST_F(GuestOrders, AnEndlessLineIsNoAnswerAndTakesNoMemory) {
    const std::string piece(4096, 'x');
    for (int i = 0; i < 20; ++i) guest_says(piece);
    guest_says("\ndone t1 0\n");
    EXPECT_TRUE(await());
}

TEST_F(GuestOrders, AGuestThatSaysNothingIsLate) {
    const auto outcome = await(20ms);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::timeout);
    // The port is as before.
    guest_says("done t1 0\n");
    EXPECT_TRUE(await());
}

TEST_F(GuestOrders, AQemuThatEndsIsTold) {
    guest_.reset();
    const auto outcome = await();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::guest_failed);
}

}  // namespace
}  // namespace noxsup::vm
