#include "imaging/cpio.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::imaging {
namespace {

using testing::ElementsAre;

/// The names and contents of an archive, by the header's sizes alone.
std::vector<std::string> entries_of(const std::string& archive) {
    std::vector<std::string> entries;
    for (std::size_t at = 0; at < archive.size();) {
        EXPECT_EQ(archive.substr(at, 6), "070701");
        const auto field = [&](std::size_t index) {
            return std::stoul(archive.substr(at + 6 + index * 8, 8), nullptr, 16);
        };
        const auto name_at = at + 110;
        const auto content_at = (name_at + field(11) + 3) / 4 * 4;
        entries.push_back(std::string(archive.c_str() + name_at) + " " +
                          archive.substr(content_at, field(6)));
        at = (content_at + field(6) + 3) / 4 * 4;
    }
    return entries;
}

TEST(Cpio, HasDirectoriesBeforeWhatIsInThemOnce) {
    const auto archive = make_cpio({{"a/b/c", "12345", 0600}, {"a/d", "", 0755}, {"e", "6"}});
    EXPECT_EQ(archive.size() % 4, 0U);
    EXPECT_THAT(entries_of(archive),
                ElementsAre("a ", "a/b ", "a/b/c 12345", "a/d ", "e 6", "TRAILER!!! "));
    EXPECT_EQ(archive, make_cpio({{"a/b/c", "12345", 0600}, {"a/d", "", 0755}, {"e", "6"}}));
}

}  // namespace
}  // namespace noxsup::imaging
