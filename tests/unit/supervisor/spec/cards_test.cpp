#include "supervisor/spec/cards.hpp"

#include <gmock/gmock.h>

namespace noxsup::spec {
namespace {

using testing::HasSubstr;

Network card(unsigned slot, std::optional<unsigned> spare_port = {}) {
    Network network;
    network.slot = slot;
    network.spare_port = spare_port;
    network.mac = "52:54:00:00:00:a" + std::to_string(slot);
    return network;
}

TEST(Cards, TheLowestFreeSlotIsTaken) {
    EXPECT_EQ(free_slot({}), 0U);
    EXPECT_EQ(free_slot({card(0), card(1)}), 2U);
    EXPECT_EQ(free_slot({card(2), card(0)}), 1U);
    EXPECT_EQ(free_slot({card(1)}), 0U);
    EXPECT_EQ(free_slot({card(0)}, {1, 2}), 3U);
    std::vector<Network> all;
    for (unsigned slot = 0; slot < max_networks; ++slot) all.push_back(card(slot));
    EXPECT_EQ(free_slot(all), std::nullopt);
    all.pop_back();
    EXPECT_EQ(free_slot(all), 7U);
    EXPECT_EQ(free_slot(all, {7}), std::nullopt);
}

TEST(Cards, TheLowestFreeSparePortIsTaken) {
    EXPECT_EQ(free_spare_port({card(0), card(1)}), 0U) << "they have places of their own";
    EXPECT_EQ(free_spare_port({card(0), card(1, 0), card(2, 2)}), 1U);
    EXPECT_EQ(free_spare_port({card(1, 0)}, {1, 2}), 3U);
    EXPECT_EQ(free_spare_port({card(1, 0), card(2, 1), card(3, 2), card(4, 3)}), std::nullopt);
    EXPECT_EQ(free_spare_port({card(1, 0)}, {1, 2, 3}), std::nullopt);
}

TEST(Cards, ACardIsFoundByNumberOrMac) {
    const std::vector cards{card(2), card(0)};
    EXPECT_EQ(*find_card(cards, "0"), 1U);
    EXPECT_EQ(*find_card(cards, "2"), 0U);
    EXPECT_EQ(*find_card(cards, "52:54:00:00:00:a0"), 1U);
    EXPECT_EQ(*find_card(cards, "52:54:00:00:00:A2"), 0U);
    for (const auto* text : {"1", "", "00", "0 ", "-1", "52:54:00:00:00:a1", "eth0", "\x1b[2J"}) {
        const auto found = find_card(cards, text);
        ASSERT_FALSE(found) << text;
        EXPECT_EQ(found.error().code, ErrorCode::invalid_argument);
        EXPECT_EQ(found.error().message.find('\x1b'), std::string::npos);
        EXPECT_THAT(found.error().hint, HasSubstr("2 (52:54:00:00:00:a2), 0 (52:54:00:00:00:a0)"));
    }
}

}  // namespace
}  // namespace noxsup::spec
