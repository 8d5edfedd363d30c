// The client against real QEMUs of both architectures, paused under TCG: no KVM, no guest, no
// network.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "qmp/commands.hpp"
#include "qmp/events.hpp"
#include "qmp/resync.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/process.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::qmp {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using ::testing::Contains;
using ::testing::HasSubstr;

/// One QEMU with a QMP socket it was given; ended with the object.
class Qemu {
  public:
    Qemu(asio::io_context& context, const std::string& arch, std::vector<std::string> more = {}) {
        const auto program = find_program("qemu-system-" + arch);
        if (!program) throw std::runtime_error("qemu-system-" + arch + " is not installed");
        auto listener = listen_unix(path(), 0600);
        if (!listener) throw std::runtime_error(listener.error().message);
        SpawnSpec spec;
        const std::string machine = arch == "aarch64" ? "virt" : "q35";
        const auto number = std::to_string(listener->get());
        spec.argv = {*program,      "-M",
                     machine,       "-accel",
                     "tcg",         "-m",
                     "32",          "-S",
                     "-nodefaults", "-no-user-config",
                     "-display",    "none",
                     "-chardev",    "socket,id=qmp,server=on,wait=off,fd=" + number,
                     "-mon",        "chardev=qmp,mode=control"};
        if (arch == "aarch64") spec.argv.insert(spec.argv.end(), {"-cpu", "cortex-a57"});
        spec.argv.insert(spec.argv.end(), more.begin(), more.end());
        spec.environment = {"PATH=/usr/bin:/bin"};
        spec.inherit = {listener->get()};
        auto child = spawn(context.get_executor(), spec);
        if (!child) throw std::runtime_error(child.error().message);
        child_ = std::move(*child);
    }
    Qemu(const Qemu&) = delete;
    Qemu& operator=(const Qemu&) = delete;
    ~Qemu() {
        signal(SIGKILL);
        pollfd ended{child_.pidfd.get(), POLLIN, 0};
        ::poll(&ended, 1, 10'000);
        static_cast<void>(reap(child_.pidfd.get()));
    }
    void signal(int number) const { static_cast<void>(send_signal(child_.pidfd.get(), number)); }
    [[nodiscard]] std::filesystem::path path() const { return directory_ / "qmp"; }
    [[nodiscard]] int pidfd() const { return child_.pidfd.get(); }

  private:
    test::TempDir directory_;
    Child child_;
};

/// Tests start QEMUs on machines that compile at the same time.
ClientOptions patient() {
    ClientOptions options;
    options.greeting_deadline = 60s;
    options.command_deadline = 60s;
    return options;
}

class RealQemu : public ::testing::TestWithParam<std::string> {
  protected:
    template <class T>
    T run(asio::awaitable<T> operation) {
        return test::run_async(context_, std::move(operation), 120s);
    }
    std::unique_ptr<Client> connect(const Qemu& qemu) {
        auto client = run(Client::connect(qemu.path(), patient()));
        if (!client) throw std::runtime_error(client.error().message);
        (*client)->set_event_handler([this](const Event& event) { events_.push_back(event); });
        return std::move(*client);
    }
    [[nodiscard]] std::vector<std::string> event_names() const {
        std::vector<std::string> names;
        for (const auto& event : events_) names.push_back(event.name);
        return names;
    }
    /// Runs the context until an event has come.
    bool wait_for_event(const std::string& name) {
        for (int i = 0; i < 6000; ++i) {
            if (std::ranges::count(event_names(), name) > 0) return true;
            run(sleep_for(10ms));
        }
        return false;
    }

