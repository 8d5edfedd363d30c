#include "supervisor/launch/qemu_argv.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "supervisor/launch/device_table.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using spec::Accel;
using spec::Arch;
using testing::Contains;
using testing::HasSubstr;

/// Distinct numbers, so that a mix-up shows.
LaunchFds fds_of(const spec::VmSpec& spec) {
    LaunchFds fds;
    fds.disk = 11;
    fds.base = 12;
    fds.seed = 13;
    if (!spec.boot.firmware_code.empty()) {
        fds.firmware_code = 14;
        fds.firmware_vars = 15;
    }
    if (spec.boot.mode == spec::BootMode::kernel) {
        fds.kernel = 16;
        fds.initrd = 17;
    }
    fds.qmp = 18;
    fds.console = 19;
    fds.agent = 20;
    if (spec.boot.follow) fds.guest_port = 50;
    int next = 21;
    for (const auto& network : spec.networks) {
        auto& taps = fds.nics.emplace_back().taps;
        if (!spec::has_tap(network)) continue;
        taps.resize(network_queues(spec, network));
        std::iota(taps.begin(), taps.end(), next);
        next += static_cast<int>(taps.size());
    }
    return fds;
}

std::vector<std::string> argv_of(const spec::VmSpec& spec) {
    return build_qemu_argv(spec, test::sample_qemu(spec.arch), fds_of(spec));
}

/// Compares with tests/golden/argv/NAME.txt, one argument a line.
void expect_golden(const std::string& name, const std::vector<std::string>& argv) {
    std::string text;
    for (const auto& argument : argv) text += argument + "\n";
    test::expect_golden(text, "argv/" + name + ".txt");
}

spec::VmSpec with_kvm(spec::VmSpec spec) {
    spec.accel = Accel::kvm;
    return spec;
}

TEST(QemuArgvGoldenTest, Arm64KvmFirmwareUser) {
    expect_golden("arm64-kvm-firmware-user", argv_of(with_kvm(test::sample_spec(Arch::arm64))));
}

TEST(QemuArgvGoldenTest, Arm64TcgFirmwareUserPublished) {
    auto spec = test::sample_spec(Arch::arm64);
    spec.networks[0].publish = {{"0.0.0.0", 8080, 80, spec::Protocol::tcp},
                                {"127.0.0.1", 5353, 53, spec::Protocol::udp}};
    expect_golden("arm64-tcg-firmware-user-published", argv_of(spec));
}

TEST(QemuArgvGoldenTest, Arm64KvmKernelBridgeVhost) {
    auto spec = with_kvm(test::sample_bridge_spec(Arch::arm64));
    spec.boot = test::sample_kernel_spec(Arch::arm64).boot;
    spec.cpus = 1;
    auto fds = fds_of(spec);
    fds.nics[0].vhosts = {22};
    expect_golden("arm64-kvm-kernel-bridge-vhost",
                  build_qemu_argv(spec, test::sample_qemu(spec.arch), fds));
}

TEST(QemuArgvGoldenTest, Arm64KvmFirmwareBridgeOfFourCpus) {
    auto spec = with_kvm(test::sample_bridge_spec(Arch::arm64));
    spec.cpus = 4;
    auto fds = fds_of(spec);
    fds.nics[0].vhosts = {31, 32, 33, 34};
    expect_golden("arm64-kvm-firmware-bridge-4-cpus",
                  build_qemu_argv(spec, test::sample_qemu(spec.arch), fds));
}

TEST(QemuArgvGoldenTest, Arm64KvmThreeNetworks) {
    auto spec = with_kvm(test::sample_bridge_spec(Arch::arm64));
    spec.networks.push_back(test::sample_spec(Arch::arm64).networks[0]);
    spec.networks[1].mac = "52:54:00:3f:2a:9d";
    spec.networks[1].slot = 1;
    spec.networks[1].ssh_port = 0;
    spec.networks.push_back(spec.networks[0]);
    spec.networks[2].mac = "52:54:00:3f:2a:9e";
    spec.networks[2].tap = "nx3f2a9c412";
    spec.networks[2].slot = 2;
    auto fds = fds_of(spec);
    fds.nics[2].vhosts = {31, 32};
    expect_golden("arm64-kvm-three-networks",
                  build_qemu_argv(spec, test::sample_qemu(spec.arch), fds));
}

/// The first of three cards was detached, and one came while the VM ran.
TEST(QemuArgvGoldenTest, Arm64KvmPluggedCard) {
    auto spec = with_kvm(test::sample_bridge_spec(Arch::arm64));
    spec.cpus = 1;
    spec.networks[0].slot = 2;
    spec.networks[0].tap = "nx3f2a9c412";
    spec.networks.push_back(test::sample_spec(Arch::arm64).networks[0]);
    spec.networks[1].mac = "52:54:00:3f:2a:9d";
    spec.networks[1].slot = 0;
    spec.networks[1].spare_port = 1;
    spec.networks[1].ssh_port = 0;
    expect_golden("arm64-kvm-plugged-card", argv_of(spec));
}

