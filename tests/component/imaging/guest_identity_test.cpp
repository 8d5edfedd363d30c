// The orders that give a guest its identity, read by a real perl.
#include "imaging/guest_identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <fstream>
#include <random>

#include "supervisor/base/command.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/seed_sample.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging {
namespace {

Result<std::string> run(std::vector<std::string> argv) {
    boost::asio::io_context context;
    ProcessRunner runner;
    Command command;
    command.argv = std::move(argv);
    return test::run_async(context, run_checked(runner, std::move(command)));
}

TEST(PerlWords, AreReadAsTheBytesThatWereMeant) {
    std::vector<std::string> words{"",       "a b",     "it's", "$HOME @{[die]} %h",
                                   "\"",     "\\",      "\\n",  "a\nb\n",
                                   "=cut\n", "__END__", "\x7f", "\xc3\xa9"};
    std::mt19937 random(20261127);
    std::uniform_int_distribution<int> byte(1, 255);
    for (int i = 0; i < 50; ++i) {
        auto& word = words.emplace_back(64, '\0');
        for (auto& c : word) c = static_cast<char>(byte(random));
    }
    for (const auto& word : words) {
        const auto quoted = perl_quoted(word);
        EXPECT_EQ(quoted.find('\n'), quoted.npos);
        const auto output = run({"perl", "-e", "print " + quoted});
        ASSERT_TRUE(output) << quoted;
        EXPECT_EQ(*output, word) << quoted;
    }
}

TEST(GuestIdentity, IsAProgramForWhatWaits) {
    auto spec = test::full_sample_seed();
    spec.documents.clear();
    const auto seed = make_seed(spec);
    ASSERT_TRUE(seed);
    const auto settling = settle_orders("nox");
    const auto orders = identity_orders(*seed, {"1764230000.123456789", "00112233", {}});
    EXPECT_TRUE(run({"sh", "-nc", settling}));
    EXPECT_TRUE(run({"sh", "-nc", orders}));

    const test::TempDir dir;
    const std::string_view end = "end of the program\n";
    const auto begin = settling.find('\n', settling.find(" <<'end of the program'")) + 1;
    std::ofstream(dir / "identity") << settling.substr(begin, settling.rfind(end) - begin);
    // Looked at and not carried out.
    const auto checked = run({"perl", "-c", dir / "identity"});
    EXPECT_TRUE(checked) << checked.error().message;
}

/// Both ends of the two pipes, the far one played by a shell.
TEST(GuestIdentity, GoesToWhatWaitsAndItsOutcomeComesBack) {
    auto spec = test::full_sample_seed();
    spec.documents.clear();
    const auto seed = make_seed(spec);
    ASSERT_TRUE(seed);
    const test::TempDir dir;
    auto orders = identity_orders(*seed, {"1764230000.123456789", "it's", {}});
    const std::string_view place = "/run/noxsup";
    for (auto at = orders.find(place); at != orders.npos; at = orders.find(place))
        orders.replace(at, place.size(), dir.path().string());
    std::ofstream(dir / "orders") << orders;
    const auto answered_by = [&dir](const std::string& outcome) {
        return run({"sh", "-c",
                    "cd \"$0\"; rm -f values outcome; mkfifo values outcome; sh orders & "
                    "cat values >kept; echo \"$1\" >outcome; wait $!",
                    dir.path(), outcome});
    };
    ASSERT_TRUE(answered_by("0"));
    const auto name =
        run({"perl", "-e",
             "our (%value, %network); do $ARGV[0]; print $value{name}, $value{entropy}, "
             "join ' ', sort keys %network",
             dir / "kept"});
    ASSERT_TRUE(name) << name.error().message;
    EXPECT_EQ(*name, "testvmit's05-noxsup-nic0.network 05-noxsup-nic1.network");
    const auto failed = answered_by("1 there is no user nox");
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, testing::HasSubstr("there is no user nox"));
}

}  // namespace
}  // namespace noxsup::imaging