    asio::io_context context_;
    std::vector<Event> events_;
};

TEST_P(RealQemu, StartsStopsAndQuits) {
    const Qemu qemu(context_, GetParam());
    const auto client = connect(qemu);
    EXPECT_GE(client->greeting()->version, (Version{7, 2, 0, ""}));
    auto status = run(query_status(*client));
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(status->state, RunState::prelaunch);
    ASSERT_TRUE(run(cont(*client)));
    status = run(query_status(*client));
    ASSERT_TRUE(status);
    EXPECT_TRUE(status->running);
    ASSERT_TRUE(run(stop(*client)));
    EXPECT_EQ(run(query_status(*client))->state, RunState::paused);
    ASSERT_TRUE(run(cont(*client)));
    ASSERT_TRUE(run(system_powerdown(*client)));
    EXPECT_TRUE(wait_for_event("POWERDOWN"));
    const auto done = run(quit(*client));
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_EQ(run(client->wait_closed()).code, ErrorCode::qemu_failed);
    ASSERT_THAT(event_names(), Contains("SHUTDOWN"));
    const auto last = parse_event(events_.back());
    ASSERT_TRUE(last);
    EXPECT_EQ(std::get<ShutdownEvent>(*last).reason, ShutdownCause::host_qmp_quit);
}

TEST_P(RealQemu, TellsWhatItIs) {
    const Qemu qemu(context_, GetParam(), {"-smp", "2", "-device", "virtio-balloon-pci"});
    const auto client = connect(qemu);
    const auto version = run(query_version(*client));
    ASSERT_TRUE(version);
    EXPECT_EQ(*version, client->greeting()->version);
    const auto kvm = run(query_kvm(*client));
    ASSERT_TRUE(kvm);
    EXPECT_FALSE(kvm->enabled);
    const auto cpus = run(query_cpus_fast(*client));
    ASSERT_TRUE(cpus) << cpus.error().message;
    ASSERT_EQ(cpus->size(), 2U);
    EXPECT_EQ(cpus->front().target, GetParam());
    const auto chardevs = run(query_chardev(*client));
    ASSERT_TRUE(chardevs);
    EXPECT_EQ(chardevs->front().label, "qmp");
    const auto bytes = run(query_balloon(*client));
    ASSERT_TRUE(bytes);
    EXPECT_EQ(*bytes, std::uint64_t{32} << 20);
    const auto schema = run(query_qmp_schema(*client));
    ASSERT_TRUE(schema);
    EXPECT_GT(schema->size(), 500U);
}

TEST_P(RealQemu, PlugsADiskByDescriptorAndRemovesIt) {
    const Qemu qemu(context_, GetParam(), {"-device", "virtio-scsi-pci,id=scsi"});
    const auto client = connect(qemu);
    const test::TempDir directory;
    const auto image = directory.write("disk.raw", std::string(std::size_t{1} << 20, '\0'));
    UniqueFd fd(::open(image.c_str(), O_RDWR | O_CLOEXEC));
    const auto member = run(add_fd(*client, std::move(fd), 9, "disk"));
    ASSERT_TRUE(member) << member.error().message;
    EXPECT_EQ(member->fdset_id, 9);
    Json node{{"driver", "raw"},
              {"node-name", "disk"},
              {"file", {{"driver", "file"}, {"filename", "/dev/fdset/9"}}}};
    const auto added = run(blockdev_add(*client, std::move(node)));
    ASSERT_TRUE(added) << added.error().message;
    Json device{{"driver", "scsi-hd"}, {"id", "sd0"}, {"drive", "disk"}, {"bus", "scsi.0"}};
    ASSERT_TRUE(run(device_add(*client, std::move(device))));
    const auto devices = run(query_block(*client));
    ASSERT_TRUE(devices) << devices.error().message;
    ASSERT_EQ(devices->size(), 1U);
    EXPECT_EQ(devices->front().inserted->virtual_size, std::uint64_t{1} << 20);
    const auto nodes = run(query_named_block_nodes(*client));
    ASSERT_TRUE(nodes) << nodes.error().message;
    EXPECT_EQ(nodes->size(), 2U);
    const auto busy = run(blockdev_del(*client, "disk"));
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code, ErrorCode::qemu_failed);
    ASSERT_TRUE(run(device_del(*client, "sd0")));
    EXPECT_TRUE(wait_for_event("DEVICE_DELETED"));
    EXPECT_TRUE(run(blockdev_del(*client, "disk")));
    EXPECT_TRUE(run(remove_fd(*client, 9)));
}

TEST_P(RealQemu, SavesItsStateThroughADescriptor) {
    const Qemu qemu(context_, GetParam());
    const auto client = connect(qemu);
    const test::TempDir directory;
    const auto file = directory / "state";
    std::vector<MigrationCapability> capabilities;
    capabilities.emplace_back("events", true);
    ASSERT_TRUE(run(migrate_set_capabilities(*client, std::move(capabilities))));
    UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(run(getfd(*client, "state", std::move(fd))));
    ASSERT_TRUE(run(migrate(*client, "fd:state")));
    Result<MigrationInfo> info = MigrationInfo{};
    for (int i = 0; i < 600 && info && !is_final(info->status); ++i) {
        run(sleep_for(20ms));
        info = run(query_migrate(*client));
    }
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->status, MigrationStatus::completed);
    EXPECT_GT(std::filesystem::file_size(file), 10'000U);
    EXPECT_THAT(event_names(), Contains("MIGRATION"));
}

