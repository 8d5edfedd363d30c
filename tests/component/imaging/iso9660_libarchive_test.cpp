// 10,000 random trees, written and read back through libarchive, as Rock Ridge and as Joliet.
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <clocale>
#include <memory>

#include "tests/support/iso_trees.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

using Contents = std::map<std::string, std::string>;

constexpr std::uint64_t trees_per_shard = 1250;
constexpr std::uint64_t shards = 8;

/// What libarchive sees: directories as "path/" without content. Throws what it complains about.
Contents read_with_libarchive(const std::string& image, const char* options) {
    const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
    auto* const a = reader.get();
    const auto check = [&](int status) {
        if (status != ARCHIVE_OK) throw std::runtime_error(archive_error_string(a));
    };
    check(archive_read_support_format_iso9660(a));
    check(archive_read_set_options(a, options));
    check(archive_read_open_memory(a, image.data(), image.size()));
    Contents result;
    archive_entry* entry = nullptr;
    while (true) {
        const int status = archive_read_next_header(a, &entry);
        if (status == ARCHIVE_EOF) break;
        check(status);
        std::string path = archive_entry_pathname_utf8(entry);
        if (archive_entry_hardlink(entry) != nullptr)
            throw std::runtime_error("hard link: " + path);
        if (archive_entry_filetype(entry) == AE_IFDIR) {
            if (path != ".") result.emplace(path + '/', "");
            continue;
        }
        std::string data(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
        const auto got = data.empty() ? 0 : archive_read_data(a, data.data(), data.size());
        if (got != static_cast<la_ssize_t>(data.size())) throw std::runtime_error("short: " + path);
        if (!result.emplace(path, std::move(data)).second)
            throw std::runtime_error("twice: " + path);
    }
    return result;
}

Contents expected(const test::IsoTree& tree) {
    Contents result(tree.files.begin(), tree.files.end());
    for (const auto& directory : tree.directories) result.emplace(directory + '/', "");
    return result;
}

/// The first path whose content differs, or that only one side has; empty when both are the same.
std::string difference(const Contents& found, const Contents& wanted) {
    const auto [a, b] = std::ranges::mismatch(found, wanted);
    if (a == found.end() && b == wanted.end()) return {};
    return "found '" + (a == found.end() ? "nothing" : a->first) + "', wanted '" +
           (b == wanted.end() ? "nothing" : b->first) + "'";
}

class IsoTrees : public testing::TestWithParam<std::uint64_t> {
  protected:
    // libarchive converts names by the locale.
    void SetUp() override { ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr); }
    void TearDown() override { std::setlocale(LC_CTYPE, "C"); }
};

TEST_P(IsoTrees, AreReadBackIdenticallyByLibarchive) {
    std::size_t files = 0;
    for (std::uint64_t i = 0; i < trees_per_shard; ++i) {
        const auto seed = GetParam() * trees_per_shard + i;
        const auto tree = test::random_iso_tree(seed);
        const auto image = make_image(tree.entries(), {});
        ASSERT_TRUE(image) << seed << ": " << image.error().message;
        ASSERT_EQ(image->size() % 2048, 0U);
        const auto want = expected(tree);
        for (const auto* options : {"iso9660:!joliet", "iso9660:!rockridge"}) {
            ASSERT_EQ(difference(read_with_libarchive(*image, options), want), "")
                << options << ", seed " << seed;
        }
        files += tree.files.size();
    }
    EXPECT_GT(files, trees_per_shard) << "the generator made next to no files";
}

INSTANTIATE_TEST_SUITE_P(Shard, IsoTrees, testing::Range(std::uint64_t{0}, shards));

TEST(IsoReader, IsNoRubberStamp) {
    // One changed byte of a file and one of a name must both be seen by the comparison above.
    const std::string data = "content";
    auto image = *make_image({{"name-of-it", data}}, {});
    const auto content = image.rfind("content");
    const auto name = image.find("name-of-it");
    ASSERT_NE(content, std::string::npos);
    ASSERT_NE(name, std::string::npos);
    const Contents want{{"name-of-it", "content"}};
    EXPECT_EQ(difference(read_with_libarchive(image, "iso9660:!joliet"), want), "");
    image[content] = 'k';
    EXPECT_NE(difference(read_with_libarchive(image, "iso9660:!joliet"), want), "");
    image[content] = 'c';
    image[name] = 'm';
    EXPECT_NE(difference(read_with_libarchive(image, "iso9660:!joliet"), want), "");
}

}  // namespace
}  // namespace noxsup::imaging::iso9660
