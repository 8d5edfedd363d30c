// The orders that give a guest its identity, read by a real perl.
#include "imaging/guest_identity.hpp"

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <random>

#include "supervisor/base/command.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/seed_sample.hpp"

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

TEST(GuestIdentity, IsAProgram) {
    auto spec = test::full_sample_seed();
    spec.documents.clear();
    const auto seed = make_seed(spec);
    ASSERT_TRUE(seed);
    auto orders = identity_orders(*seed, {"1764230000.123456789", "00112233"});
    const std::string_view begin = "exec perl - ";
    ASSERT_TRUE(orders.starts_with(begin));
    // Looked at and not carried out.
    orders.replace(0, begin.size(), "exec perl -c - ");
    const auto checked = run({"sh", "-c", orders});
    EXPECT_TRUE(checked) << checked.error().message;
    EXPECT_TRUE(run({"sh", "-nc", settle_orders()}));
}

}  // namespace
}  // namespace noxsup::imaging
