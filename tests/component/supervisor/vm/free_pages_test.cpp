// The words with a balloon, against a scripted peer.
#include "supervisor/vm/free_pages.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_async.hpp"
#include "tests/support/scripted_qmp_peer.hpp"

namespace noxsup::vm {
namespace {

using test::ScriptedQmpPeer;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;
constexpr std::uint64_t memory = 512 * mebibyte;
constexpr std::uint64_t free_memory = 232 * mebibyte;
/// All but what the guest keeps for itself.
constexpr std::uint64_t lent = memory - 200 * mebibyte;

/// What the peer wants to hear, and what came of it.
Result<> empty(ScriptedQmpPeer& peer, std::uint64_t free = free_memory) {
    boost::asio::io_context context;
    auto client = test::run_async(context, qmp::Client::connect(peer.path()));
    if (!client) return std::move(client).error();
    auto outcome = test::run_async(context, empty_free_pages(**client, memory, free));
    client->reset();
    EXPECT_EQ(peer.finish(), "");
    return outcome;
}

void tell(ScriptedQmpPeer& peer, std::uint64_t bytes) {
    peer.answer(peer.expect("query-balloon"), Json{{"actual", bytes}});
}

void lend(ScriptedQmpPeer& peer, std::uint64_t bytes) {
    const auto command = peer.expect("balloon");
    EXPECT_EQ(command["arguments"]["value"], bytes);
    peer.answer(command);
}

TEST(FreePages, AreLentToTheBalloonAndComeBack) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        tell(p, memory);
        lend(p, lent);
        tell(p, memory);
        tell(p, memory - 100 * mebibyte);
        tell(p, lent);
        lend(p, memory);
        tell(p, lent);
        tell(p, memory);
        p.expect_hang_up();
    });
    EXPECT_TRUE(empty(peer));
}

TEST(FreePages, ABalloonThatKeepsSomeIsAnError) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        tell(p, memory);
        lend(p, lent);
        tell(p, lent);
        lend(p, memory);
        try {
            for (;;) tell(p, lent);
        } catch (const std::exception&) {
            // It was asked until the other side gave up.
        }
    });
    const auto outcome = empty(peer);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::guest_failed);
}

TEST(FreePages, OfAGuestWithoutADriverStayAsTheyAre) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        tell(p, memory);
        lend(p, lent);
        try {
            for (;;) {
                const auto command = p.read_command();
                if (command["execute"] == "query-balloon") {
                    p.answer(command, Json{{"actual", memory}});
                } else {
                    EXPECT_EQ(command["arguments"]["value"], memory);
                    p.answer(command);
                }
            }
        } catch (const std::exception&) {
        }
    });
    EXPECT_TRUE(empty(peer));
}

TEST(FreePages, AMachineWithoutABalloonIsAskedForNothing) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.refuse(p.expect("query-balloon"), "DeviceNotActive",
                 "No balloon device has been activated");
        p.expect_hang_up();
    });
    EXPECT_TRUE(empty(peer));
}

TEST(FreePages, AGuestThatHasNoneOrTellsNonsenseKeepsThem) {
    for (const auto free : {std::uint64_t{0}, 16 * mebibyte, memory, memory * 2}) {
        ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
            p.negotiate();
            p.expect_hang_up();
        });
        EXPECT_TRUE(empty(peer, free));
    }
}

TEST(FreePages, AreToldInKibibytes) {
    EXPECT_EQ(free_bytes_of("318144"), 318144U * 1024);
    for (const auto* words : {"", "318144 kB", "-1", "99999999999999999999", "sh: not found"})
        EXPECT_EQ(free_bytes_of(words), 0U) << words;
}

}  // namespace
}  // namespace noxsup::vm
