#include "supervisor/daemon/templates.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <fstream>
#include <future>

#include "tests/support/run_async.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

using RamPointer = std::shared_ptr<TemplateRam>;
using RamResult = Result<RamPointer>;

class TemplatesTest : public testing::Test {
  protected:
    TemplatesTest() { EXPECT_TRUE(home_.prepare()); }
    state::Template make(const std::string& id, std::vector<std::string> key) {
        state::Template made;
        made.id = id;
        made.spec = test::sample_kernel_spec(spec::Arch::amd64);
        made.spec.memory_bytes = 32 * spec::mebibyte;
        made.key = std::move(key);
        made.created_at = "2026-11-27T06:00:0" + id.substr(7) + "Z";
        const auto begun = templates_.store().begin(id);
        EXPECT_TRUE(begun);
        std::ofstream(*begun / state::template_ram_file) << "ram";
        std::filesystem::resize_file(*begun / state::template_ram_file, made.spec.memory_bytes);
        EXPECT_TRUE(templates_.store().finish(*begun, made));
        return made;
    }
    RamResult ram_of(const state::Template& made, const std::string& version = "7.2.22") {
        launch::QemuBinary qemu;
        qemu.version = version;
        return templates_.ram_of(made, qemu);
    }

    test::TempDir dir_;
    state::Home home_{dir_ / "home", state::Scope::user};
    boost::asio::io_context context_;
    boost::asio::thread_pool pool_{1};
    Templates templates_{context_.get_executor(), pool_, home_};
};

TEST_F(TemplatesTest, TheNewestThatFitsIsFound) {
    make("00000001", {"image a", "cpus 1"});
    make("00000002", {"image a", "cpus 1"});
    make("00000003", {"image a", "cpus 2"});
    const auto match = templates_.match({"image a", "cpus 1"});
    ASSERT_TRUE(match);
    ASSERT_TRUE(match->found);
    EXPECT_EQ(match->found->id, "00000002");
}

TEST_F(TemplatesTest, OfThoseThatDoNotTheNearestTellsWhy) {
    make("00000001", {"image a", "cpus 4", "memory 2"});
    make("00000002", {"image a", "cpus 4", "memory 1"});
    const auto match = templates_.match({"image a", "cpus 1", "memory 1"});
    ASSERT_TRUE(match);
    EXPECT_FALSE(match->found);
    EXPECT_EQ(match->difference, "there was cpus 4, now there is cpus 1");
    EXPECT_THAT(templates_.match({"image b", "cpus 4"})->difference, IsEmpty());
}

TEST_F(TemplatesTest, TheCopyInMemoryIsOneAndGoesWithItsLastUser) {
    const auto made = make("00000001", {"image a"});
    auto one = ram_of(made);
    ASSERT_TRUE(one) << one.error().message;
    auto two = ram_of(made);
    ASSERT_TRUE(two);
    EXPECT_EQ(*one, *two);
    EXPECT_TRUE(test::run_async(context_, (*one)->ready()));
    EXPECT_TRUE(test::run_async(context_, (*two)->ready())) << "it is filled once";
    const std::weak_ptr<TemplateRam> seen(*one);
    one = RamPointer();
    EXPECT_FALSE(seen.expired());
    two = RamPointer();
    // The thread that has filled it may hold it for a moment longer.
    EXPECT_TRUE(test::comes_true(
        context_, [&seen] { return seen.expired(); }, std::chrono::seconds(30)));
    EXPECT_TRUE(ram_of(made));
}

TEST_F(TemplatesTest, AQemuThatMapsTheFileItselfGetsIt) {
    const auto made = make("00000001", {"image a"});
    const auto ram = ram_of(made, "10.0.2");
    ASSERT_TRUE(ram) << ram.error().message;
    EXPECT_EQ(
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string((*ram)->file().get())),
        templates_.store().directory(made.id) / "ram");
    EXPECT_TRUE(test::run_async(context_, (*ram)->ready()));
}

TEST_F(TemplatesTest, ADamagedOneIsAnErrorForThatOneAlone) {
    const auto made = make("00000001", {"image a"});
    std::filesystem::resize_file(templates_.store().directory(made.id) / "ram", 4096);
    const auto ram = ram_of(made);
    ASSERT_FALSE(ram);
    EXPECT_THAT(ram.error().message, HasSubstr("not of the template's memory size"));
}

TEST_F(TemplatesTest, OneThatCouldNotBeFilledIsFilledAgainForTheNext) {
    const auto made = make("00000001", {"image a"});
    const auto file = templates_.store().directory(made.id) / "ram";
    std::promise<void> go;
    boost::asio::post(pool_, [&go] { go.get_future().wait(); });
    auto one = ram_of(made);
    ASSERT_TRUE(one) << one.error().message;
    // A share of it ends in the middle of what was data.
    std::filesystem::resize_file(file, 1);
    go.set_value();
    const auto ready = test::run_async(context_, (*one)->ready());
    ASSERT_FALSE(ready);
    EXPECT_THAT(ready.error().message, HasSubstr("shorter"));
    std::filesystem::resize_file(file, made.spec.memory_bytes);
    const auto two = ram_of(made);
    ASSERT_TRUE(two) << two.error().message;
    EXPECT_NE(*one, *two);
    EXPECT_TRUE(test::run_async(context_, (*two)->ready()));
}

}  // namespace
}  // namespace noxsup::daemon