TEST_P(RealQemu, ForwardsAPort) {
    const Qemu qemu(
        context_, GetParam(),
        {"-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,romfile="});
    const auto client = connect(qemu);
    HostForward forward;
    forward.guest_port = 22;
    // A port that somebody holds, so that the refusal can be seen without a race for a free one.
    asio::ip::tcp::acceptor acceptor(context_, {asio::ip::address_v4::loopback(), 0});
    forward.host_port = acceptor.local_endpoint().port();
    const auto taken = run(hostfwd_add(*client, "net0", forward));
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, ErrorCode::port_taken);
    acceptor.close();
    const auto added = run(hostfwd_add(*client, "net0", forward));
    EXPECT_TRUE(added) << added.error().message;
    const auto unknown = run(hostfwd_add(*client, "none", forward));
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, ErrorCode::qemu_failed);
}

TEST_P(RealQemu, ASecondClientGetsNoGreetingUntilTheFirstHasLeft) {
    const Qemu qemu(context_, GetParam());
    auto first = connect(qemu);
    ClientOptions hasty;
    hasty.greeting_deadline = 200ms;
    const auto second = run(Client::connect(qemu.path(), hasty));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::timeout);
    EXPECT_THAT(second.error().hint, HasSubstr("another client"));
    EXPECT_TRUE(run(query_status(*first)));
    first.reset();
    EXPECT_EQ(run(query_status(*connect(qemu)))->state, RunState::prelaunch);
}

TEST_P(RealQemu, AStoppedQemuIsATimeoutAndThenGoesOn) {
    const Qemu qemu(context_, GetParam());
    auto client = connect(qemu);
    qemu.signal(SIGSTOP);
    Request request("query-status");
    request.deadline = 200ms;
    const auto late = run(client->execute(std::move(request)));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::timeout);
    client.reset();
    ClientOptions hasty;
    hasty.greeting_deadline = 200ms;
    const auto silent = run(Client::connect(qemu.path(), hasty));
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code, ErrorCode::timeout);
    qemu.signal(SIGCONT);
    EXPECT_TRUE(run(query_status(*connect(qemu))));
}

TEST_P(RealQemu, ResyncsAfterEventsWereLost) {
    const Qemu qemu(context_, GetParam());
    {
        const auto client = connect(qemu);
        ASSERT_TRUE(run(cont(*client)));
    }
    for (const auto state : {RunState::running, RunState::paused}) {
        auto resynced = run(connect_with_resync(qemu.path(), patient()));
        ASSERT_TRUE(resynced) << resynced.error().message;
        EXPECT_EQ(resynced->snapshot.status.state, state);
        EXPECT_EQ(resynced->snapshot.version, resynced->client->greeting()->version);
        EXPECT_EQ(resynced->snapshot.migration.status, MigrationStatus::none);
        ASSERT_TRUE(run(stop(*resynced->client)));
    }
}

TEST_P(RealQemu, AKilledQemuEndsEveryWait) {
    const Qemu qemu(context_, GetParam());
    const auto client = connect(qemu);
    qemu.signal(SIGSTOP);
    TaskGroup tasks(context_.get_executor());
    int failed = 0;
    auto ask = [&]() -> asio::awaitable<void> {
        const auto status = co_await query_status(*client);
        if (!status && status.error().code == ErrorCode::qemu_failed) ++failed;
    };
    for (int i = 0; i < 5; ++i) tasks.spawn("ask", ask());
    auto kill = [&]() -> asio::awaitable<bool> {
        co_await sleep_for(20ms);
        qemu.signal(SIGKILL);
        co_await tasks.join();
        co_return true;
    };
    run(kill());
    EXPECT_EQ(failed, 5);
}

TEST_P(RealQemu, AnswersQuickly) {
    const Qemu qemu(context_, GetParam());
    const auto client = connect(qemu);
    constexpr int rounds = 500;
    auto ask = [&]() -> asio::awaitable<int> {
        int right = 0;
        for (int i = 0; i < rounds; ++i) {
            const auto status = co_await query_status(*client);
            if (status) ++right;
        }
        co_return right;
    };
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(run(ask()), rounds);
    const auto spent = std::chrono::steady_clock::now() - begin;
    RecordProperty(
        "query_status_microseconds",
        static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(spent).count() /
                         rounds));
    const auto schema_begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(run(query_qmp_schema(*client)));
    const auto schema_spent = std::chrono::steady_clock::now() - schema_begin;
    RecordProperty(
        "schema_milliseconds",
        static_cast<int>(
            std::chrono::duration_cast<std::chrono::milliseconds>(schema_spent).count()));
}

INSTANTIATE_TEST_SUITE_P(Qemu, RealQemu, ::testing::Values("aarch64", "x86_64"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace noxsup::qmp
