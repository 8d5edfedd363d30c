// Each typed command: what it sends, and what it makes of the answer.
#include "qmp/commands.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/run_async.hpp"
#include "tests/support/scripted_qmp_peer.hpp"

namespace noxsup::qmp {
namespace {

namespace asio = boost::asio;
using test::ScriptedQmpPeer;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// For machines that compile at the same time.
ClientOptions patient() {
    ClientOptions options;
    options.greeting_deadline = std::chrono::seconds(60);
    options.command_deadline = std::chrono::seconds(60);
    return options;
}

/// A client whose every command is answered with one value, and what it said.
class Commands : public ::testing::Test {
  protected:
    template <class T, class Function>
    Result<T> call(Json answer, Function function) {
        ScriptedQmpPeer peer([&](ScriptedQmpPeer& p) {
            p.negotiate();
            const auto command = p.read_command();
            said_ = command.at("execute").get<std::string>();
            if (command.contains("arguments")) said_ += " " + command.at("arguments").dump();
            descriptors_ = p.descriptors().size();
            if (answer.is_object() && answer.contains("class")) {
                p.refuse(command, answer.at("class").get<std::string>(), "because");
            } else {
                p.answer(command, answer);
            }
            p.expect_hang_up();
        });
        asio::io_context context;
        auto client = test::run_async(context, Client::connect(peer.path(), patient()));
        if (!client) return std::move(client).error();
        auto result = test::run_async(context, function(**client));
        client->reset();
        EXPECT_EQ(peer.finish(), "");
        return result;
    }
    /// What a command without a value says.
    template <class Function>
    std::string said(Function function) {
        const auto result = call<void>(Json::object(), std::move(function));
        EXPECT_TRUE(result);
        return said_;
    }

