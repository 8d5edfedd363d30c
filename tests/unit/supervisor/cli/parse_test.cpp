#include "supervisor/cli/parse.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "supervisor/cli/completion_script.hpp"
#include "supervisor/cli/grammar.hpp"
#include "supervisor/cli/inputs.hpp"
#include "tests/support/source_file.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Words = std::vector<std::string>;

Invocation invocation(const Words& words) {
    auto parsed = parse(words);
    if (!parsed) throw std::runtime_error(parsed.error().message);
    return std::move(*parsed);
}

template <class Options>
Options verb(const Words& words) {
    return std::get<Options>(invocation(words).verb);
}

Error refused(const Words& words) {
    auto parsed = parse(words);
    if (parsed) throw std::runtime_error("was taken");
    return parsed.error();
}

/// What CLI11 2.4 and later end the program for, and 2.3 takes.
void check_names(const CLI::App& app) {
    for (const auto* option : app.get_options())
        EXPECT_EQ(option->get_name(true).find_first_of("=:{ "), std::string::npos)
            << app.get_name() << ' ' << option->get_name(true);
    for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        check_names(*verb);
}

TEST(Parse, EveryNameIsOneForAllReleasesOfTheParser) {
    CLI::App app;
    Invocation invocation;
    declare_grammar(app, invocation);
    check_names(app);
}

TEST(Parse, GlobalOptionsStandBeforeOrAfterTheVerb) {
    for (const auto& words : {Words{"--format", "json", "-q", "--home", "/h", "list"},
                              Words{"list", "--format", "json", "-q", "--home", "/h"},
                              Words{"--home=/h", "list", "--format=json", "--quiet"}}) {
        const auto parsed = invocation(words);
        EXPECT_EQ(parsed.global.format, Format::json);
        EXPECT_TRUE(parsed.global.quiet);
        EXPECT_EQ(parsed.global.home, "/h");
        EXPECT_TRUE(std::holds_alternative<ListOptions>(parsed.verb));
    }
    const auto nested = invocation({"image", "ls", "--format", "csv"});
    EXPECT_EQ(nested.global.format, Format::csv);
    const auto progress = invocation({"list", "--progress", "none", "--no-color", "-v"});
    EXPECT_EQ(progress.global.progress, ProgressMode::none);
    EXPECT_TRUE(progress.global.no_color);
    EXPECT_TRUE(progress.global.verbose);
}

TEST(Parse, AliasesAreTheVerbsTheyStandFor) {
    EXPECT_EQ(verb<CreateOptions>({"launch", "a"}).name, "a");
    EXPECT_THAT(verb<DeleteOptions>({"rm", "a"}).vms.names, ElementsAre("a"));
    EXPECT_TRUE(std::holds_alternative<ListOptions>(invocation({"ls"}).verb));
    EXPECT_THAT(verb<StatusOptions>({"info", "a"}).vms.names, ElementsAre("a"));
    EXPECT_EQ(verb<SshOptions>({"shell", "a"}).name, "a");
    EXPECT_THAT(verb<CpOptions>({"transfer", "a", "b:c"}).paths, ElementsAre("a", "b:c"));
    EXPECT_TRUE(std::holds_alternative<ImageListOptions>(invocation({"image", "list"}).verb));
}

TEST(Parse, ImagesAreLookedAfter) {
    EXPECT_TRUE(
        std::holds_alternative<ImageAvailableOptions>(invocation({"image", "available"}).verb));
    EXPECT_THAT(verb<ImageVerifyOptions>({"image", "verify"}).names, IsEmpty());
    EXPECT_THAT(verb<ImageVerifyOptions>({"image", "verify", "a", "b"}).names,
                ElementsAre("a", "b"));
    const auto prune = verb<ImagePruneOptions>({"image", "prune", "--dry-run"});
    EXPECT_TRUE(prune.dry_run);
    EXPECT_FALSE(prune.yes);
    EXPECT_TRUE(verb<ImagePruneOptions>({"images", "prune", "-y"}).yes);
    EXPECT_FALSE(parse({"image", "prune", "debian"}));
}

