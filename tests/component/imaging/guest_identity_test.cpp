// The orders that give a guest its identity, read by a real perl.
#include "imaging/guest_identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <csignal>
#include <fstream>
#include <random>
#include <utility>

#include "imaging/login_first.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/seed_sample.hpp"
#include "tests/support/stranger.hpp"
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

std::string sample_orders(std::vector<std::pair<std::string, std::string>> macs = {}) {
    auto spec = test::full_sample_seed();
    spec.documents.clear();
    const auto seed = make_seed(spec);
    EXPECT_TRUE(seed);
    return identity_orders(*seed, {"1764230000.123456789", "it's", std::move(macs)});
}

/// What waits in a template, out of the script that leaves it there.
std::string waiting_program() {
    const auto settling = settle_orders("nox", {"52:54:00:00:00:01"});
    const auto begin = settling.find('\n', settling.find(" <<'end of the program'")) + 1;
    return settling.substr(begin, settling.rfind("end of the program\n") - begin);
}

TEST(GuestIdentity, IsAProgramForWhatWaits) {
    EXPECT_TRUE(run({"sh", "-nc", settle_orders("nox", {"52:54:00:00:00:01"})}));
    const test::TempDir dir;
    std::ofstream(dir / "identity") << waiting_program();
    // Looked at and not carried out.
    const auto checked = run({"perl", "-c", dir / "identity"});
    EXPECT_TRUE(checked) << checked.error().message;
    std::ofstream(dir / "orders") << sample_orders();
    const auto name =
        run({"perl", "-e",
             "our (%value, %network); do $ARGV[0]; print $value{name}, $value{entropy}, "
             "join ' ', sort keys %network",
             dir / "orders"});
    ASSERT_TRUE(name) << name.error().message;
    EXPECT_EQ(*name, "testvmit's05-noxsup-nic0.network 05-noxsup-nic1.network");
}

/// The program that waits, at one end of a port; what becomes of it is told before it has done
/// anything to the machine: it is given a card that no machine has, and no right to the clock.
class WaitingGuest : public testing::Test {
  protected:
    void TearDown() override {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    void begin() {
        auto program = waiting_program();
        replace(program, "syscall($number, 0, $now) == 0", "$now");
        replace(program, "/run/noxsup/later", dir_ / "later");
        std::ofstream(dir_ / "identity") << program;
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        port_.reset(ends[0]);
        const UniqueFd far(ends[1]);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, far.get(), 3);
        const std::string file = dir_ / "identity";
        const char* argv[] = {"perl", file.c_str(), "t0", nullptr};
        EXPECT_EQ(
            ::posix_spawnp(&pid_, "perl", &actions, nullptr, const_cast<char**>(argv), environ), 0);
        posix_spawn_file_actions_destroy(&actions);
    }
    void send(const std::string& text) const {
        ASSERT_EQ(::send(port_.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    void order(const std::string& token, const std::string& text) const {
        send("run " + std::to_string(text.size()) + " " + token + "\n" + text);
    }
    /// Empty where the far end is closed.
    [[nodiscard]] std::string answer() const {
        std::string line;
        char c = 0;
        while (::read(port_.get(), &c, 1) == 1 && c != '\n') line += c;
        return line;
    }
    int status() {
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        return WEXITSTATUS(status);
    }

    static void replace(std::string& text, const std::string& old, const std::string& other) {
        const auto at = text.find(old);
        ASSERT_NE(at, text.npos) << old;
        text.replace(at, old.size(), other);
    }

    test::TempDir dir_;
    UniqueFd port_;
    pid_t pid_ = -1;
};

TEST_F(WaitingGuest, SaysThatItWaits) {
    begin();
    EXPECT_THAT(answer(), testing::MatchesRegex("done t0 0 [1-9][0-9]+"));
}

TEST_F(WaitingGuest, HasWhatNoLoginNeedsGiveWay) {
    const test::Stranger service;
    // A unit without a process has the number 0.
    dir_.write("later", "0\n" + std::to_string(service.pid()) + "\n");
    begin();
    EXPECT_THAT(answer(), testing::StartsWith("done t0 0 "));
    EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(service.pid())), 19);
    EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), 0);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "later"));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "identity"));
}

