// Every shape of command line in front of the real QEMU of its architecture, paused under TCG.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include "supervisor/base/text.hpp"
#include "supervisor/launch/device_table.hpp"
#include "supervisor/launch/nic.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"
#include "tests/support/net_namespace.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::HasSubstr;

struct Variant {
    const char* name;
    spec::VmSpec (*spec)(Arch);
};

spec::VmSpec firmware_user(Arch arch) {
    return test::sample_spec(arch);
}

spec::VmSpec kernel_user(Arch arch) {
    return test::sample_kernel_spec(arch);
}

spec::VmSpec with_guest_units(Arch arch) {
    auto spec = test::sample_spec(arch);
    spec.cloud_init.stock = false;
    return spec;
}

spec::VmSpec published(Arch arch) {
    auto spec = test::sample_kernel_spec(arch);
    // Port 0 lets the kernel choose, which a spec of a user would not say: these tests run side by
    // side, and each architecture's would want the same one.
    spec.networks[0].ssh_port = 0;
    spec.networks[0].publish = {{"127.0.0.1", 0, 80, spec::Protocol::tcp},
                                {"127.0.0.1", 0, 53, spec::Protocol::udp}};
    return spec;
}

spec::VmSpec firmware_with_kernel(Arch arch) {
    auto spec = test::sample_kernel_spec(arch);
    spec.boot.firmware_code = "the host's";
    return spec;
}

spec::VmSpec raw_without_seed(Arch arch) {
    auto spec = test::sample_kernel_spec(arch);
    spec.disk.format = spec::ImageFormat::raw;
    spec.disk.base_file.clear();
    spec.cloud_init.enabled = false;
    return spec;
}

spec::VmSpec bridge(Arch arch) {
    auto spec = test::sample_bridge_spec(arch);
    spec.boot = test::sample_kernel_spec(arch).boot;
    return spec;
}

spec::VmSpec eight_networks(Arch arch) {
    auto spec = bridge(arch);
    const auto one = spec.networks[0];
    for (char digit = '1'; digit < '8'; ++digit) {
        auto& next = spec.networks.emplace_back(one);
        next.mac.back() = digit;
        next.tap += digit;
        next.slot = static_cast<unsigned>(digit - '0');
    }
    spec.networks[7].mode = spec::NetworkMode::user;
    return spec;
}

/// The second card came while it ran.
spec::VmSpec plugged_card(Arch arch) {
    auto spec = bridge(arch);
    auto& next = spec.networks.emplace_back(test::sample_spec(arch).networks[0]);
    next.mac.back() = '1';
    next.ssh_port = 0;
    next.slot = 1;
    next.spare_port = 3;
    return spec;
}

/// A TAP of this namespace that goes with its descriptors, one a queue; none when it fails.
std::vector<UniqueFd> make_tap(const std::string& name, unsigned queues) {
    std::vector<UniqueFd> taps;
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    const unsigned several = queues > 1 ? IFF_MULTI_QUEUE : 0;
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | several);
    while (taps.size() < queues) {
        taps.emplace_back(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
        if (!taps.back() || ::ioctl(taps.back().get(), TUNSETIFF, &request) != 0) return {};
    }
    return taps;
}

class QemuAcceptsTest : public test::QemuTest,
                        public testing::WithParamInterface<std::tuple<Arch, Variant>> {
  protected:
    static Arch arch() { return std::get<0>(GetParam()); }

    /// Slot and function of each device we named, as QEMU sees them.
    static std::map<std::string, std::string> addresses(test::QmpPeer& qmp) {
        std::map<std::string, std::string> found;
        const auto buses = qmp.execute("query-pci");
        for (const auto& device : buses.at(0).at("devices")) {
            const auto id = device.value("qdev_id", "");
            if (id.empty()) continue;
            // As the option has it: hexadecimal.
            constexpr std::string_view digits = "0123456789abcdef";
            found[id] = std::string(1, digits.at(device.at("slot").get<std::size_t>())) + "." +
                        std::to_string(device.at("function").get<int>());
        }
        return found;
    }
};