TEST(Parse, SnapshotsHaveVerbsOfTheirOwn) {
    const auto create = verb<SnapshotCreateOptions>(
        {"snapshot", "create", "a", "s", "--ram", "--comment", "before it"});
    EXPECT_EQ(create.name, "a");
    EXPECT_EQ(create.snapshot, "s");
    EXPECT_EQ(create.comment, "before it");
    EXPECT_TRUE(create.ram);
    EXPECT_FALSE(verb<SnapshotCreateOptions>({"snapshots", "create", "a"}).snapshot);
    EXPECT_THAT(verb<SnapshotListOptions>({"snapshot", "list"}).names, IsEmpty());
    EXPECT_THAT(verb<SnapshotListOptions>({"snapshot", "ls", "a", "b"}).names,
                ElementsAre("a", "b"));
    const auto restore = verb<SnapshotRestoreOptions>({"snapshot", "restore", "a", "s", "-f"});
    EXPECT_EQ(restore.snapshot, "s");
    EXPECT_TRUE(restore.force);
    EXPECT_THAT(verb<SnapshotRemoveOptions>({"snapshot", "rm", "a", "s", "t"}).snapshots,
                ElementsAre("s", "t"));
    const auto made = verb<TemplateCreateOptions>(
        {"template", "create", "debian:12", "--ram", "1G", "--network", "bridge=br1"});
    EXPECT_EQ(made.os, "debian:12");
    EXPECT_EQ(made.ram, "1G");
    EXPECT_THAT(made.networks, ElementsAre("bridge=br1"));
    EXPECT_EQ(verb<TemplateCreateOptions>({"templates", "create"}).os, "");
    EXPECT_THAT(verb<TemplateRemoveOptions>({"template", "rm", "a", "b"}).ids,
                ElementsAre("a", "b"));
    EXPECT_TRUE(verb<CreateOptions>({"create", "a", "--cold"}).cold);
    EXPECT_FALSE(parse({"template", "rm"}));
    EXPECT_FALSE(parse({"snapshot"}));
    EXPECT_FALSE(parse({"snapshot", "restore", "a"}));
    EXPECT_FALSE(parse({"snapshot", "rm", "a"}));
}

TEST(Parse, CreateTakesEverythingOfTheContract) {
    const auto create = verb<CreateOptions>({"create",
                                             "testvm",
                                             "--os",
                                             "debian:12",
                                             "--image",
                                             "x.qcow2",
                                             "--arch",
                                             "arm64",
                                             "--cpus",
                                             "2",
                                             "--ram",
                                             "1.5G",
                                             "--disk",
                                             "50%",
                                             "--network",
                                             "bridge=br0",
                                             "--publish",
                                             "8080:80",
                                             "--publish",
                                             "127.0.0.1:53:53/udp",
                                             "--ip",
                                             "10.0.0.2/24",
                                             "--gateway",
                                             "10.0.0.1",
                                             "--dns",
                                             "10.0.0.1",
                                             "--mac",
                                             "52:54:00:00:00:01",
                                             "--user",
                                             "me",
                                             "--ssh-key",
                                             "k.pub",
                                             "--cloud-init",
                                             "a.yaml",
                                             "--cloud-init",
                                             "-",
                                             "--accel",
                                             "tcg",
                                             "--restart",
                                             "on-failure",
                                             "--no-autostart",
                                             "--no-start",
                                             "--wait",
                                             "ip",
                                             "--timeout",
                                             "5m",
                                             "--boot",
                                             "kernel",
                                             "--stock",
                                             "--password",
                                             "--yes",
                                             "--isolated",
                                             "--allow-spoofing",
                                             "--rate",
                                             "100M",
                                             "--vlan",
                                             "20"});
    EXPECT_EQ(create.name, "testvm");
    EXPECT_EQ(create.os, "debian:12");
    EXPECT_EQ(create.cpus, "2");
    EXPECT_EQ(create.ram, "1.5G");
    EXPECT_EQ(create.disk, "50%");
    EXPECT_THAT(create.publish, ElementsAre("8080:80", "127.0.0.1:53:53/udp"));
    EXPECT_THAT(create.cloud_init, ElementsAre("a.yaml", "-"));
    EXPECT_EQ(create.timeout, "5m");
    EXPECT_EQ(create.rate, "100M");
    EXPECT_EQ(create.vlan, "20");
    EXPECT_TRUE(create.isolated && create.allow_spoofing);
    EXPECT_TRUE(create.no_autostart && create.no_start && create.stock && create.password &&
                create.yes);
}

