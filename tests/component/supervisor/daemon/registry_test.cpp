// What the registry holds against others: base images of disks whose record is lost, and MACs.
#include "supervisor/daemon/registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/hostile_images.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/vm_home.hpp"

namespace noxsup::daemon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

class RegistryTest : public test::VmHome {
  protected:
    RegistryTest() {
        dir_.write("home/images/" + base_ + ".qcow2", test::honest_qcow2());
        std::filesystem::create_symlink(base_ + ".qcow2", home_.images() / "debian.qcow2");
    }

    /// An overlay that stands on this file.
    static std::string overlay(const std::string& backing) {
        auto image = test::honest_qcow2();
        image.replace(1000, backing.size(), backing);
        test::put_be64(image, 8, 1000);
        test::put_be32(image, 16, static_cast<std::uint32_t>(backing.size()));
        return image;
    }
    void make_vm(const std::string& name, const std::string& digest) {
        state::VmRecord record;
        record.spec = test::sample_spec();
        record.spec.name = name;
        record.spec.disk.base_digest = digest;
        const auto begun = store_.begin_create("0000" + name);
        ASSERT_TRUE(store_.finish_create(*begun, record));
    }

    const std::string digest_ = std::string(64, 'b');
    const std::string base_ = "sha256-" + digest_;
    Registry registry_{environment_};
};

TEST_F(RegistryTest, ADamagedVmKeepsItsBase) {
    make_vm("good", std::string(64, 'a'));
    dir_.write("home/vms/bad/meta.json", "{\"noxsup_vm\": 1, ");
    dir_.write("home/vms/bad/disk.qcow2", overlay("../../images/" + base_ + ".qcow2"));
    ASSERT_TRUE(registry_.load());
    EXPECT_THAT(*registry_.used_digests(), ElementsAre(std::string(64, 'a'), digest_));
    EXPECT_THAT(registry_.overlay_bases().users,
                ElementsAre(Pair(std::string(64, 'a'), "good"), Pair(digest_, "bad")));
}

TEST_F(RegistryTest, SoDoDirectoriesWithoutARecord) {
    // Ours with nothing but the disk; nox's, whose disk has the VM's name, by a link of ours.
    dir_.write("home/vms/bare/disk.qcow2", overlay("../../images/" + base_ + ".qcow2"));
    dir_.write("home/vms/theirs/meta.json", "{\"name\": \"theirs\"}");
    dir_.write("home/vms/theirs/theirs.qcow2", overlay((home_.images() / "debian.qcow2").string()));
    ASSERT_TRUE(registry_.load());
    EXPECT_THAT(*registry_.used_digests(), ElementsAre(digest_));
    EXPECT_THAT(registry_.overlay_bases().users,
                ElementsAre(Pair(digest_, "bare"), Pair(digest_, "theirs")));
}

TEST_F(RegistryTest, WhatStandsOnNothingOfOursProtectsNothing) {
    dir_.write("home/vms/a/disk.qcow2", test::honest_qcow2());
    dir_.write("home/vms/b/b.qcow2", overlay("/var/lib/other.qcow2"));
    dir_.write("home/vms/c/c.qcow2", "raw bytes of another tool");
    dir_.write("home/vms/d/meta.json", "no disk here");
    dir_.write("home/vms/.new-1/disk.qcow2", "being made");
    ASSERT_TRUE(registry_.load());
    const auto used = registry_.used_digests();
    ASSERT_TRUE(used) << used.error().message;
    EXPECT_THAT(*used, IsEmpty());
}

TEST_F(RegistryTest, ADiskThatDoesNotTellKeepsAllImages) {
    const auto expect_unknown = [this] {
        const auto used = registry_.used_digests();
        ASSERT_FALSE(used);
        EXPECT_EQ(used.error().code, ErrorCode::image_in_use);
        EXPECT_THAT(used.error().message, HasSubstr("vms/bad/"));
        EXPECT_FALSE(used.error().hint.empty());
    };
    const auto whole = overlay("../../images/" + base_ + ".qcow2");
    for (const auto& bytes : {std::string(), whole.substr(0, 60), whole.substr(0, 1010),
                              std::string(65536, '\0'), overlay("json:{\"driver\": \"qcow2\"}")}) {
        dir_.write("home/vms/bad/disk.qcow2", bytes);
        expect_unknown();
    }
    std::filesystem::remove(home_.vm("bad") / "disk.qcow2");
    EXPECT_TRUE(registry_.used_digests());
    std::filesystem::create_symlink("/elsewhere", home_.vm("bad") / "disk.qcow2");
    expect_unknown();
    std::filesystem::remove(home_.vm("bad") / "disk.qcow2");
    dir_.write("home/vms/bad/theirs.qcow2", overlay("json:{\"driver\": \"qcow2\"}"));
    expect_unknown();
}

TEST_F(RegistryTest, AMacIsHeldWhileItsVmIsMade) {
    auto spec = test::sample_spec();
    {
        auto claim = registry_.claim("testvm");
        ASSERT_TRUE(claim);
        EXPECT_FALSE(registry_.has_mac(spec.networks[0].mac));
        claim->describe(spec);
        EXPECT_TRUE(registry_.has_mac(spec.networks[0].mac));
        EXPECT_FALSE(registry_.has_mac("52:54:00:00:00:01"));
        EXPECT_EQ(registry_.list().at(0).at("networks").at(0).at("mac"), spec.networks[0].mac);
    }
    EXPECT_FALSE(registry_.has_mac(spec.networks[0].mac));
}

TEST_F(RegistryTest, AVmIsDeletedOnceHoweverManyWantIt) {
    make_vm("good", digest_);
    ASSERT_TRUE(registry_.load());
    const auto vm = *registry_.find("good");
    ASSERT_TRUE(vm->mark_deleted());
    // The second would remove whoever has the name by then.
    const auto second = vm->mark_deleted();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::vm_not_found);
    EXPECT_EQ(second.error().message, "good has been deleted meanwhile");
    vm->unmark_deleted();
    EXPECT_TRUE(vm->mark_deleted()) << "where the first one failed, another may try";
}

TEST_F(RegistryTest, SweepsTheRuntimeDirectoriesOfVmsThatAreGone) {
    make_vm("vm", digest_);
    const auto id = test::sample_spec().id;
    dir_.write("home/run/" + id + "/qmp", "");
    dir_.write("home/run/0000beef/qmp", "");
    dir_.write("home/run/kvm.json", "{}");
    dir_.write("home/run/theirs/file", "");
    dir_.write("home/vms/bad/meta.json", "{\"noxsup_vm\": 1, ");
    ASSERT_TRUE(Registry(environment_).load());
    EXPECT_TRUE(std::filesystem::exists(dir_ / "home/run/0000beef/qmp"))
        << "it may be that of the damaged VM";
    std::filesystem::remove_all(home_.vm("bad"));
    ASSERT_TRUE(Registry(environment_).load());
    EXPECT_FALSE(std::filesystem::exists(dir_ / "home/run/0000beef"));
    for (const auto* kept : {"kvm.json", "theirs/file"})
        EXPECT_TRUE(std::filesystem::exists(dir_ / "home/run" / kept)) << kept;
    EXPECT_TRUE(std::filesystem::exists(dir_ / "home/run" / id / "qmp"));
}

}  // namespace
}  // namespace noxsup::daemon