    std::string said_;
    std::size_t descriptors_ = 0;
};

UniqueFd null_device() {
    return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

TEST_F(Commands, RunAndStop) {
    EXPECT_EQ(said([](Client& c) { return cont(c); }), "cont");
    EXPECT_EQ(said([](Client& c) { return stop(c); }), "stop");
    EXPECT_EQ(said([](Client& c) { return system_powerdown(c); }), "system_powerdown");
    EXPECT_EQ(said([](Client& c) { return system_reset(c); }), "system_reset");
    EXPECT_EQ(said([](Client& c) { return system_wakeup(c); }), "system_wakeup");
    EXPECT_EQ(said([](Client& c) { return quit(c); }), "quit");
}

TEST_F(Commands, Queries) {
    const auto status = call<StatusInfo>(Json{{"status", "running"}, {"running", true}},
                                         [](Client& c) { return query_status(c); });
    ASSERT_TRUE(status);
    EXPECT_EQ(status->state, RunState::running);
    EXPECT_EQ(said_, "query-status");
    const auto version =
        call<Version>(Json::parse(R"({"qemu": {"major": 10, "minor": 0, "micro": 2}})"),
                      [](Client& c) { return query_version(c); });
    ASSERT_TRUE(version);
    EXPECT_EQ(version->text(), "10.0.2");
    const auto kvm = call<KvmInfo>(Json{{"enabled", true}, {"present", true}},
                                   [](Client& c) { return query_kvm(c); });
    ASSERT_TRUE(kvm);
    EXPECT_TRUE(kvm->enabled);
    EXPECT_EQ(said_, "query-kvm");
    const auto cpus =
        call<std::vector<Cpu>>(Json::array(), [](Client& c) { return query_cpus_fast(c); });
    ASSERT_TRUE(cpus);
    EXPECT_EQ(said_, "query-cpus-fast");
    const auto schema =
        call<Json>(Json::array({1, 2}), [](Client& c) { return query_qmp_schema(c); });
    ASSERT_TRUE(schema);
    EXPECT_THAT(*schema, SizeIs(2));
    const auto chardevs =
        call<std::vector<Chardev>>(Json::array(), [](Client& c) { return query_chardev(c); });
    ASSERT_TRUE(chardevs);
    EXPECT_EQ(said_, "query-chardev");
}

TEST_F(Commands, AReplyOfAnotherShapeIsAProtocolError) {
    const auto status =
        call<StatusInfo>(Json{{"status", 7}}, [](Client& c) { return query_status(c); });
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::protocol_error);
}

TEST_F(Commands, Blocks) {
    ASSERT_TRUE(
        call<std::vector<BlockDevice>>(Json::array(), [](Client& c) { return query_block(c); }));
    EXPECT_EQ(said_, "query-block");
    ASSERT_TRUE(call<std::vector<BlockNode>>(Json::array(),
                                             [](Client& c) { return query_named_block_nodes(c); }));
    EXPECT_EQ(said_, R"(query-named-block-nodes {"flat":true})");
    EXPECT_EQ(said([](Client& c) {
                  return blockdev_add(c, Json{{"driver", "qcow2"}, {"node-name", "d"}});
              }),
              R"(blockdev-add {"driver":"qcow2","node-name":"d"})");
    EXPECT_EQ(said([](Client& c) { return blockdev_del(c, "d"); }),
              R"(blockdev-del {"node-name":"d"})");
    EXPECT_EQ(said([](Client& c) { return block_resize(c, "d", 5'368'709'120U); }),
              R"(block_resize {"node-name":"d","size":5368709120})");
}

TEST_F(Commands, Devices) {
    EXPECT_EQ(said([](Client& c) {
                  return device_add(c, Json{{"driver", "virtio-rng-pci"}});
              }),
              R"(device_add {"driver":"virtio-rng-pci"})");
    EXPECT_EQ(said([](Client& c) { return device_del(c, "n"); }), R"(device_del {"id":"n"})");
    EXPECT_EQ(said([](Client& c) {
                  return netdev_add(c, Json{{"type", "user"}});
              }),
              R"(netdev_add {"type":"user"})");
    EXPECT_EQ(said([](Client& c) { return netdev_del(c, "n"); }), R"(netdev_del {"id":"n"})");
    EXPECT_EQ(said([](Client& c) { return set_link(c, "n", false); }),
              R"(set_link {"name":"n","up":false})");
}

TEST_F(Commands, Balloon) {
    EXPECT_EQ(said([](Client& c) { return balloon(c, 1024); }), R"(balloon {"value":1024})");
    const auto there = call<std::optional<std::uint64_t>>(
        Json{{"actual", 1024}}, [](Client& c) { return query_balloon(c); });
    ASSERT_TRUE(there);
    EXPECT_EQ(*there, 1024U);
    const auto none = call<std::optional<std::uint64_t>>(
        Json{{"class", "DeviceNotActive"}}, [](Client& c) { return query_balloon(c); });
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
    const auto other = call<std::optional<std::uint64_t>>(
        Json{{"class", "GenericError"}}, [](Client& c) { return query_balloon(c); });
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().message, "QMP query-balloon: because");
    EXPECT_FALSE(call<std::optional<std::uint64_t>>(Json{{"actual", "x"}},
                                                    [](Client& c) { return query_balloon(c); }));
}

TEST_F(Commands, Descriptors) {
    EXPECT_EQ(said([](Client& c) { return getfd(c, "state", null_device()); }),
              R"(getfd {"fdname":"state"})");
    EXPECT_EQ(descriptors_, 1U);
    EXPECT_EQ(said([](Client& c) { return closefd(c, "state"); }), R"(closefd {"fdname":"state"})");
    ASSERT_TRUE(call<FdsetMember>(Json{{"fdset-id", 1}, {"fd", 9}}, [](Client& c) {
        return add_fd(c, null_device(), std::nullopt, "why");
    }));
    EXPECT_EQ(said_, R"(add-fd {"opaque":"why"})");
    EXPECT_EQ(descriptors_, 1U);
    EXPECT_EQ(said([](Client& c) { return remove_fd(c, 3); }), R"(remove-fd {"fdset-id":3})");
    EXPECT_EQ(said([](Client& c) { return remove_fd(c, 3, 9); }),
              R"(remove-fd {"fd":9,"fdset-id":3})");
}

TEST_F(Commands, Migration) {
    const auto set = [](Client& c) {
        std::vector<MigrationCapability> capabilities;
        capabilities.emplace_back("x-ignore-shared", true);
        capabilities.emplace_back("events", false);
        return migrate_set_capabilities(c, std::move(capabilities));
    };
    EXPECT_EQ(
        said(set),
        R"(migrate-set-capabilities {"capabilities":[{"capability":"x-ignore-shared","state":true},)"
        R"({"capability":"events","state":false}]})");
    EXPECT_EQ(said([](Client& c) {
                  return migrate_set_parameters(c, Json{{"max-bandwidth", 0}});
              }),
              R"(migrate-set-parameters {"max-bandwidth":0})");
    EXPECT_EQ(said([](Client& c) { return migrate(c, "fd:state"); }),
              R"(migrate {"uri":"fd:state"})");
    EXPECT_EQ(said([](Client& c) { return migrate_incoming(c, "fd:state"); }),
              R"(migrate-incoming {"uri":"fd:state"})");
    EXPECT_EQ(said([](Client& c) { return migrate_cancel(c); }), "migrate_cancel");
    const auto info =
        call<MigrationInfo>(Json{{"status", "active"}}, [](Client& c) { return query_migrate(c); });
    ASSERT_TRUE(info);
    EXPECT_EQ(info->status, MigrationStatus::active);
}

TEST_F(Commands, HostForwards) {
    HostForward forward;
    forward.host_port = 2222;
    forward.guest_port = 22;
    const auto add = [&](Client& c) { return hostfwd_add(c, "net0", forward); };
    const auto good = call<void>("", add);
    EXPECT_TRUE(good);
    EXPECT_EQ(
        said_,
        R"(human-monitor-command {"command-line":"hostfwd_add net0 tcp:127.0.0.1:2222-:22"})");
    forward.udp = true;
    forward.host_address = "0.0.0.0";
    forward.guest_address = "10.0.2.15";
    ASSERT_TRUE(call<void>("", add));
    EXPECT_THAT(said_, HasSubstr("hostfwd_add net0 udp:0.0.0.0:2222-10.0.2.15:22"));
    const auto taken = call<void>("Could not set up host forwarding rule 'tcp:...'\r\n", add);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, ErrorCode::port_taken);
    const auto other = call<void>("network device \x1b not found\r\n", add);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, ErrorCode::qemu_failed);
    EXPECT_THAT(other.error().message, HasSubstr("\\x1b"));
    EXPECT_EQ(call<void>(Json::object(), add).error().code, ErrorCode::protocol_error);
}

TEST_F(Commands, NothingButAForwardReachesTheHumanMonitor) {
    ScriptedQmpPeer peer([](ScriptedQmpPeer& p) {
        p.negotiate();
        p.expect_hang_up();
    });
    asio::io_context context;
    auto client = test::run_async(context, Client::connect(peer.path(), patient()));
    ASSERT_TRUE(client);
    HostForward good;
    good.host_port = 1;
    good.guest_port = 1;
    const auto refused = [&](std::string netdev, const HostForward& forward) {
        const auto result =
            test::run_async(context, hostfwd_add(**client, std::move(netdev), forward));
        return !result && result.error().code == ErrorCode::invalid_argument;
    };
    for (const auto* id : {"", "a b", "a\nquit", "a;b"}) EXPECT_TRUE(refused(id, good)) << id;
    for (const auto* address : {"", "::1", "127.0.0.1:1-:2 x", "host"}) {
        auto bad = good;
        bad.host_address = address;
        EXPECT_TRUE(refused("n", bad)) << address;
    }
    auto bad = good;
    bad.guest_address = "x";
    EXPECT_TRUE(refused("n", bad));
    bad = good;
    bad.host_port = 0;
    EXPECT_TRUE(refused("n", bad));
    bad = good;
    bad.guest_port = 0;
    EXPECT_TRUE(refused("n", bad));
    client->reset();
    EXPECT_EQ(peer.finish(), "");
}

}  // namespace
}  // namespace noxsup::qmp