TEST(Parse, AnOptionGivenOncePerValueDoesNotSwallowTheName) {
    const auto create = verb<CreateOptions>({"create", "--publish", "1:2", "testvm"});
    EXPECT_EQ(create.name, "testvm");
    EXPECT_THAT(create.publish, ElementsAre("1:2"));
    EXPECT_EQ(verb<CreateOptions>({"create", "--ssh-key", "k.pub", "testvm"}).name, "testvm");
    EXPECT_EQ(verb<CreateOptions>({"create", "--dns", "1.1.1.1", "testvm"}).name, "testvm");
}

TEST(Parse, SeveralNamesOrAllButNotBoth) {
    EXPECT_THAT(verb<StartOptions>({"start", "a", "b"}).vms.names, ElementsAre("a", "b"));
    EXPECT_TRUE(verb<StopOptions>({"stop", "--all", "--force"}).vms.all);
    EXPECT_EQ(refused({"stop"}).code, ErrorCode::invalid_argument);
    EXPECT_EQ(refused({"stop", "a", "--all"}).code, ErrorCode::invalid_argument);
}

TEST(Parse, AutostartTakesNamesAndThenTheMode) {
    auto autostart = verb<AutostartOptions>({"autostart", "a", "last", "last"});
    EXPECT_THAT(autostart.vms.names, ElementsAre("a", "last"));
    EXPECT_EQ(autostart.mode, "last");
    autostart =
        verb<AutostartOptions>({"autostart", "on", "off", "--order", "5", "--delay", "30s"});
    EXPECT_THAT(autostart.vms.names, ElementsAre("on"));
    EXPECT_EQ(autostart.mode, "off");
    EXPECT_EQ(autostart.order, 5U);
    EXPECT_EQ(autostart.delay, "30s");
    autostart = verb<AutostartOptions>({"autostart", "--all", "on"});
    EXPECT_TRUE(autostart.vms.all && autostart.vms.names.empty());
    EXPECT_EQ(autostart.mode, "on");
    autostart = verb<AutostartOptions>({"autostart", "a", "b", "--order", "5"});
    EXPECT_THAT(autostart.vms.names, ElementsAre("a", "b"));
    EXPECT_FALSE(autostart.mode);
    EXPECT_THAT(refused({"autostart", "a"}).message, HasSubstr("on, off or last"));
    EXPECT_THAT(refused({"autostart", "on"}).message, HasSubstr("on, off or last"));
    for (const auto& words : std::vector<Words>{{"autostart"},
                                                {"autostart", "a", "sometimes"},
                                                {"autostart", "--all"},
                                                {"autostart", "--all", "a", "on"},
                                                {"autostart", "a", "on", "--order", "-1"},
                                                {"autostart", "a", "on", "--order", "10000"}}) {
        EXPECT_EQ(refused(words).code, ErrorCode::invalid_argument)
            << ::testing::PrintToString(words);
    }
}

