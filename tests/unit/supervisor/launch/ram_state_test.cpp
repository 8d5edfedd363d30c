#include "supervisor/launch/ram_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/launch/qemu_argv.hpp"
#include "tests/support/sample_spec.hpp"

namespace noxsup::launch {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr const char* version = "7.2.22";

TEST(RamState, WhatTheGuestCannotSeeDoesNotCount) {
    const auto spec = test::sample_spec();
    auto other = spec;
    other.name = "renamed";
    other.networks[0].ssh_port = 4711;
    other.networks[0].publish.push_back({"127.0.0.1", 8080, 80, spec::Protocol::tcp});
    other.restart = spec::RestartPolicy::always;
    EXPECT_EQ(ram_state_key(spec, version), ram_state_key(other, version));
    EXPECT_EQ(ram_state_key(spec, version), ram_state_key(spec, "7.2.30")) << "a bug fix";
}

TEST(RamState, WhatItSeesDoes) {
    const auto spec = test::sample_spec();
    const auto key = ram_state_key(spec, version);
    const auto changed = [&](auto edit) {
        auto other = spec;
        edit(other);
        return ram_state_key(other, version);
    };
    EXPECT_NE(key, ram_state_key(spec, "8.2.0"));
    EXPECT_NE(key, changed([](auto& other) { other.cpus = 1; }));
    EXPECT_NE(key, changed([](auto& other) { other.memory_bytes *= 2; }));
    EXPECT_NE(key, changed([](auto& other) { other.machine = "pc-q35-7.1"; }));
    EXPECT_NE(key, changed([](auto& other) { other.accel = spec::Accel::kvm; }));
    EXPECT_NE(key, changed([](auto& other) { other.networks[0].mac = "52:54:00:00:00:01"; }));
    EXPECT_NE(key, changed([](auto& other) { other.cloud_init.enabled = false; }));
    EXPECT_NE(key, ram_state_key(test::sample_bridge_spec(spec::Arch::arm64), version));
}

TEST(RamState, ReadsAsTheDifferenceThatItTells) {
    const auto key = ram_state_key(test::sample_spec(spec::Arch::arm64), version);
    EXPECT_THAT(key, Contains("QEMU 7.2"));
    EXPECT_THAT(key, Contains("machine virt-7.2"));
    EXPECT_THAT(key, Contains(AllOf(HasSubstr("device"), HasSubstr("virtio-net-pci"))));
}

TEST(TemplateKey, WhatIsOneVmsAloneDoesNotCount) {
    const auto spec = test::sample_kernel_spec(spec::Arch::amd64);
    auto other = spec;
    other.id = other.warm_template = "0badcafe";
    other.name = "template-0badcafe";
    other.networks[0].mac = "52:54:00:00:00:01";
    other.networks[0].ssh_port = 0;
    other.cloud_init.instance_id = "i-other";
    EXPECT_EQ(template_key(spec, version), template_key(other, version));
}

TEST(TemplateKey, WhatItsCopiesHaveDoes) {
    const auto spec = test::sample_kernel_spec(spec::Arch::amd64);
    const auto key = template_key(spec, version);
    EXPECT_THAT(key.front(), HasSubstr(spec.image)) << "what a person knows it by comes first";
    const auto changed = [&](auto edit) {
        auto other = spec;
        edit(other);
        return template_key(other, version);
    };
    EXPECT_NE(key, changed([](auto& other) { other.disk.base_digest[0] = 'b'; }));
    EXPECT_NE(key, changed([](auto& other) { other.user = "admin"; }));
    EXPECT_NE(key, changed([](auto& other) { other.disk.virtual_bytes *= 2; }));
    EXPECT_NE(key, changed([](auto& other) { other.boot.source = "another kernel"; }));
    EXPECT_NE(key, changed([](auto& other) { other.memory_bytes *= 2; }));
    EXPECT_NE(key, changed([](auto& other) { other.networks.clear(); }));
    EXPECT_NE(key,
              changed([](auto& other) { other.networks[0].mode = spec::NetworkMode::bridge; }));
    EXPECT_NE(key, template_key(spec, "10.0.2"));
}

TEST(RamState, TheFirstDifferenceIsTold) {
    const std::vector<std::string> key{"QEMU 7.2", "cpus 2"};
    EXPECT_EQ(ram_state_difference(key, key), "");
    EXPECT_EQ(ram_state_difference(key, {"QEMU 7.2", "cpus 1"}),
              "there was cpus 2, now there is cpus 1");
    EXPECT_EQ(ram_state_difference(key, {"QEMU 7.2"}), "there was cpus 2, now there is nothing");
    EXPECT_EQ(ram_state_difference({}, key), "there was nothing, now there is QEMU 7.2");
}

TEST(RamState, AQemuThatIsGivenItWaitsForIt) {
    const auto spec = test::sample_spec();
    const auto fresh = build_qemu_argv(spec, test::sample_qemu(spec.arch), {});
    const auto waiting = build_qemu_argv(spec, test::sample_qemu(spec.arch), {}, Ram::incoming);
    EXPECT_THAT(fresh, Not(Contains("-incoming")));
    const auto option = std::ranges::find(waiting, "-incoming");
    ASSERT_NE(option, waiting.end());
    EXPECT_EQ(*std::next(option), "defer");
    EXPECT_EQ(waiting.size(), fresh.size() + 2);
}

}  // namespace
}  // namespace noxsup::launch