TEST(QemuArgvGoldenTest, Arm64TcgKernelRestricted) {
    auto spec = test::sample_kernel_spec(Arch::arm64);
    spec.networks[0].restricted = true;
    expect_golden("arm64-tcg-kernel-restricted", argv_of(spec));
}

TEST(QemuArgvGoldenTest, Arm64KvmKernelOfTheGuestsDisk) {
    auto spec = with_kvm(test::sample_kernel_spec(Arch::arm64));
    spec.boot.follow = true;
    spec.cloud_init.stock = false;
    expect_golden("arm64-kvm-kernel-of-the-disk", argv_of(spec));
}

std::string command_line_of(const spec::VmSpec& spec) {
    const auto argv = argv_of(spec);
    const auto option = std::ranges::find(argv, "-append");
    return option == argv.end() ? "" : *std::next(option);
}

/// What is said on the console of a kernel of the guest's disk, unless somebody has decided on it.
TEST(QemuArgv, AKernelOfTheGuestsDiskTellsErrorsAlone) {
    auto spec = test::sample_kernel_spec(Arch::arm64);
    spec.boot.follow = true;
    spec.cloud_init.stock = false;
    spec.boot.command_line = "ro debugger=no";
    EXPECT_EQ(command_line_of(spec), "ro debugger=no loglevel=4 systemd.show_status=auto");
    spec.cloud_init.stock = true;
    EXPECT_EQ(command_line_of(spec), "ro debugger=no") << "the vendor's way";
    spec.cloud_init.stock = false;
    spec.boot.follow = false;
    EXPECT_EQ(command_line_of(spec), "ro debugger=no") << "a kernel of the user's";
    spec.boot.follow = true;
    for (const auto* own : {"quiet", "ro quiet", "loglevel=7 ro", "ro debug", "ignore_loglevel",
                            "systemd.show_status=1"}) {
        spec.boot.command_line = own;
        EXPECT_EQ(command_line_of(spec), own);
    }
}

/// A machine that becomes a template, and those that begin with one.
TEST(QemuArgvGoldenTest, Templates) {
    auto spec = with_kvm(test::sample_kernel_spec(Arch::arm64));
    spec.boot.follow = true;
    spec.warm_template = "0badcafe";
    auto fds = fds_of(spec);
    fds.ram = 51;
    fds.ram_shared = true;
    auto qemu = test::sample_qemu(spec.arch);
    expect_golden("arm64-kvm-template", build_qemu_argv(spec, qemu, fds));
    fds.ram_shared = false;
    expect_golden("arm64-kvm-warm-qemu-7.2", build_qemu_argv(spec, qemu, fds, Ram::incoming));
    for (const auto* version : {"8.2.0", "8.10.1", "10.0.2"}) {
        qemu.version = version;
        expect_golden("arm64-kvm-warm-qemu-8.2", build_qemu_argv(spec, qemu, fds, Ram::incoming));
    }
    qemu.version = "8.1.5";
    EXPECT_FALSE(maps_ram_read_only(qemu));
}

TEST(QemuArgvGoldenTest, Arm64TcgFirmwareLoadsKernel) {
    auto spec = test::sample_kernel_spec(Arch::arm64);
    spec.boot.firmware_code = "/usr/share/AAVMF/AAVMF_CODE.fd";
    expect_golden("arm64-tcg-firmware-kernel", argv_of(spec));
}

TEST(QemuArgvGoldenTest, Amd64KvmFirmwareBridge) {
    expect_golden("amd64-kvm-firmware-bridge",
                  argv_of(with_kvm(test::sample_bridge_spec(Arch::amd64))));
}

TEST(QemuArgvGoldenTest, Amd64KvmKernelUser) {
    expect_golden("amd64-kvm-kernel-user",
                  argv_of(with_kvm(test::sample_kernel_spec(Arch::amd64))));
}

TEST(QemuArgvGoldenTest, Amd64TcgFirmwareUser) {
    expect_golden("amd64-tcg-firmware-user", argv_of(test::sample_spec(Arch::amd64)));
}

TEST(QemuArgvGoldenTest, Amd64TcgKernelRawDiskWithoutSeed) {
    auto spec = test::sample_kernel_spec(Arch::amd64);
    spec.disk.format = spec::ImageFormat::raw;
    spec.disk.base_file.clear();
    spec.cloud_init.enabled = false;
    auto fds = fds_of(spec);
    fds.base = -1;
    fds.seed = -1;
    fds.initrd = -1;
    expect_golden("amd64-tcg-kernel-raw-plain",
                  build_qemu_argv(spec, test::sample_qemu(spec.arch), fds));
}