TEST(Parse, SshTakesTheRestOfTheLineAsItIs) {
    struct Case {
        Words words;
        Words command;
    };
    const std::vector<Case> cases = {
        {{"ssh", "vm"}, {}},
        {{"ssh", "vm", "--", "uname", "-a"}, {"uname", "-a"}},
        {{"ssh", "vm", "uname", "-a"}, {"uname", "-a"}},
        {{"--home", "/h", "ssh", "vm", "--", "ls", "--all"}, {"ls", "--all"}},
        {{"ssh", "--user", "root", "vm", "--", "a"}, {"a"}},
        {{"ssh", "vm", "--", "echo", "--", "x"}, {"echo", "--", "x"}},
        {{"ssh", "vm", "echo", "--", "x"}, {"echo", "--", "x"}},
        {{"ssh", "vm", "--format", "json", "--", "ls"}, {"ls"}},
        {{"ssh", "vm", "--", "--help"}, {"--help"}},
    };
    for (const auto& [words, command] : cases) {
        const auto ssh = verb<SshOptions>(words);
        EXPECT_EQ(ssh.name, "vm");
        EXPECT_EQ(ssh.command, command) << ::testing::PrintToString(words);
    }
    EXPECT_EQ(verb<SshOptions>({"ssh", "-l", "root", "vm"}).user, "root");
    EXPECT_EQ(invocation({"ssh", "vm", "--format", "json", "--", "ls"}).global.format,
              Format::json);
}

TEST(Parse, ExecKeepsItsWords) {
    const auto exec = verb<ExecOptions>({"exec", "vm", "--", "sh", "-c", "exit 37", ""});
    EXPECT_THAT(exec.command, ElementsAre("sh", "-c", "exit 37", ""));
    EXPECT_EQ(refused({"exec", "vm"}).code, ErrorCode::invalid_argument);
    EXPECT_EQ(refused({"exec"}).code, ErrorCode::invalid_argument);
}

TEST(Parse, LogsChooseOneLog) {
    EXPECT_EQ(verb<LogsOptions>({"logs", "vm"}).log, "console");
    EXPECT_EQ(verb<LogsOptions>({"logs", "vm", "--qemu"}).log, "qemu");
    const auto logs = verb<LogsOptions>({"logs", "vm", "-f", "-n", "5"});
    EXPECT_TRUE(logs.follow);
    EXPECT_EQ(logs.lines, 5U);
    EXPECT_EQ(refused({"logs", "vm", "--qemu", "--console"}).code, ErrorCode::invalid_argument);
}

TEST(Parse, TopLooksEveryTwoSecondsUnlessTold) {
    EXPECT_EQ(verb<TopOptions>({"top"}).interval, "2s");
    EXPECT_FALSE(verb<TopOptions>({"top"}).once);
    EXPECT_TRUE(verb<TopOptions>({"top", "-1"}).once);
    EXPECT_EQ(verb<TopOptions>({"top", "--interval", "500ms"}).interval, "500ms");
}

TEST(Parse, EventsAreOfSomeOrOfAll) {
    const auto all = verb<EventsOptions>({"events"});
    EXPECT_THAT(all.names, IsEmpty());
    EXPECT_FALSE(all.follow || all.lines);
    const auto some = verb<EventsOptions>({"events", "a", "-f", "b", "-n", "0"});
    EXPECT_THAT(some.names, ElementsAre("a", "b"));
    EXPECT_TRUE(some.follow);
    EXPECT_EQ(some.lines, 0U);
}

