// Promises P8c and P9: a state file that is cut, flipped or wrong by its content quarantines that
// one VM, is told, and costs no other VM, no file and no process anything.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <random>

#include "imaging/image_store.hpp"
#include "supervisor/daemon/registry.hpp"
#include "supervisor/launch/life_lock.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/stranger.hpp"
#include "tests/support/vm_home.hpp"
#include "tests/support/wrong_states.hpp"

namespace noxsup::daemon {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

class DamagedStates : public test::VmHome {
  protected:
    DamagedStates() {
        environment_.boot_id = *launch::read_boot_id();
        create(record_of("before", 1));
        create(record_of("vm", 2));
        create(record_of("with", 3));
        meta_ = test::slurp(home_.vm("vm") / "meta.json");
    }

    static state::VmRecord record_of(const std::string& name, unsigned number) {
        state::VmRecord record;
        record.spec = test::sample_spec();
        record.spec.name = name;
        record.spec.id = "0000000" + std::to_string(number);
        record.spec.uuid.back() = static_cast<char>('0' + number);
        record.spec.networks[0].mac.back() = static_cast<char>('0' + number);
        record.started_at = "2026-01-01T00:00:00Z";
        return record;
    }
    void create(const state::VmRecord& record) {
        const auto begun = store_.begin_create(record.spec.id);
        ASSERT_TRUE(begun);
        ASSERT_TRUE(store_.finish_create(*begun, record));
    }
    void put_meta(const std::string& text) { dir_.write("home/vms/vm/meta.json", text); }

    /// A supervisor that starts: sweeps, loads and adopts. The other two VMs are as they were.
    Json status_after_start() {
        EXPECT_TRUE(store_.sweep());
        Registry registry(environment_);
        const auto loaded = registry.load();
        EXPECT_TRUE(loaded);
        boost::asio::io_context& context = context_;
        auto adopting = [](Registry& of) -> boost::asio::awaitable<int> {
            co_await of.adopt_all();
            co_return 0;
        };
        test::run_async(context, adopting(registry));
        const auto listed = registry.list();
        EXPECT_EQ(listed.size(), 3U);
        for (const auto* other : {"before", "with"}) {
            const auto whole = registry.status(other);
            EXPECT_TRUE(whole);
            EXPECT_EQ(whole->at("state"), "stopped") << other;
            EXPECT_EQ(whole->at("degraded"), Json::array()) << other;
        }
        const auto status = registry.status("vm");
        EXPECT_TRUE(status);
        for (const auto& vm : registry.all()) vm->release();
        return status ? *status : Json::object();
    }

    /// The VM is damaged, told so, and nothing of it is gone.
    void expect_quarantined(const std::string& text, const std::string& why) {
        const auto status = status_after_start();
        EXPECT_EQ(status.at("state"), "damaged") << why;
        ASSERT_EQ(status.at("degraded").size(), 1U) << why;
        EXPECT_THAT(status.at("degraded").at(0).get<std::string>(), StartsWith("meta.json: "));
        EXPECT_EQ(test::slurp(home_.vm("vm") / "meta.json"), text) << why;
    }

    /// A damaged newest generation: the one before it serves, if there is one, and that is told.
    void expect_told(const std::string& text, bool has_previous, const std::string& why) {
        put_meta(text);
        if (!has_previous) return expect_quarantined(text, why);
        const auto status = status_after_start();
        EXPECT_EQ(status.at("state"), "stopped") << why;
        EXPECT_EQ(status.at("started_at"), "2026-01-01T00:00:00Z") << why;
        ASSERT_EQ(status.at("degraded").size(), 1U) << why;
        EXPECT_THAT(status.at("degraded").at(0).get<std::string>(),
                    HasSubstr("the generation before it is used"));
    }
    void save_newer() {
        put_meta(meta_);
        auto newer = record_of("vm", 2);
        newer.started_at = "2026-02-02T00:00:00Z";
        ASSERT_TRUE(store_.save(newer));
        meta_ = test::slurp(home_.vm("vm") / "meta.json");
    }

