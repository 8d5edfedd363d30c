// Disks made into files that stand on nothing, with the real qemu-img.
#include "imaging/flatten.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "supervisor/base/json.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging {
namespace {

using testing::HasSubstr;

class Flatten : public testing::Test {
  protected:
    Flatten() {
        const std::string base = (dir_ / "base.qcow2").string();
        const std::string disk = (dir_ / "disk.qcow2").string();
        run({"qemu-img", "create", "-q", "-f", "qcow2", base, "16M"});
        run({"qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 1M", base});
        run({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", disk,
             "32M"});
        run({"qemu-io", "-f", "qcow2", "-c", "write -q -P 2 1M 1M", disk});
        run({"qemu-img", "snapshot", "-c", "a.0123abcd", disk});
        run({"qemu-io", "-f", "qcow2", "-c", "write -q -P 3 1M 1M", disk});
    }
    std::string run(std::vector<std::string> argv) {
        Command command;
        command.argv = std::move(argv);
        const auto output = test::run_async(context_, runner_.run(std::move(command)));
        EXPECT_TRUE(output) << output.error().message;
        return output ? output->out + output->err : std::string();
    }
    [[nodiscard]] FlattenSpec spec() const {
        FlattenSpec spec;
        spec.disk = dir_ / "disk.qcow2";
        spec.base = dir_ / "base.qcow2";
        spec.output = dir_ / "flat.qcow2";
        return spec;
    }
    Result<> flatten(FlattenSpec spec) {
        return test::run_async(context_, flatten_disk(runner_, std::move(spec)));
    }
    bool holds(int pattern, const std::string& where) {
        const auto read = run({"qemu-io", "-r", "-f", "qcow2", "-c",
                               "read -q -P " + std::to_string(pattern) + " " + where + " 1M",
                               (dir_ / "flat.qcow2").string()});
        return read.find("failed") == std::string::npos;
    }

    test::TempDir dir_;
    boost::asio::io_context context_;
    ProcessRunner runner_;
};

TEST_F(Flatten, HoldsBaseAndDiskAndNoSnapshot) {
    ASSERT_TRUE(flatten(spec()));
    EXPECT_TRUE(holds(1, "0"));
    EXPECT_TRUE(holds(3, "1M"));
    EXPECT_TRUE(holds(0, "31M"));
    const auto info = Json::parse(
        run({"qemu-img", "info", "--output=json", "-f", "qcow2", (dir_ / "flat.qcow2").string()}));
    EXPECT_FALSE(info.contains("backing-filename"));
    EXPECT_FALSE(info.contains("snapshots"));
    EXPECT_EQ(info["virtual-size"], 32 << 20);
    struct stat file {};
    ASSERT_EQ(::stat((dir_ / "flat.qcow2").c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(Flatten, ASnapshotIsWhatTheDiskWasThen) {
    auto wanted = spec();
    wanted.snapshot = "a.0123abcd";
    ASSERT_TRUE(flatten(wanted));
    EXPECT_TRUE(holds(1, "0"));
    EXPECT_TRUE(holds(2, "1M"));
}

TEST_F(Flatten, WhatFailsLeavesNothing) {
    auto wanted = spec();
    wanted.snapshot = "b.0123abcd";
    EXPECT_EQ(flatten(wanted).error().code, ErrorCode::command_failed);
    EXPECT_FALSE(std::filesystem::exists(wanted.output));
    // The guest could have written that its data, or its base, is another file: neither is opened.
    auto disk = test::slurp(dir_ / "disk.qcow2");
    const auto name = disk.find("base.qcow2");
    ASSERT_NE(name, std::string::npos);
    disk.replace(name, 4, "none");
    dir_.write("disk.qcow2", disk);
    EXPECT_TRUE(flatten(spec())) << "the base is the one that is given";
    EXPECT_TRUE(holds(1, "0"));
    EXPECT_EQ(flatten(spec()).error().code, ErrorCode::already_exists);
    std::filesystem::remove(dir_ / "flat.qcow2");
    disk[79] = 4;
    dir_.write("disk.qcow2", disk);
    EXPECT_EQ(flatten(spec()).error().code, ErrorCode::image_hostile);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "flat.qcow2"));
}

}  // namespace
}  // namespace noxsup::imaging