TEST(Parse, BadLinesAreInvalidArgumentsWithTheUsage) {
    const std::vector<Words> bad = {
        {"no-such-verb"},
        {"list", "--nope"},
        {"list", "extra"},
        {"create"},
        {"create", "a", "b"},
        {"create", "a", "--arch", "mips"},
        {"create", "a", "--wait", "forever"},
        {"wait", "a"},
        {"wait", "a", "--for", "nothing"},
        {"cp", "a"},
        {"image"},
        {"image", "nope"},
        {"network"},
        {"network", "confirm", "br0"},
        {"network", "watch"},
        {"completion", "tcsh"},
        {"--format", "xml", "list"},
        {"logs", "a", "-n", "-5"},
        {"help", "nope"},
    };
    for (const auto& words : bad) {
        const auto error = refused(words);
        EXPECT_EQ(error.code, ErrorCode::invalid_argument) << ::testing::PrintToString(words);
        EXPECT_THAT(error.hint, HasSubstr("--help")) << ::testing::PrintToString(words);
        EXPECT_FALSE(error.message.empty());
    }
    EXPECT_THAT(refused({"create"}).hint, HasSubstr("noxsup create --help"));
}

TEST(Parse, NetworkHasVerbsOfItsOwn) {
    EXPECT_TRUE(std::holds_alternative<NetworkListOptions>(invocation({"network", "ls"}).verb));
    const auto plain = verb<NetworkSetupOptions>({"network", "setup"});
    EXPECT_EQ(plain.interface, "");
    EXPECT_EQ(plain.bridge, "br0");
    EXPECT_EQ(plain.timeout, "60s");
    EXPECT_FALSE(plain.dry_run || plain.yes);
    const auto full = verb<NetworkSetupOptions>(
        {"network", "setup", "eth0", "--bridge", "br1", "--timeout", "2m", "--dry-run", "-y"});
    EXPECT_EQ(full.interface, "eth0");
    EXPECT_EQ(full.bridge, "br1");
    EXPECT_EQ(full.timeout, "2m");
    EXPECT_TRUE(full.dry_run && full.yes);
    EXPECT_EQ(verb<NetworkConfirmOptions>({"network", "confirm"}).bridge, "");
    EXPECT_TRUE(verb<NetworkUndoOptions>({"network", "undo", "--force"}).force);
    EXPECT_TRUE(verb<NetworkRollbackOptions>({"network", "rollback", "--boot"}).boot);
    const auto attach =
        verb<NetworkAttachOptions>({"network", "attach", "web", "bridge=br1,vlan=2"});
    EXPECT_EQ(attach.name, "web");
    EXPECT_EQ(attach.network, "bridge=br1,vlan=2");
    const auto detach = verb<NetworkDetachOptions>({"network", "detach", "web", "1"});
    EXPECT_EQ(detach.name, "web");
    EXPECT_EQ(detach.card, "1");
    EXPECT_THAT(refused({"network", "attach", "web"}).message, HasSubstr("NETWORK"));
    EXPECT_THAT(refused({"network", "detach", "web"}).message, HasSubstr("CARD"));
    // For programs: neither in the help nor in completions.
    EXPECT_THAT(verb<HelpOptions>({"network", "--help"}).text, Not(HasSubstr("rollback")));
    for (const auto* shell : {"bash", "zsh", "fish"})
        EXPECT_THAT(completion_script(shell), Not(HasSubstr("setup-fd"))) << shell;
}

TEST(Parse, HelpIsTextOfTheVerb) {
    EXPECT_THAT(verb<HelpOptions>({"--help"}).text, HasSubstr("create"));
    EXPECT_THAT(verb<HelpOptions>({}).text, HasSubstr("create"));
    EXPECT_THAT(verb<HelpOptions>({"create", "--help"}).text, HasSubstr("--cloud-init"));
    EXPECT_THAT(verb<HelpOptions>({"help", "create"}).text, HasSubstr("--cloud-init"));
    EXPECT_THAT(verb<HelpOptions>({"help", "image", "import"}).text, HasSubstr("--raw"));
    EXPECT_THAT(verb<HelpOptions>({"ssh", "vm", "--help"}).text, HasSubstr("--user"));
    EXPECT_TRUE(std::holds_alternative<VersionOptions>(invocation({"--version"}).verb));
}