TEST_P(QemuAcceptsTest, TheCommandLine) {
    auto spec = std::get<1>(GetParam()).spec(arch());
    spec.networks[0].restricted = true;
    spec.networks[0].ssh_port = 0;
    spec.memory_bytes = 128 * spec::mebibyte;
    auto request = make_request(spec);
    std::optional<test::NetNamespace> net;
    std::vector<UniqueFd> taps;
    if (spec::has_tap(spec)) {
        net.emplace();
        if (!net->problem().empty()) GTEST_SKIP() << net->problem();
    }
    for (const auto& network : spec.networks) {
        auto& nic = request.nics.emplace_back();
        if (!spec::has_tap(network)) continue;
        auto queues = make_tap(network.tap, network_queues(spec, network));
        if (queues.empty()) GTEST_SKIP() << "no TAP can be made here";
        for (const auto& queue : queues) nic.taps.push_back(queue.get());
        std::ranges::move(queues, std::back_inserter(taps));
    }
    auto qemu = start(request);
    auto qmp = talk(qemu, request);
    ASSERT_TRUE(qmp) << qmp.error().message;

    EXPECT_EQ((*qmp)->execute("query-status").at("status"), "prelaunch");
    EXPECT_EQ((*qmp)->execute("query-name").at("name"), spec.name);
    EXPECT_EQ((*qmp)->execute("query-uuid").at("UUID"), spec.uuid);
    EXPECT_EQ((*qmp)->execute("query-cpus-fast").size(), spec.cpus);
    const auto found = addresses(**qmp);
    for (const auto& entry : device_table()) {
        const bool no_such_nic =
            entry.id.starts_with("nic") &&
            std::stoul(std::string(entry.id.substr(3))) >= spec.networks.size();
        if (entry.address.empty() || (entry.id == "seed0" && !spec.cloud_init.enabled) ||
            no_such_nic || (entry.id == "nic1" && spec.networks[1].spare_port)) {
            continue;
        }
        ASSERT_EQ(found.count(std::string(entry.id)), 1U) << entry.id;
        EXPECT_EQ(found.at(std::string(entry.id)), entry.address) << entry.id;
    }
    // A warning is a word of QEMU that what we ask for will not last.
    EXPECT_THAT(qemu.last_words(), testing::IsEmpty());
    // It runs, and a running guest of junk is not the end of QEMU.
    (*qmp)->execute("cont");
    EXPECT_EQ((*qmp)->execute("query-status").at("running"), true);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, QemuAcceptsTest,
    testing::Combine(testing::Values(Arch::arm64, Arch::amd64),
                     testing::Values(Variant{"FirmwareUser", firmware_user},
                                     Variant{"GuestUnits", with_guest_units},
                                     Variant{"KernelUser", kernel_user},
                                     Variant{"Published", published},
                                     Variant{"FirmwareWithKernel", firmware_with_kernel},
                                     Variant{"RawWithoutSeed", raw_without_seed},
                                     Variant{"Bridge", bridge},
                                     Variant{"EightNetworks", eight_networks},
                                     Variant{"PluggedCard", plugged_card})),
    [](const auto& tested) {
        return std::string(to_string(std::get<0>(tested.param))) + std::get<1>(tested.param).name;
    });

class HotplugTest : public test::QemuTest, public testing::WithParamInterface<Arch> {};

TEST_P(HotplugTest, TheSparePortsTakeADevice) {
    auto request = make_request(test::sample_kernel_spec(GetParam()));
    request.spec.networks[0].ssh_port = 0;
    auto qemu = start(request);
    auto qmp = talk(qemu, request);
    ASSERT_TRUE(qmp) << qmp.error().message;
    for (const auto* port : {"spare0", "spare1", "spare2", "spare3"}) {
        EXPECT_NO_THROW(
            (*qmp)->execute("device_add", {{"driver", "virtio-rng-pci"}, {"bus", port}}))
            << port;
    }
    EXPECT_THROW((*qmp)->execute("device_add", {{"driver", "virtio-rng-pci"}, {"bus", "pcie.0"}}),
                 std::runtime_error);
}

TEST_P(HotplugTest, ACardComesAndItsPlaceIsTaken) {
    auto spec = test::sample_kernel_spec(GetParam());
    spec.networks[0].ssh_port = 0;
    spec.networks[0].mode = spec::NetworkMode::user;
    auto request = make_request(spec);
    auto qemu = start(request);
    auto qmp = talk(qemu, request);
    ASSERT_TRUE(qmp) << qmp.error().message;
    auto card = spec.networks[0];
    card.mac.back() = '1';
    card.slot = 5;
    card.spare_port = 2;
    card.restricted = true;
    card.publish = {{"127.0.0.1", 0, 80, spec::Protocol::tcp}};
    spec.networks.push_back(card);
    EXPECT_THROW((*qmp)->execute("netdev_del", {{"id", netdev_id(card)}}), std::runtime_error);
    EXPECT_NO_THROW((*qmp)->execute("netdev_add", netdev_json(card, {})));
    EXPECT_NO_THROW((*qmp)->execute("device_add", nic_json(spec, card.slot)));
    EXPECT_THROW((*qmp)->execute("device_add", nic_json(spec, card.slot)), std::runtime_error);
    // What is behind a port shows once the guest has numbered its buses: on q35 its BIOS does.
    if (GetParam() == Arch::arm64) return;
    (*qmp)->execute("cont");
    TakenPlaces taken;
    for (int i = 0; i < 300 && taken.slots.size() < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        taken = taken_places((*qmp)->execute("query-pci"));
    }
    EXPECT_THAT(taken.slots, testing::ElementsAre(0U, 5U));
    EXPECT_THAT(taken.ports, testing::ElementsAre(2U));
}

INSTANTIATE_TEST_SUITE_P(Architectures, HotplugTest, testing::Values(Arch::arm64, Arch::amd64),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

}  // namespace
}  // namespace noxsup::launch
