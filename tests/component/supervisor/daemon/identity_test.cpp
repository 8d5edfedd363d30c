// The home's key: one for all who want it at once, and whole after a crash at any point.
#include "supervisor/daemon/identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "supervisor/base/async.hpp"
#include "supervisor/base/text.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

namespace asio = boost::asio;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

class IdentityTest : public testing::Test {
  protected:
    std::string tool(std::vector<std::string> argv) {
        Command command;
        command.argv = std::move(argv);
        auto output = test::run_async(context_, run_checked(runner_, command));
        if (!output) throw std::runtime_error(output.error().message);
        return *output;
    }
    Result<std::string> ensure() {
        return test::run_async(context_, ensure_identity(runner_, identity_));
    }
    /// The key itself, without its comment.
    static std::string key_of(const std::string& line) { return split(line, ' ').at(1); }
    /// What the private part says the public one is.
    std::string derived() { return key_of(tool({"ssh-keygen", "-y", "-f", identity_.string()})); }
    std::vector<std::string> names() {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(dir_.path()))
            found.push_back(entry.path().filename().string());
        return found;
    }
    void expect_whole(const Result<std::string>& line) {
        ASSERT_TRUE(line) << line.error().message;
        EXPECT_EQ(key_of(*line), derived());
        EXPECT_EQ(key_of(test::slurp(dir_ / "id.pub")), derived());
        EXPECT_THAT(names(), UnorderedElementsAre("id", "id.pub"));
        struct stat info {};
        ASSERT_EQ(::stat(identity_.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777U, 0600U);
    }

    test::TempDir dir_;
    std::filesystem::path identity_ = dir_ / "id";
    asio::io_context context_;
    ProcessRunner runner_;
};

TEST_F(IdentityTest, IsMadeOnce) {
    const auto first = ensure();
    expect_whole(first);
    EXPECT_EQ(*ensure(), *first);
}

TEST_F(IdentityTest, TwoAtOnceGetTheSame) {
    using asio::experimental::awaitable_operators::operator&&;
    const auto both = [this]() -> asio::awaitable<Result<std::vector<std::string>>> {
        auto one = ensure_identity(runner_, identity_);
        auto two = ensure_identity(runner_, identity_);
        auto joined = std::move(one) && std::move(two);
        auto [first, second] = co_await std::move(joined);
        if (!first) co_return first.error();
        if (!second) co_return second.error();
        std::vector<std::string> lines{*first, *second};
        co_return lines;
    };
    const auto lines = test::run_async(context_, both());
    ASSERT_TRUE(lines) << lines.error().message;
    EXPECT_EQ(lines->at(0), lines->at(1));
    expect_whole(lines->at(0));
}

TEST_F(IdentityTest, APrivatePartAloneIsEnough) {
    const auto before = ensure();
    ASSERT_TRUE(before);
    std::filesystem::remove(dir_ / "id.pub");
    const auto after = ensure();
    expect_whole(after);
    EXPECT_EQ(key_of(*after), key_of(*before));
}

TEST_F(IdentityTest, APublicPartAloneIsNot) {
    const auto before = ensure();
    ASSERT_TRUE(before);
    std::filesystem::remove(identity_);
    const auto after = ensure();
    expect_whole(after);
    EXPECT_NE(key_of(*after), key_of(*before));
}

TEST_F(IdentityTest, AMissingToolIsNamedWithTheFix) {
    const auto path = std::string(std::getenv("PATH"));
    ::setenv("PATH", dir_.path().c_str(), 1);
    const auto made = ensure();
    ::setenv("PATH", path.c_str(), 1);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::host_lacks_tool);
    EXPECT_EQ(made.error().hint, "apt-get install openssh-client");
    EXPECT_THAT(names(), ElementsAre());
}

}  // namespace
}  // namespace noxsup::daemon