    std::string meta_;
};

TEST_F(DamagedStates, CutToEachSixteenth) {
    for (const bool has_previous : {false, true}) {
        if (has_previous) save_newer();
        for (std::size_t part = 0; part < 16; ++part) {
            expect_told(meta_.substr(0, meta_.size() * part / 16), has_previous,
                        std::to_string(part) + "/16");
        }
    }
    // The older generation may be cut to anything as long as the newest is whole.
    put_meta(meta_);
    const auto previous = test::slurp(home_.vm("vm") / "meta.json.prev");
    for (std::size_t part = 0; part < 16; ++part) {
        dir_.write("home/vms/vm/meta.json.prev", previous.substr(0, previous.size() * part / 16));
        const auto status = status_after_start();
        EXPECT_EQ(status.at("started_at"), "2026-02-02T00:00:00Z");
        EXPECT_EQ(status.at("degraded"), Json::array());
    }
}

TEST_F(DamagedStates, OneBitFlipped) {
    const int flips = test::is_long_run() ? 10'000 : 2'000;
    std::mt19937_64 random(20261126);
    for (int i = 0; i < flips && !HasFailure(); ++i) {
        const bool has_previous = i % 2 == 1;
        if (i == 1) save_newer();
        if (!has_previous) fs::remove(home_.vm("vm") / "meta.json.prev");
        if (has_previous) {
            dir_.write("home/vms/vm/meta.json.prev", state::to_text(record_of("vm", 2)));
        }
        auto text = meta_;
        const auto bit = random() % (text.size() * 8);
        text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
        expect_told(text, has_previous, "bit " + std::to_string(bit));
    }
    std::cout << flips << " flipped bits\n";
}

TEST_F(DamagedStates, WrongButWithAValidChecksum) {
    const auto states = test::wrong_states(*parse_json(meta_));
    EXPECT_GE(states.size(), 200U);
    for (const auto& wrong : states) {
        put_meta(wrong.text);
        expect_quarantined(wrong.text, wrong.what);
        if (HasFailure()) break;
    }
    std::cout << states.size() << " wrong states\n";
}

TEST_F(DamagedStates, AMetadataFileOfAnImageThatIsCutCostsItsWordsOnly) {
    const imaging::ImageStore images(home_.images());
    imaging::Image image;
    image.digest = std::string(64, 'a');
    image.os = "debian";
    ASSERT_TRUE(images.adopt(dir_.write("home/images/x.new.part", "content"), image, "debian"));
    const auto file = "home/images/sha256-" + image.digest + ".json";
    const auto text = test::slurp(dir_ / file);
    for (std::size_t part = 0; part < 16; ++part) {
        dir_.write(file, text.substr(0, text.size() * part / 16));
        const auto found = images.find("debian");
        ASSERT_TRUE(found) << part;
        EXPECT_EQ(found->digest, image.digest);
        EXPECT_EQ(found->os, "");
    }
}

TEST_F(DamagedStates, CopiesAreServedOnce) {
    // vms/with is after vms/vm by name, so that it is the copy.
    const auto replace = [this](auto change) {
        auto record = record_of("with", 3);
        change(record.spec);
        dir_.write("home/vms/with/meta.json", state::to_text(record));
    };
    const auto load = [this](const std::string& name) {
        Registry registry(environment_);
        EXPECT_TRUE(registry.load());
        return *registry.status(name);
    };
    replace([](spec::VmSpec& spec) { spec.id = "00000002"; });
    EXPECT_EQ(load("with").at("state"), "damaged");
    EXPECT_EQ(load("with").at("degraded").at(0), "its id is that of vm");
    EXPECT_EQ(load("vm").at("state"), "stopped");
    const auto uuid = record_of("vm", 2).spec.uuid;
    replace([&](spec::VmSpec& spec) { spec.uuid = uuid; });
    EXPECT_EQ(load("with").at("degraded").at(0), "its uuid is that of vm");
    EXPECT_EQ(load("vm").at("degraded"), Json::array());
    {
        // The one that runs is no copy.
        const auto lock = launch::take_life_lock(home_.vm("with") / "lock");
        EXPECT_NE(load("with").at("state"), "damaged");
        EXPECT_EQ(load("vm").at("degraded").at(0), "its uuid is that of with");
    }
    const auto mac = record_of("vm", 2).spec.networks[0].mac;
    replace([&](spec::VmSpec& spec) { spec.networks[0].mac = mac; });
    EXPECT_EQ(load("with").at("state"), "stopped");
    EXPECT_EQ(load("with").at("degraded").at(0), "its MAC address is that of vm");
}

/// Records that name a process which is none of ours.
class StrangersPid : public DamagedStates {
  protected:
    void put_record(lifecycle::State state, const launch::ProcessIdentity& identity) {
        auto record = record_of("vm", 2);
        record.state = state;
        record.qemu = identity;
        put_meta(state::to_text(record));
    }
    /// Starts a supervisor, then stops the VM by force.
    Json stop_after_start(Result<vm::StopMethod>* how = nullptr) {
        Registry registry(environment_);
        EXPECT_TRUE(registry.load());
        TaskGroup tasks(context_.get_executor());
        tasks.spawn("adoption", registry.adopt_all());
        const auto vm = *registry.find("vm");
        test::run_async(context_, settle(*vm));
        constexpr auto brief = std::chrono::milliseconds(20);
        auto outcome =
            test::run_async(context_, vm->stop(true, {brief, brief, brief, brief, brief}));
        if (how != nullptr) *how = std::move(outcome);
        auto status = *registry.status("vm");
        tasks.cancel();
        for (const auto& each : registry.all()) each->release();
        context_.restart();
        context_.run();
        return status;
    }
    static boost::asio::awaitable<int> settle(vm::Vm& vm) {
        co_await vm.settled();
        co_return 0;
    }
    test::Stranger stranger_;
};

TEST_F(StrangersPid, IsNotTouchedWhileNoQemuLives) {
    const auto exact = *launch::identify(stranger_.pid());
    auto later = exact;
    later.start_time += 1;
    auto other_boot = exact;
    other_boot.boot_id.back() ^= 1;
    for (const auto& identity : {exact, later, other_boot}) {
        for (const auto state : {lifecycle::State::running, lifecycle::State::stopped,
                                 lifecycle::State::paused, lifecycle::State::stopping}) {
            put_record(state, identity);
            EXPECT_EQ(stop_after_start().at("state"), "stopped");
            EXPECT_EQ(stranger_.touched(), "");
        }
    }
}

TEST_F(StrangersPid, IsNotTouchedThoughTheLockIsHeld) {
    // The record names the stranger to the tick, and something holds the life lock.
    const auto lock = launch::take_life_lock(home_.vm("vm") / "lock");
    put_record(lifecycle::State::running, *launch::identify(stranger_.pid()));
    Result<vm::StopMethod> how = vm::StopMethod::was_stopped;
    const auto status = stop_after_start(&how);
    EXPECT_EQ(status.at("state"), "unresponsive");
    EXPECT_EQ(status.at("pid"), nullptr);
    EXPECT_THAT(status.at("degraded").dump(), HasSubstr("not-adopted"));
    ASSERT_FALSE(how);
    EXPECT_EQ(how.error().code, ErrorCode::wrong_state);
    EXPECT_EQ(stranger_.touched(), "");
}

TEST_F(StrangersPid, AQemuThatCannotBeIdentifiedYetIsLookedForAgain) {
    // As a supervisor finds it that was started while QEMU loads its libraries.
    auto lock = launch::take_life_lock(home_.vm("vm") / "lock");
    ASSERT_TRUE(lock);
    Registry registry(environment_);
    ASSERT_TRUE(registry.load());
    TaskGroup tasks(context_.get_executor());
    tasks.spawn("adoption", registry.adopt_all());
    const auto vm = *registry.find("vm");
    test::run_async(context_, settle(*vm));
    EXPECT_EQ(vm->state(), lifecycle::State::unresponsive);
    lock->reset();
    auto join = [](TaskGroup& of) -> boost::asio::awaitable<int> {
        co_await of.join();
        co_return 0;
    };
    test::run_async(context_, join(tasks));
    EXPECT_EQ(vm->state(), lifecycle::State::stopped);
    EXPECT_EQ(vm->to_json().at("degraded"), Json::array());
}

}  // namespace
}  // namespace noxsup::daemon
