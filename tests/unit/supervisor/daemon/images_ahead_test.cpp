#include "supervisor/daemon/images_ahead.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <fstream>
#include <thread>

#include "tests/support/temp_dir.hpp"

namespace noxsup::daemon {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class ImagesAhead : public testing::Test {
  protected:
    ImagesAhead() {
        plan_.names = {"debian", "alpine"};
        plan_.every = plan_.settle = plan_.again = 20ms;
        plan_.marker = dir_ / "marker";
    }
    /// Runs it until so many were asked for, and at most this long.
    void run(std::size_t count, std::chrono::milliseconds limit = 60s) {
        boost::asio::cancellation_signal stop;
        bool ended = false;
        GetImage get = [this, count,
                        &stop](std::string name) -> boost::asio::awaitable<Result<bool>> {
            asked_.push_back(name);
            if (asked_.size() == count) stop.emit(boost::asio::cancellation_type::terminal);
            if (name == fails_) co_return Error{ErrorCode::vendor_unreachable, "not there"};
            co_return true;
        };
        boost::asio::co_spawn(
            context_, keep_images_ahead(plan_, get),
            boost::asio::bind_cancellation_slot(
                stop.slot(), [&ended](const std::exception_ptr&) { ended = true; }));
        context_.restart();
        context_.run_for(limit);
        if (!ended) stop.emit(boost::asio::cancellation_type::terminal);
        context_.restart();
        context_.run();
    }

    test::TempDir dir_;
    boost::asio::io_context context_;
    AheadPlan plan_;
    std::string fails_;
    std::vector<std::string> asked_;
};

TEST_F(ImagesAhead, AreAskedForRoundAfterRound) {
    run(4);
    EXPECT_THAT(asked_, ElementsAre("debian", "alpine", "debian", "alpine"));
    EXPECT_TRUE(std::filesystem::exists(plan_.marker));
}

TEST_F(ImagesAhead, WithoutNamesNothingIsDone) {
    plan_.names.clear();
    run(1);
    EXPECT_THAT(asked_, IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(plan_.marker));
}

TEST_F(ImagesAhead, OneThatIsNotToBeHadKeepsNoOtherBack) {
    fails_ = "debian";
    plan_.every = 1h;
    run(3);
    EXPECT_THAT(asked_, ElementsAre("debian", "alpine", "debian"));
}

TEST_F(ImagesAhead, ARoundOfAnEarlierSupervisorCounts) {
    std::ofstream(plan_.marker) << "";
    plan_.every = 1h;
    run(1, 200ms);
    EXPECT_THAT(asked_, IsEmpty());
    // One that lies in the future is of a clock that was wrong.
    std::filesystem::last_write_time(plan_.marker,
                                     std::filesystem::file_time_type::clock::now() + 24h);
    run(1);
    EXPECT_THAT(asked_, ElementsAre("debian"));
}

}  // namespace
}  // namespace noxsup::daemon