TEST(Parse, KnowsThatJsonWasAskedForEvenInABadLine) {
    EXPECT_TRUE(asks_for_json({"--format", "json", "nope"}));
    EXPECT_TRUE(asks_for_json({"nope", "--format=json"}));
    EXPECT_FALSE(asks_for_json({"--format", "yaml"}));
    EXPECT_FALSE(asks_for_json({"ssh", "vm", "--", "--format", "json"}));
    EXPECT_FALSE(asks_for_json({"--format"}));
}

TEST(Completion, EveryVerbAndOptionIsInEveryScript) {
    for (const auto* shell : {"bash", "zsh", "fish"}) {
        const auto script = completion_script(shell);
        for (const auto& verb : grammar()) {
            const auto word = verb.name.substr(verb.name.rfind(' ') + 1);
            EXPECT_THAT(script, HasSubstr(word)) << shell;
            for (const auto& option : verb.options) {
                for (const auto& name : option.names) {
                    const auto bare = std::string(shell) == "fish"
                                          ? name.substr(name.find_first_not_of('-'))
                                          : name;
                    EXPECT_THAT(script, HasSubstr(bare)) << shell << " " << verb.name;
                }
            }
        }
        EXPECT_THAT(script, Not(HasSubstr("ready-fd")));
    }
}

TEST(Completion, TheManPageNamesEveryVerbAndOption) {
    const auto page = test::slurp(test::source_file("scripts/install/noxsup.1"));
    std::string plain;
    for (const char c : page) {
        if (c != '\\') plain += c;
    }
    for (const auto& verb : grammar()) {
        EXPECT_THAT(plain, HasSubstr(verb.name.substr(verb.name.rfind(' ') + 1)));
        for (const auto& option : verb.options) {
            if (option.names.back() == "--help") continue;
            EXPECT_THAT(plain, HasSubstr(option.names.back())) << verb.name;
        }
    }
}

TEST(ClassifyImage, TellsFilesUrlsAndNames) {
    EXPECT_EQ(classify_image("https://host/x.qcow2"), ImageSource::url);
    EXPECT_EQ(classify_image("file:///x"), ImageSource::url);
    EXPECT_EQ(classify_image("./x"), ImageSource::file);
    EXPECT_EQ(classify_image("/a/b"), ImageSource::file);
    EXPECT_EQ(classify_image("disk.qcow2"), ImageSource::file);
    EXPECT_EQ(classify_image("debian-13-arm64"), ImageSource::name);
    EXPECT_EQ(classify_image("small"), ImageSource::name);
}

TEST(PublicKeys, AreReadAndPrivateOnesRefused) {
    const test::TempDir dir;
    const auto good = dir.write("k.pub", "# mine\nssh-ed25519 AAAA me@here\n\nssh-rsa BBBB\r\n");
    const auto keys = read_public_keys(good.string());
    ASSERT_TRUE(keys);
    EXPECT_THAT(*keys, ElementsAre("ssh-ed25519 AAAA me@here", "ssh-rsa BBBB"));
    const auto secret = dir.write("k", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n");
    EXPECT_THAT(read_public_keys(secret.string()).error().hint, HasSubstr("k.pub"));
    EXPECT_EQ(read_public_keys((dir / "absent").string()).error().code, ErrorCode::unreadable_file);
    for (const auto* text : {"", "hello\n", "\x01\x02", "ssh-rsa \xff\n"}) {
        const auto bad = dir.write("bad", text);
        EXPECT_EQ(read_public_keys(bad.string()).error().code, ErrorCode::invalid_argument);
    }
}

TEST(ImageFile, MustBeARegularFile) {
    const test::TempDir dir;
    EXPECT_TRUE(open_image_file(dir.write("x", "y").string()));
    for (const auto& path : {dir.path(), dir / "absent", std::filesystem::path("/dev/null")}) {
        EXPECT_EQ(open_image_file(path.string()).error().code, ErrorCode::unreadable_file);
    }
}

}  // namespace
}  // namespace noxsup::cli
