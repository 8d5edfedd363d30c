#include "netbridge/setup/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_dir.hpp"
#include "tests/unit/netbridge/setup/sample_plan.hpp"

namespace noxsup::netbridge::setup {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Journal sample(const std::string& bridge = "br0") {
    Journal journal;
    journal.phase = Phase::applied;
    journal.boot_id = "b-1";
    journal.deadline = BootTime(123456);
    journal.created_at = "2025-01-31T12:00:00Z";
    journal.plan = test::sample_plan();
    journal.plan.bridge = bridge;
    return journal;
}

TEST(Journal, ComesBackByteForByte) {
    const auto journal = sample();
    const auto back = journal_from_text(journal_to_text(journal));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->phase, journal.phase);
    EXPECT_EQ(back->boot_id, journal.boot_id);
    EXPECT_EQ(back->deadline, journal.deadline);
    EXPECT_EQ(back->created_at, journal.created_at);
    EXPECT_EQ(back->plan, journal.plan);
}

TEST(Journal, OneThatIsCutOffAnywhereIsDamaged) {
    const auto text = journal_to_text(sample());
    for (std::size_t length = 0; length + 1 < text.size(); ++length) {
        const auto journal = journal_from_text(text.substr(0, length));
        ASSERT_FALSE(journal) << length;
        ASSERT_EQ(journal.error().code, ErrorCode::protocol_error);
    }
}

TEST(Journal, OneByteThatIsNotAsItWasIsDamage) {
    const auto text = journal_to_text(sample());
    for (std::size_t at = 0; at + 1 < text.size(); ++at) {
        auto torn = text;
        torn[at] = torn[at] == '0' ? '1' : '0';
        ASSERT_FALSE(journal_from_text(torn)) << at;
        // What a power cut leaves of a block that was never written.
        std::fill(torn.begin() + static_cast<std::ptrdiff_t>(at), torn.end(), '\0');
        ASSERT_FALSE(journal_from_text(torn)) << at;
    }
}

TEST(Journal, AnotherVersionIsTold) {
    auto text = journal_to_text(sample());
    const auto at = text.find("\"noxsup_network\":1");
    ASSERT_NE(at, std::string::npos);
    text.replace(at, 18, "\"noxsup_network\":2");
    EXPECT_THAT(journal_from_text(text).error().message, HasSubstr("version 2"));
}

class Store : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_TRUE(store.prepare()); }
    test::TempDir directory;
    JournalStore store{directory / "lib/network"};
};

TEST_F(Store, IsForItsOwnerAlone) {
    struct stat info {};
    ASSERT_EQ(::stat((directory / "lib/network").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0700U);
    ASSERT_TRUE(store.save(sample()));
    ASSERT_EQ(::stat((directory / "lib/network/br0.pending").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
    ASSERT_EQ(::chmod((directory / "lib/network").c_str(), 0750), 0);
    EXPECT_EQ(store.prepare().error().code, ErrorCode::host_lacks_right);
}

TEST_F(Store, ALinkInItsPlaceIsNotFollowed) {
    std::filesystem::create_directory(directory / "elsewhere");
    std::filesystem::create_directory_symlink(directory / "elsewhere", directory / "lib/link");
    EXPECT_FALSE(JournalStore(directory / "lib/link").prepare());
}

TEST_F(Store, PendingIsConfirmedAndPendingAgain) {
    EXPECT_FALSE(store.has_pending());
    EXPECT_FALSE(*store.load("br0"));
    ASSERT_TRUE(store.save(sample()));
    EXPECT_TRUE(store.has_pending());
    EXPECT_FALSE((*store.load("br0"))->confirmed);
    ASSERT_TRUE(store.confirm("br0"));
    EXPECT_FALSE(store.has_pending());
    EXPECT_TRUE((*store.load("br0"))->confirmed);
    EXPECT_FALSE(store.confirm("br0"));
    ASSERT_TRUE(store.save(sample()));
    EXPECT_FALSE((*store.load("br0"))->confirmed);
    EXPECT_THAT(*store.list(), SizeIs(1));
    ASSERT_TRUE(store.remove("br0"));
    EXPECT_FALSE(*store.load("br0"));
    EXPECT_TRUE(store.remove("br0"));
}

TEST_F(Store, ListsAllAndTellsWhichAreDamaged) {
    ASSERT_TRUE(store.save(sample("br1")));
    ASSERT_TRUE(store.confirm("br1"));
    ASSERT_TRUE(store.save(sample("br0")));
    (void)directory.write("lib/network/br5.pending", "{");
    (void)directory.write("lib/network/br6.pending.ab12cd.tmp", "{");
    const auto entries = store.list();
    ASSERT_TRUE(entries);
    ASSERT_THAT(*entries, SizeIs(3));
    EXPECT_EQ((*entries)[0].bridge, "br0");
    EXPECT_TRUE((*entries)[1].journal->confirmed);
    EXPECT_FALSE((*entries)[2].journal);
    EXPECT_THAT((*entries)[2].journal.error().message, HasSubstr("br5.pending"));
    EXPECT_THAT(*JournalStore(directory / "none").list(), IsEmpty());
}

TEST_F(Store, OneAtATimeHoldsTheLock) {
    auto lock = store.lock(std::chrono::milliseconds(0));
    ASSERT_TRUE(lock);
    EXPECT_EQ(store.lock(std::chrono::milliseconds(10)).error().code, ErrorCode::wrong_state);
    lock->reset();
    EXPECT_TRUE(store.lock(std::chrono::milliseconds(10)));
}

}  // namespace
}  // namespace noxsup::netbridge::setup