TEST_F(WaitingGuest, TakesItsOrderAndTellsTheOutcome) {
    begin();
    ASSERT_THAT(answer(), testing::StartsWith("done t0 0 "));
    send("not an order\n");
    order("t1", sample_orders({{"52:54:00:ff:ff:01", "52:54:00:ff:ff:02"}}));
    EXPECT_EQ(answer(), "done t1 1 there is no card with the address 52:54:00:ff:ff:01 ");
    EXPECT_EQ(status(), 1);
}

TEST_F(WaitingGuest, SaysWhatItDoesNotUnderstand) {
    begin();
    ASSERT_THAT(answer(), testing::StartsWith("done t0 0 "));
    order("t1", "$value{\"name\"} = ;\n");
    EXPECT_THAT(answer(), testing::StartsWith("done t1 1 syntax error"));
    EXPECT_EQ(status(), 1);
}

/// The network's part of the program, in a network of its own, with files of its own.
class WaitingNetwork : public testing::Test {
  protected:
    static constexpr const char* old_mac = "52:54:00:ff:ff:01";
    static constexpr const char* new_mac = "52:54:00:ff:ff:02";

    void SetUp() override {
        dir_.write("sys/nx0/address", std::string(old_mac) + "\n");
        dir_.write("networkctl", "#!/bin/sh\necho \"$*\" >\"$0.called\"\n");
        std::filesystem::permissions(dir_ / "networkctl", std::filesystem::perms::owner_all);
    }

    /// As `ip link` shows the card afterwards.
    [[nodiscard]] std::string begin(const SeedNetwork& network) const {
        auto program = waiting_program();
        program.erase(program.find("\nopen($port,") + 1);
        for (const auto& [old, other] :
             {std::pair("/sys/class/net", "sys"), std::pair("/run/systemd/network", "run")}) {
            for (auto at = program.find(old); at != program.npos; at = program.find(old))
                program.replace(at, std::string_view(old).size(), dir_ / other);
        }
        const auto file = network_file(network, 0);
        program += "socket($any, 2, 2, 0) or die;\n$mac{" + perl_quoted(old_mac) +
                   "} = " + perl_quoted(new_mac) + ";\n$network{" + perl_quoted(file.name) +
                   "} = " + perl_quoted(file.content) +
                   ";\nmy %card = find_cards();\nchange_macs(%card);\nbegin_network(%card);\n";
        std::ofstream(dir_ / "program") << program;
        const auto shown =
            run({"unshare", ::geteuid() == 0 ? "--net" : "--map-root-user", "--net", "sh", "-euc",
                 "ip link add nx0 address " + std::string(old_mac) +
                     " type veth; PATH=" + dir_.path().string() + ":$PATH perl " +
                     (dir_ / "program").string() + "; ip -br link show nx0"});
        EXPECT_TRUE(shown) << shown.error().message;
        return shown ? *shown : std::string();
    }

    test::TempDir dir_;
};

TEST_F(WaitingNetwork, OnlyBringsUpACardWhoseFileIsReadAlready) {
    const SeedNetwork network{new_mac, {}};
    auto prepared = network_file(network, 0).content;
    prepared.replace(prepared.find("MACAddress="), 11 + network.mac.size(), "Name=nx0");
    dir_.write("run/05-noxsup-nic0.network", prepared);
    const auto shown = begin(network);
    EXPECT_THAT(shown, testing::HasSubstr(new_mac));
    EXPECT_THAT(shown, testing::HasSubstr(",UP"));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "networkctl.called"));
}

TEST_F(WaitingNetwork, HasAnotherFileRead) {
    dir_.write("run/05-noxsup-nic0.network", network_file({old_mac, {}}, 0).content);
    const SeedNetwork network{new_mac, {}, {"example.org"}};
    const auto shown = begin(network);
    EXPECT_THAT(shown, testing::HasSubstr(new_mac));
    EXPECT_THAT(shown, testing::Not(testing::HasSubstr(",UP"))) << "networkd brings it up";
    EXPECT_EQ(test::slurp(dir_ / "networkctl.called"), "reload\n");
    EXPECT_EQ(test::slurp(dir_ / "run/05-noxsup-nic0.network"), network_file(network, 0).content);
}

}  // namespace
}  // namespace noxsup::imaging
