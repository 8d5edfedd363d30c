#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "supervisor/launch/host_facts.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;

std::string descriptor(const std::string& code, const std::string& vars,
                       const std::string& features, const std::string& machine = "virt-*",
                       const std::string& device = "flash") {
    return R"({"mapping":{"device":")" + device + R"(","executable":{"filename":")" + code +
           R"(","format":"raw"},"nvram-template":{"filename":")" + vars +
           R"(","format":"raw"}},"targets":[{"architecture":"aarch64","machines":[")" + machine +
           R"("]}],"features":[)" + features + "]}";
}

class FirmwareTest : public testing::Test {
  protected:
    void install(const std::string& name) { root_.write(name.substr(1), "x"); }
    test::TempDir root_;
};

TEST_F(FirmwareTest, NoneNamesThePackage) {
    const auto arm = find_firmware(Arch::arm64, root_.path());
    ASSERT_FALSE(arm);
    EXPECT_EQ(arm.error().code, ErrorCode::host_lacks_firmware);
    EXPECT_EQ(arm.error().hint, "sudo apt install qemu-efi-aarch64");
    EXPECT_EQ(find_firmware(Arch::amd64, root_.path()).error().hint, "sudo apt install ovmf");
}

TEST_F(FirmwareTest, KnownPathsWorkWithoutDescriptors) {
    install("/usr/share/AAVMF/AAVMF_CODE.fd");
    EXPECT_FALSE(find_firmware(Arch::arm64, root_.path())) << "code alone is not enough";
    install("/usr/share/AAVMF/AAVMF_VARS.fd");
    EXPECT_EQ(find_firmware(Arch::arm64, root_.path())->code, "/usr/share/AAVMF/AAVMF_CODE.fd");
    install("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd");
    EXPECT_EQ(find_firmware(Arch::arm64, root_.path())->code,
              "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd");
    install("/usr/share/OVMF/OVMF_CODE.fd");
    install("/usr/share/OVMF/OVMF_VARS.fd");
    EXPECT_EQ(find_firmware(Arch::amd64, root_.path())->code, "/usr/share/OVMF/OVMF_CODE.fd");
}

TEST_F(FirmwareTest, DescriptorsThatEnforceSecureBootAreSkipped) {
    for (const auto* name : {"/fw/secure.fd", "/fw/plain.fd", "/fw/vars.fd"}) install(name);
    root_.write("usr/share/qemu/firmware/40-enrolled.json",
                descriptor("/fw/secure.fd", "/fw/vars.fd", R"("enrolled-keys","secure-boot")"));
    root_.write("usr/share/qemu/firmware/45-other-machine.json",
                descriptor("/fw/secure.fd", "/fw/vars.fd", "", "sbsa-ref"));
    root_.write("usr/share/qemu/firmware/46-memory.json",
                descriptor("/fw/secure.fd", "/fw/vars.fd", "", "virt-*", "memory"));
    root_.write("usr/share/qemu/firmware/47-damaged.json", "{");
    root_.write("usr/share/qemu/firmware/48-wrong-types.json",
                R"({"targets":7,"mapping":[],"features":"x"})");
    root_.write("usr/share/qemu/firmware/49-absent.json",
                descriptor("/fw/absent.fd", "/fw/vars.fd", ""));
    root_.write("usr/share/qemu/firmware/60-plain.json",
                descriptor("/fw/plain.fd", "/fw/vars.fd", R"("verbose-static")"));
    const auto firmware = find_firmware(Arch::arm64, root_.path());
    ASSERT_TRUE(firmware);
    EXPECT_EQ(*firmware, (Firmware{"/fw/plain.fd", "/fw/vars.fd"}));
}

TEST_F(FirmwareTest, ADescriptorInEtcHidesTheOneOfTheSameName) {
    for (const auto* name : {"/fw/mine.fd", "/fw/plain.fd", "/fw/vars.fd"}) install(name);
    root_.write("usr/share/qemu/firmware/60-a.json", descriptor("/fw/plain.fd", "/fw/vars.fd", ""));
    root_.write("etc/qemu/firmware/60-a.json", descriptor("/fw/mine.fd", "/fw/vars.fd", ""));
    EXPECT_EQ(find_firmware(Arch::arm64, root_.path())->code, "/fw/mine.fd");
}

TEST_F(FirmwareTest, ThisHostsFirmwareIsFound) {
    for (const auto arch : {Arch::arm64, Arch::amd64}) {
        const auto firmware = find_firmware(arch);
        ASSERT_TRUE(firmware) << firmware.error().message;
        EXPECT_THAT(firmware->code, testing::Not(testing::HasSubstr(".ms.")));
    }
}

TEST_F(FirmwareTest, TheCopyIsEqualSparseAndPrivate) {
    const auto content = std::string(100, 'a') + std::string(3 << 20, '\0') +
                         std::string(70000, 'b') + std::string(1 << 20, '\0');
    const auto source = root_.write("vars.fd", content);
    ASSERT_TRUE(copy_firmware_vars(source, root_ / "efivars.fd"));
    EXPECT_TRUE(test::slurp(root_ / "efivars.fd") == content);
    struct stat info {};
    ASSERT_EQ(::stat((root_ / "efivars.fd").c_str(), &info), 0);
    EXPECT_LT(info.st_blocks * 512, 512 << 10);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
    const auto again = copy_firmware_vars(source, root_ / "efivars.fd");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::already_exists);
}

TEST_F(FirmwareTest, AFailedCopyLeavesNoFile) {
    EXPECT_FALSE(copy_firmware_vars(root_ / "absent", root_ / "copy"));
    EXPECT_FALSE(std::filesystem::exists(root_ / "copy"));
    EXPECT_FALSE(copy_firmware_vars(root_.path(), root_ / "copy")) << "a directory cannot be read";
    EXPECT_FALSE(std::filesystem::exists(root_ / "copy"));
}

}  // namespace
}  // namespace noxsup::launch
