#include "imaging/image_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "imaging/qemu_img.hpp"
#include "tests/support/image_test.hpp"

namespace noxsup::imaging {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string digest_a(64, 'a');
const std::string digest_b = std::string(63, 'a') + "b";

class ImageStoreTest : public test::ImageTest {
  protected:
    Image add(const std::string& digest, const std::string& name,
              const std::string& created = "2026-01-01T00:00:00Z") {
        dir_.write("images/new.new.part", "content of " + digest);
        Image image;
        image.digest = digest;
        image.origin = ImageOrigin::vendor;
        image.os = "debian";
        image.release = "13";
        image.arch = "arm64";
        image.created_at = created;
        auto adopted = store_.adopt(dir_ / "images/new.new.part", image, name);
        if (!adopted) throw std::runtime_error(adopted.error().message);
        return *adopted;
    }
    std::vector<std::string> names() { return test::names_in(store_.directory()); }
    ImageStore store_{dir_ / "images"};
};

TEST_F(ImageStoreTest, AnEmptyHomeHasNoImages) {
    EXPECT_THAT(*store_.list(), IsEmpty());
    EXPECT_FALSE(store_.find("debian-13-arm64"));
    EXPECT_FALSE(*store_.current("debian-13-arm64", "debian", "13", "arm64"));
}

TEST_F(ImageStoreTest, FindsByNameAndDigest) {
    add(digest_a, "debian-13-arm64");
    for (const auto& name :
         {std::string("debian-13-arm64"), std::string("debian-13-arm64.qcow2"), digest_a,
          "sha256:" + digest_a, "sha256-" + digest_a + ".qcow2", digest_a.substr(0, 12)}) {
        const auto found = store_.find(name);
        ASSERT_TRUE(found) << name;
        EXPECT_EQ(found->digest, digest_a);
    }
    EXPECT_EQ(store_.find("aaaaaa").error().code, ErrorCode::image_not_found)
        << "too short to mean a digest";
    add(digest_b, "");
    EXPECT_EQ(store_.find(digest_a.substr(0, 20)).error().code, ErrorCode::invalid_argument);
}

TEST_F(ImageStoreTest, AnImageIsImmutableAndKeptOnce) {
    const auto first = add(digest_a, "one");
    const auto second = add(digest_a, "two", "2027-01-01T00:00:00Z");
    EXPECT_EQ(second.created_at, first.created_at);
    EXPECT_THAT(second.names, ElementsAre("one", "two"));
    struct stat info {};
    ASSERT_EQ(::stat(first.path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0444U);
    EXPECT_THAT(names(), ElementsAre("one.qcow2", "sha256-" + digest_a + ".json",
                                     "sha256-" + digest_a + ".qcow2", "two.qcow2"));
}

TEST_F(ImageStoreTest, AFailedAdoptionLeavesTheOldNameAndNothingElse) {
    add(digest_a, "debian-13-arm64");
    const auto before = names();
    Image image;
    image.digest = digest_b;
    EXPECT_FALSE(store_.adopt(dir_ / "images/not-there", image, "debian-13-arm64"));
    image.digest = "../../etc/x";
    dir_.write("images/x.new.part", "x");
    EXPECT_FALSE(store_.adopt(dir_ / "images/x.new.part", image, "debian-13-arm64"));
    fs::remove(dir_ / "images/x.new.part");
    EXPECT_EQ(names(), before);
    EXPECT_EQ(store_.find("debian-13-arm64")->digest, digest_a);
}

TEST_F(ImageStoreTest, ANameMovesAndTheOldImageStays) {
    add(digest_a, "debian-13-arm64");
    add(digest_b, "debian-13-arm64");
    EXPECT_EQ(store_.find("debian-13-arm64")->digest, digest_b);
    EXPECT_THAT(store_.by_digest(digest_a)->names, IsEmpty());
}

TEST_F(ImageStoreTest, UsedImagesAreNotRemoved) {
    add(digest_a, "debian-13-arm64");
    EXPECT_EQ(store_.remove("debian-13-arm64", {digest_a}).error().code, ErrorCode::image_in_use);
    EXPECT_TRUE(store_.find("debian-13-arm64"));
    EXPECT_TRUE(store_.remove("debian-13-arm64", {digest_b}));
    EXPECT_THAT(names(), IsEmpty());
    EXPECT_EQ(store_.remove("debian-13-arm64", {}).error().code, ErrorCode::image_not_found);
}

TEST_F(ImageStoreTest, OneNameOfTwoLeavesTheImage) {
    add(digest_a, "one");
    add(digest_a, "two");
    ASSERT_TRUE(store_.remove("one", {}));
    EXPECT_THAT(store_.by_digest(digest_a)->names, ElementsAre("two"));
    ASSERT_TRUE(store_.remove(digest_a, {}));
    EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ImageStoreTest, PruneTakesWhatNobodyNeeds) {
    add(digest_a, "kept");
    add(digest_b, "");
    dir_.write("images/old.part", "x");
    dir_.write("images/old.part.json", "x");
    dir_.write("images/busy.part", "x");
    dir_.write("images/busy.new.part", "x");
    dir_.write("images/nox.qcow2", "foreign");
    const auto lock = store_.try_lock("busy");
    ASSERT_TRUE(*lock);
    const auto pruned = [this](const UsedDigests& used, bool only_look) {
        std::vector<std::string> files;
        const auto taken = store_.prune(used, only_look);
        for (const auto& each : *taken) files.push_back(each.file);
        return files;
    };
    const auto before = names();
    EXPECT_THAT(pruned({}, true),
                ElementsAre("sha256-" + digest_b + ".qcow2", "old.part", "old.part.json"));
    EXPECT_EQ(names(), before) << "it only looks";
    EXPECT_THAT(pruned({digest_b}, false), ElementsAre("old.part", "old.part.json"));
    EXPECT_THAT(pruned({}, false), ElementsAre("sha256-" + digest_b + ".qcow2"));
    EXPECT_THAT(names(),
                ElementsAre("busy.new.part", "busy.part", "kept.qcow2", "nox.qcow2",
                            "sha256-" + digest_a + ".json", "sha256-" + digest_a + ".qcow2"));
}

TEST_F(ImageStoreTest, ALockIsHeldByOne) {
    ASSERT_TRUE(store_.prepare());
    auto first = store_.try_lock("x");
    ASSERT_TRUE(first && *first);
    EXPECT_FALSE(*store_.try_lock("x"));
    EXPECT_TRUE(*store_.try_lock("y"));
    first->reset();
    EXPECT_TRUE(*store_.try_lock("x"));
}

TEST_F(ImageStoreTest, ForeignFilesAndLinksAreListedAndLeftAlone) {
    dir_.write("images/debian-arm64.qcow2", "nox");
    fs::create_symlink("/etc/passwd", dir_ / "images/link.qcow2");
    const auto images = store_.list();
    ASSERT_EQ(images->size(), 1U);
    EXPECT_EQ(images->at(0).origin, ImageOrigin::foreign);
    EXPECT_EQ(store_.find("debian-arm64").error().code, ErrorCode::wrong_state);
    EXPECT_EQ(store_.set_name("debian-arm64", digest_a).error().code, ErrorCode::wrong_state);
    EXPECT_EQ(store_.set_name("link", digest_a).error().code, ErrorCode::wrong_state);
    EXPECT_EQ(test::slurp(dir_ / "images/debian-arm64.qcow2"), "nox");
}

TEST_F(ImageStoreTest, LostMetadataLosesNoImage) {
    const auto image = add(digest_a, "debian-13-arm64");
    dir_.write("images/sha256-" + digest_a + ".json", "{\"version\":");
    const auto found = store_.find("debian-13-arm64");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->origin, ImageOrigin::unknown);
    EXPECT_TRUE(store_.open(*found));
}

TEST_F(ImageStoreTest, OpensOnlyRegularFiles) {
    auto image = add(digest_a, "x");
    image.path = dir_ / "images/x.qcow2";
    EXPECT_FALSE(store_.open(image)) << "a link";
    image.path = dir_.path();
    EXPECT_FALSE(store_.open(image)) << "a directory";
}

class QemuImgTest : public ImageStoreTest {
  protected:
    /// A real base in the store.
    Image base() {
        fs::create_directories(store_.directory());
        tool({"qemu-img", "create", "-q", "-f", "qcow2", dir_ / "images/b.new.part", "64M"});
        Image image;
        image.digest = digest_a;
        image.virtual_bytes = 64 << 20;
        return *store_.adopt(dir_ / "images/b.new.part", image, "base");
    }
    OverlaySpec overlay(const Image& image, std::uint64_t bytes) {
        fs::create_directories(dir_ / "vms/testvm");
        OverlaySpec spec;
        spec.path = dir_ / "vms/testvm/disk.qcow2";
        spec.backing = store_.backing_path(image, dir_ / "vms/testvm");
        spec.backing_bytes = image.virtual_bytes;
        spec.virtual_bytes = bytes;
        return spec;
    }
    QemuImg qemu_img_{runner_};
};

TEST_F(QemuImgTest, MakesAnOverlayWithARelativeBase) {
    const auto spec = overlay(base(), 128 << 20);
    ASSERT_TRUE(run(qemu_img_.create_overlay(spec)));
    const auto info = run(qemu_img_.info(spec.path));
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->backing, "../../images/sha256-" + digest_a + ".qcow2");
    EXPECT_EQ(info->backing_format, "qcow2");
    EXPECT_EQ(info->virtual_bytes, 128U << 20U);
    EXPECT_FALSE(info->corrupt);
    struct stat status {};
    ASSERT_EQ(::stat(spec.path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    ASSERT_TRUE(run(qemu_img_.resize(spec.path, 256 << 20)));
    EXPECT_EQ(run(qemu_img_.info(spec.path))->virtual_bytes, 256U << 20U);
    EXPECT_EQ(run(qemu_img_.resize(spec.path, 64 << 20)).error().code, ErrorCode::disk_too_small);
}

TEST_F(QemuImgTest, TypedErrorsLeaveNoFile) {
    const auto image = base();
    EXPECT_EQ(run(qemu_img_.create_overlay(overlay(image, 32 << 20))).error().code,
              ErrorCode::disk_too_small);
    EXPECT_EQ(run(qemu_img_.create_overlay(overlay(image, (64 << 20) + 1))).error().code,
              ErrorCode::invalid_size);
    auto lost = overlay(image, 64 << 20);
    lost.backing = "../../images/gone.qcow2";
    EXPECT_EQ(run(qemu_img_.create_overlay(lost)).error().code, ErrorCode::image_not_found);
    auto nowhere = overlay(image, 64 << 20);
    nowhere.path = dir_ / "vms/none/disk.qcow2";
    fs::create_directories(dir_ / "vms/none");
    fs::remove_all(dir_ / "vms/none");
    EXPECT_FALSE(run(qemu_img_.create_overlay(nowhere)));
    EXPECT_THAT(test::names_in(dir_ / "vms/testvm"), IsEmpty());
    dir_.write("vms/testvm/disk.qcow2", "mine");
    EXPECT_EQ(run(qemu_img_.create_overlay(overlay(image, 64 << 20))).error().code,
              ErrorCode::already_exists);
    EXPECT_EQ(test::slurp(dir_ / "vms/testvm/disk.qcow2"), "mine");
}

TEST_F(QemuImgTest, AMissingToolIsNamedWithItsPackage) {
    QemuImg missing(runner_, "noxsup-no-qemu-img");
    const auto result = run(missing.create_disk(dir_ / "d.qcow2", 1 << 20));
    EXPECT_EQ(result.error().code, ErrorCode::host_lacks_tool);
    EXPECT_THAT(result.error().hint, HasSubstr("qemu-utils"));
    EXPECT_FALSE(fs::exists(dir_ / "d.qcow2"));
}

TEST_F(QemuImgTest, WhatIsNoQcow2IsTold) {
    dir_.write("x", std::string(1024, 'x'));
    EXPECT_EQ(run(qemu_img_.info(dir_ / "x")).error().code, ErrorCode::image_invalid);
    EXPECT_EQ(run(qemu_img_.info(dir_ / "y")).error().code, ErrorCode::unreadable_file);
}

}  // namespace
}  // namespace noxsup::imaging
