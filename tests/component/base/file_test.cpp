#include "supervisor/base/file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_dir.hpp"

namespace noxsup {
namespace {

using testing::HasSubstr;

TEST(WriteFileAtomic, ReplacesTheFileAndLeavesNothingElse) {
    const test::TempDir dir;
    dir.write("state", "old");
    ASSERT_TRUE(write_file_atomic(dir / "state", "new", 0640));
    EXPECT_EQ(test::slurp(dir / "state"), "new");
    struct stat info {};
    ASSERT_EQ(::stat((dir / "state").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0640U);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(WriteFileAtomic, AnErrorLeavesTheOldFileAndNoTemporaryOne) {
    const test::TempDir dir;
    std::filesystem::create_directory(dir / "state");  // rename onto a directory fails
    const auto result = write_file_atomic(dir / "state", "new", 0600);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("state"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(ReadFile, RefusesWhatIsTooLargeOrNoFile) {
    const test::TempDir dir;
    dir.write("f", "12345");
    EXPECT_EQ(*read_file(dir / "f", 5), "12345");
    EXPECT_EQ(read_file(dir / "f", 4).error().code, ErrorCode::unreadable_file);
    EXPECT_EQ(read_file(dir.path(), 100).error().code, ErrorCode::unreadable_file);
    EXPECT_EQ(read_file(dir / "none", 100).error().code, ErrorCode::unreadable_file);
    ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(read_file(dir / "fifo", 100).error().code, ErrorCode::unreadable_file);
}

TEST(OpenFileAt, DoesNotFollowALink) {
    const test::TempDir dir;
    dir.write("target", "secret");
    std::filesystem::create_symlink("target", dir / "link");
    const auto directory = open_file(dir.path(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(directory);
    EXPECT_TRUE(open_file_at(directory->get(), "target", O_RDONLY));
    EXPECT_FALSE(open_file_at(directory->get(), "link", O_RDONLY));
}

TEST(MakeDirectories, MakesEachAndRefusesAFileInTheWay) {
    const test::TempDir dir;
    EXPECT_TRUE(make_directories(dir / "a/b/c", 0700));
    EXPECT_TRUE(make_directories(dir / "a/b/c", 0700));
    EXPECT_TRUE(std::filesystem::is_directory(dir / "a/b/c"));
    dir.write("file", "");
    EXPECT_FALSE(make_directories(dir / "file", 0700));
    EXPECT_FALSE(make_directories(dir / "file/x", 0700));
}

}  // namespace
}  // namespace noxsup
