#include "supervisor/cli/ssh_command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/cli/copy_paths.hpp"

namespace noxsup::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

SshTarget target() {
    SshTarget made;
    made.name = "vm1";
    made.user = "nox";
    made.host = "127.0.0.1";
    made.port = 40022;
    made.host_key_alias = "noxsup-1234";
    made.identity = "/home/a b/100%/id";
    made.known_hosts = "/home/a \"b\"/known_hosts";
    return made;
}

TEST(SshArgv, PinsTheHostKeyAndKeepsTheUsersConfigurationOut) {
    EXPECT_THAT(ssh_argv(target(), true, false),
                ElementsAre("ssh", "-F", "none", "-o", "HostName=127.0.0.1", "-o", "Port=40022",
                            "-o", "User=nox", "-o", "HostKeyAlias=noxsup-1234", "-o",
                            "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
                            "-o", "CheckHostIP=no", "-o", "UpdateHostKeys=no", "-o",
                            "UserKnownHostsFile=\"/home/a \\\"b\\\"/known_hosts\"", "-o",
                            "IdentityFile=\"/home/a b/100%%/id\"", "-o", "IdentitiesOnly=yes", "-o",
                            "ConnectTimeout=15", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
                            "--", "vm1"));
}

TEST(SshArgv, AsksForATerminalAndLeavesTheKeyOutWhenTold) {
    auto made = target();
    made.identity.clear();
    const auto argv = ssh_argv(made, false, true);
    EXPECT_THAT(argv, AllOf(Contains("-t"), Not(Contains("BatchMode=yes")),
                            Not(Contains("IdentitiesOnly=yes"))));
}

TEST(SshConfig, IsOneBlock) {
    const auto block = ssh_config_block(target());
    EXPECT_THAT(block, ::testing::StartsWith("Host vm1\n  HostName 127.0.0.1\n  Port 40022\n"));
    EXPECT_THAT(block, HasSubstr("  StrictHostKeyChecking yes\n"));
    EXPECT_THAT(block, HasSubstr("  IdentityFile \"/home/a b/100%%/id\"\n"));
}

TEST(SshTarget, HasTheHostKeyWhereItsFileIsRoots) {
    const Json json = {{"user", "nox"},
                       {"host", "10.0.0.2"},
                       {"port", 22},
                       {"host_key_alias", "noxsup-1"},
                       {"host_key", "ssh-ed25519 AAAAC3Nz+/="},
                       {"identity_path", "/nonexistent/id"},
                       {"known_hosts_path", "/nonexistent/known_hosts"}};
    const auto made = ssh_target_from_json("vm1", json);
    ASSERT_TRUE(made);
    EXPECT_THAT(ssh_argv(*made, true, false),
                AllOf(Contains("UserKnownHostsFile=none"),
                      Contains("KnownHostsCommand=/bin/echo noxsup-1 ssh-ed25519 AAAAC3Nz+/=")));
    // What would be more than words keeps the file, and ssh says that it cannot read it.
    for (const auto* wild : {"", "ssh-ed25519 %h", "x\ny", "$(id)"}) {
        auto other = json;
        other["host_key"] = wild;
        EXPECT_THAT(ssh_argv(*ssh_target_from_json("vm1", other), true, false),
                    Contains("UserKnownHostsFile=\"/nonexistent/known_hosts\""));
    }
}

TEST(SshTarget, IsReadStrictly) {
    Json json = {{"user", "nox"},
                 {"host", "10.0.0.2"},
                 {"port", 22},
                 {"host_key_alias", "noxsup-1"},
                 {"identity_path", "/nonexistent/id"},
                 {"known_hosts_path", "/k"}};
    const auto made = ssh_target_from_json("vm1", json);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->identity, "") << "a key we cannot read is not named";
    for (const auto& [key, value] : json.items()) {
        auto broken = json;
        broken.erase(key);
        EXPECT_FALSE(ssh_target_from_json("vm1", broken)) << key;
    }
}

TEST(CopyPaths, TellVmsFromLocalFiles) {
    EXPECT_EQ(parse_copy_path("vm1:a/b"), (CopyPath{"vm1", "a/b"}));
    EXPECT_EQ(parse_copy_path("vm1:"), (CopyPath{"vm1", ""}));
    EXPECT_EQ(parse_copy_path("./vm1:a"), (CopyPath{"", "./vm1:a"}));
    EXPECT_EQ(parse_copy_path("Not_A_Vm:a"), (CopyPath{"", "Not_A_Vm:a"}));
    EXPECT_EQ(parse_copy_path("-r"), (CopyPath{"", "-r"}));
    EXPECT_EQ(parse_copy_paths({"a", "b"}).error().code, ErrorCode::invalid_argument);
    EXPECT_TRUE(parse_copy_paths({"a", "b:c"}));
}

TEST(CopyPaths, ReachScpAsWhatTheyAre) {
    EXPECT_EQ(scp_word({"", "-r"}), "./-r");
    EXPECT_EQ(scp_word({"", "a:b"}), "./a:b");
    EXPECT_EQ(scp_word({"", "/a:b"}), "/a:b");
    EXPECT_EQ(scp_word({"vm1", "a b"}), "vm1:a b");
}

}  // namespace
}  // namespace noxsup::cli