TEST(QemuArgvTest, NothingOfOursIsOpenedByPath) {
    auto spec = test::sample_kernel_spec(Arch::arm64);
    spec.boot.firmware_code = "/secret/code.fd";
    spec.boot.kernel = "/secret/vmlinuz";
    spec.boot.initrd = "/secret/initrd";
    spec.disk.base_file = "secret-base";
    for (const auto& argument : argv_of(spec)) EXPECT_THAT(argument, Not(HasSubstr("secret")));
}

TEST(QemuArgvTest, EveryDescriptorIsPassedOnce) {
    auto spec = test::sample_bridge_spec(Arch::arm64);
    spec.boot = test::sample_kernel_spec(Arch::arm64).boot;
    spec.boot.firmware_code = "code";
    spec.cpus = 1;
    const auto argv = argv_of(spec);
    for (int fd = 11; fd <= 21; ++fd) {
        const auto option = "fd=" + std::to_string(fd);
        const auto path = "/proc/self/fd/" + std::to_string(fd);
        int count = 0;
        for (const auto& argument : argv) {
            count += (argument + ",").find(option + ",") != std::string::npos || argument == path;
        }
        EXPECT_EQ(count, 1) << fd;
    }
}

TEST(QemuArgvTest, ConfinementIsOnEveryCommandLine) {
    for (const auto& spec : {test::sample_spec(Arch::arm64), test::sample_kernel_spec(Arch::amd64),
                             test::sample_bridge_spec(Arch::amd64)}) {
        const auto argv = argv_of(spec);
        EXPECT_THAT(
            argv,
            Contains("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
        EXPECT_THAT(argv, Contains("-nodefaults"));
        EXPECT_THAT(argv, Contains("-no-user-config"));
        EXPECT_THAT(argv, Contains("-S"));
    }
}

TEST(DeviceTableTest, AddressesAreUniqueAndWithinTheBus) {
    std::set<std::string_view> addresses;
    std::set<std::string_view> ids;
    int spare_ports = 0;
    for (const auto& entry : device_table()) {
        EXPECT_TRUE(ids.insert(entry.id).second) << entry.id;
        spare_ports += entry.id.starts_with("spare");
        if (entry.address.empty()) continue;
        EXPECT_TRUE(addresses.insert(entry.address).second) << entry.address;
        // One digit each, so that QEMU's hexadecimal and ours are the same; 0 is the host bridge.
        EXPECT_THAT(std::string(entry.address), testing::MatchesRegex("[1-9a-f]\\.[0-7]"));
    }
    EXPECT_EQ(spare_ports, 4);
}

TEST(DeviceTableTest, AnAddressDoesNotDependOnOtherDevices) {
    const auto addresses = [](const LaunchFds& fds) {
        const auto spec = test::sample_spec();
        std::map<std::string, std::string> found;
        const auto argv = build_qemu_argv(spec, test::sample_qemu(spec.arch), fds);
        for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
            if (argv[i] != "-device") continue;
            const auto device = *parse_json(argv[i + 1]);
            found[device["id"]] = device.value("addr", "");
        }
        return found;
    };
    auto fds = fds_of(test::sample_spec());
    const auto all = addresses(fds);
    fds.seed = -1;
    auto without_seed = addresses(fds);
    EXPECT_EQ(all.size(), without_seed.size() + 1);
    without_seed["seed0"] = all.at("seed0");
    EXPECT_EQ(without_seed, all);
}

/// How QEMU reads a comma-separated option: two commas are one that does not separate.
std::vector<std::string> split_option(const std::string& text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            parts.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            parts.back() += text[++i];
        } else {
            parts.emplace_back();
        }
    }
    return parts;
}

TEST(QemuArgvPropertyTest, TextOfOthersNeverSplitsAnArgument) {
    std::mt19937 random(20261123);
    const std::string alphabet = "abz09-_.,,,==::\"'\\ {}[]%$;\n/\t\x7f";
    const auto word = [&] {
        std::string text;
        const auto length = random() % 40 + 1;
        for (unsigned i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
        return text;
    };
    const auto plain = argv_of(test::sample_kernel_spec(Arch::arm64));
    // Three words each: over 5,000 strings.
    for (int i = 0; i < 1700; ++i) {
        auto spec = test::sample_kernel_spec(Arch::arm64);
        spec.name = word();
        spec.boot.command_line = word();
        spec.networks[0].mac = word();
        const auto argv = argv_of(spec);
        ASSERT_EQ(argv.size(), plain.size());
        for (std::size_t at = 0; at < argv.size(); ++at) {
            if (plain[at] == argv[at]) continue;
            const auto& option = plain[at - 1];
            if (option == "-name") {
                ASSERT_EQ(split_option(argv[at]),
                          (std::vector<std::string>{"guest=" + spec.name, "debug-threads=on"}));
            } else if (option == "-append") {
                ASSERT_EQ(argv[at], spec.boot.command_line);
            } else {
                ASSERT_EQ(option, "-device") << argv[at];
                ASSERT_EQ((*parse_json(argv[at]))["mac"], spec.networks[0].mac);
            }
        }
    }
}

}  // namespace
}  // namespace noxsup::launch
