// Words that we quote for a shell, read back by a real one.
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <random>

#include "supervisor/base/command.hpp"
#include "supervisor/base/text.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup {
namespace {

/// What `sh` prints for it.
std::string read_by_shell(const std::string& quoted) {
    boost::asio::io_context context;
    ProcessRunner runner;
    Command command;
    command.argv = {"sh", "-c", "printf %s " + quoted};
    const auto output = test::run_async(context, run_checked(runner, command));
    EXPECT_TRUE(output) << quoted;
    return output ? *output : std::string();
}

TEST(ShellWords, AreReadAsTheBytesThatWereMeant) {
    for (const auto* word :
         {"",  "a b", "it's", "'", "''", "$(reboot)", "`x`", "\\",   "\\n",      "a\nb\n", "*",
          "~", "-n",  "%s",   "!", "\"", "#",         "\t",  "\x7f", "\xff\xfe", "--"}) {
        EXPECT_EQ(read_by_shell(shell_quoted(word)), word);
    }
    std::mt19937 random(20261127);
    std::uniform_int_distribution<int> byte(1, 255);
    for (int i = 0; i < 100; ++i) {
        std::string word(64, '\0');
        for (auto& c : word) c = static_cast<char>(byte(random));
        EXPECT_EQ(read_by_shell(shell_quoted(word)), word);
    }
}

}  // namespace
}  // namespace noxsup
