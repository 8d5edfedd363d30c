#include "supervisor/spec/vm_spec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sample_spec.hpp"

namespace noxsup::spec {
namespace {

using testing::HasSubstr;

VmSpec full_spec() {
    auto spec = test::sample_kernel_spec(Arch::arm64);
    spec.accel_requested = Accel::kvm;
    spec.accel = Accel::kvm;
    spec.boot.firmware_code = "/usr/share/AAVMF/AAVMF_CODE.fd";
    spec.networks[0].restricted = true;
    spec.networks[0].publish = {{"0.0.0.0", 8080, 80, Protocol::tcp},
                                {"127.0.0.1", 5353, 53, Protocol::udp}};
    spec.cloud_init.stock = true;
    spec.autostart = {Autostart::last, 7, 30};
    spec.restart = RestartPolicy::on_failure;
    return spec;
}

VmSpec with_two_cards() {
    auto spec = test::sample_bridge_spec(Arch::arm64);
    spec.networks.push_back(test::sample_spec(Arch::arm64).networks[0]);
    spec.networks[1].mac = "52:54:00:3f:2a:9d";
    spec.networks[1].slot = 1;
    return spec;
}

TEST(VmSpecTest, SurvivesJson) {
    auto behind_nat = test::sample_bridge_spec(Arch::amd64);
    behind_nat.networks[0].mode = NetworkMode::nat;
    behind_nat.networks[0].bridge = "noxbr0";
    auto filtered = test::sample_bridge_spec(Arch::amd64);
    filtered.networks[0].fixed_addresses = {"192.168.1.20", "fd00::20"};
    filtered.networks[0].isolated = filtered.networks[0].allow_spoofing = true;
    filtered.networks[0].rate = 100'000'000;
    filtered.networks[0].vlan = 4094;
    filtered.networks[0].publish = {{"0.0.0.0", 80, 8080, Protocol::udp}};
    auto on_card = test::sample_bridge_spec(Arch::amd64);
    on_card.networks[0].mode = NetworkMode::macvtap;
    on_card.networks[0].bridge = "eth0";
    EXPECT_FALSE(is_reached_from_host(on_card));
    auto plugged = with_two_cards();
    plugged.networks[0].slot = 7;
    plugged.networks[1].spare_port = 3;
    auto following = test::sample_kernel_spec(Arch::arm64);
    following.boot.follow = true;
    following.boot.source = "a";
    following.boot.kernel_name = "/boot/vmlinuz-1";
    auto warm = following;
    warm.warm_template = "0badcafe";
    EXPECT_FALSE(becomes_template(warm));
    warm.id = warm.warm_template;
    EXPECT_TRUE(becomes_template(warm));
    for (const auto& spec :
         {full_spec(), following, warm, test::sample_spec(), test::sample_bridge_spec(Arch::arm64),
          filtered, with_two_cards(), on_card, behind_nat, plugged}) {
        const auto text = dump_json(to_json(spec));
        const auto back = from_json(*parse_json(text));
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_EQ(*back, spec) << text;
    }
}

TEST(VmSpecTest, UnknownMembersAreWrittenBackAsTheyCame) {
    auto json = to_json(test::sample_spec());
    json["future"] = {{"a", 1}, {"b", {2, 3}}};
    const auto spec = from_json(json);
    ASSERT_TRUE(spec) << spec.error().message;
    EXPECT_EQ(to_json(*spec), json);
}

TEST(VmSpecTest, OptionalMembersHaveDefaults) {
    auto json = to_json(test::sample_spec());
    for (const auto* key :
         {"created_at", "os", "image", "user", "autostart", "restart", "cloud_init"}) {
        json.erase(key);
    }
    const auto spec = from_json(json);
    ASSERT_TRUE(spec) << spec.error().message;
    EXPECT_EQ(spec->user, "nox");
    EXPECT_EQ(spec->autostart, AutostartRule());
    EXPECT_EQ(spec->autostart.mode, Autostart::on);
    EXPECT_EQ(spec->restart, RestartPolicy::no);
}

struct WrongMember {
    const char* pointer;  ///< RFC 6901, where the value goes
    Json value;
    const char* named;  ///< what the error must name
};

class WrongMemberTest : public testing::TestWithParam<WrongMember> {};

TEST_P(WrongMemberTest, IsNamed) {
    auto json = to_json(full_spec());
    json[Json::json_pointer(GetParam().pointer)] = GetParam().value;
    const auto spec = from_json(json);
    ASSERT_FALSE(spec);
    EXPECT_EQ(spec.error().code, ErrorCode::vm_damaged);
    EXPECT_THAT(spec.error().message, HasSubstr(GetParam().named));
}

INSTANTIATE_TEST_SUITE_P(
    Members, WrongMemberTest,
    testing::Values(
        WrongMember{"/version", 2, "version 2"}, WrongMember{"/version", "1", "\"version\""},
        WrongMember{"/name", "Test VM", "Test VM"}, WrongMember{"/name", 7, "\"name\""},
        WrongMember{"/name", "../../etc", "not a VM name"}, WrongMember{"/uuid", "6f1c", "uuid"},
        WrongMember{"/uuid", "6f1c9a52_7a3e-4f0b-9c55-3d2e1b0a9f87", "uuid"},
        WrongMember{"/id", "../12345", "id"}, WrongMember{"/id", "3F2A9C41", "id"},
        WrongMember{"/arch", "riscv64", "\"arch\""}, WrongMember{"/accel", "auto", "accel"},
        WrongMember{"/accel", "xen", "\"accel\""},
        WrongMember{"/machine", "virt-7.2,dumpdtb=/etc/x", "machine"},
        WrongMember{"/machine", "pc-q35-7.2", "machine"},
        WrongMember{"/machine", "virt", "machine"}, WrongMember{"/cpus", 0, "cpus 0"},
        WrongMember{"/cpus", 256, "cpus 256"}, WrongMember{"/cpus", -1, "\"cpus\""},
        WrongMember{"/cpus", 1.5, "\"cpus\""}, WrongMember{"/memory_bytes", 1, "memory of 1 bytes"},
        WrongMember{"/memory_bytes", 134217729, "whole number of MiB"},
        WrongMember{"/memory_bytes", 9223372036854775807, "memory"},
        WrongMember{"/disk/virtual_bytes", "5G", "disk: member \"virtual_bytes\""},
        WrongMember{"/disk/virtual_bytes", 513, "disk of 513"},
        WrongMember{"/disk", 5, "disk: is not an object"},
        WrongMember{"/disk/format", "vmdk", "\"format\""},
        WrongMember{"/disk/format", "raw", "disk format"},
        WrongMember{"/disk/base_file", "../../../etc/shadow", "base_file"},
        WrongMember{"/disk/base_file", ".hidden", "base_file"},
        WrongMember{"/disk/base_digest", "abc", "base_digest"},
        WrongMember{"/boot/mode", "bios", "\"mode\""},
        WrongMember{"/boot/kernel", "", "boot kernel"},
        WrongMember{"/boot/command_line", std::string(2048, 'x'), "command_line"},
        WrongMember{"/boot", nullptr, "boot: is not an object"},
        WrongMember{"/networks/0/mode", "magic", "\"mode\""},
        WrongMember{"/networks/0/mac", "52:54:00:3F:2A:9C", "mac"},
        WrongMember{"/networks/0/mac", "53:54:00:3f:2a:9c", "mac"},
        WrongMember{"/networks/0/mac", "52:54:00:3f:2a", "mac"},
        WrongMember{"/networks/0/ssh_port", 65536, "\"ssh_port\""},
        WrongMember{"/networks/0/publish", "80", "\"publish\""},
        WrongMember{"/networks/0/publish/1/protocol", "sctp", "publish: 1"},
        WrongMember{"/networks/0/publish/0/host_port", 0, "publish port"},
        WrongMember{"/networks/0/publish/0/host_address", "a,b", "publish address"},
        WrongMember{"/networks/0/fixed_addresses", "192.168.1.20", "\"fixed_addresses\""},
        WrongMember{"/networks/0/fixed_addresses", {"192.168.1.20/24"}, "fixed_addresses"},
        WrongMember{"/networks/0/fixed_addresses", {"1.2.3.4 } drop"}, "fixed_addresses"},
        WrongMember{"/networks/0/isolated", "yes", "\"isolated\""},
        WrongMember{"/cloud_init/enabled", "yes", "cloud_init: member \"enabled\""},
        WrongMember{"/user", "root:0", "user"}, WrongMember{"/user", "", "user"},
        WrongMember{"/autostart", 1, "\"autostart\""},
        WrongMember{"/autostart_mode", "sometimes", "\"autostart_mode\""},
        WrongMember{"/autostart_order", -1, "\"autostart_order\""},
        WrongMember{"/autostart_order", 10000, "autostart order"},
        WrongMember{"/autostart_delay_seconds", 3601, "autostart delay"},
        WrongMember{"/restart", "often", "\"restart\""}));

TEST(VmSpecTest, AutostartIsReadAsOlderBuildsWroteItAndWrittenAsTheyReadIt) {
    auto json = to_json(test::sample_spec());
    for (const auto* key : {"autostart_mode", "autostart_order", "autostart_delay_seconds"})
        json.erase(key);
    json["autostart"] = false;
    EXPECT_EQ(from_json(json)->autostart.mode, Autostart::off);
    json["autostart"] = true;
    EXPECT_EQ(from_json(json)->autostart, AutostartRule());

    auto spec = test::sample_spec();
    for (const auto mode : {Autostart::off, Autostart::on, Autostart::last}) {
        spec.autostart.mode = mode;
        EXPECT_EQ(to_json(spec)["autostart"], mode != Autostart::off);
        EXPECT_EQ(from_json(to_json(spec))->autostart.mode, mode);
    }
    // The bool is what everyone can read, so it has the last word.
    json["autostart"] = false;
    json["autostart_mode"] = "on";
    EXPECT_EQ(from_json(json)->autostart.mode, Autostart::off);
}

TEST(VmSpecTest, MissingMembersAreNamed) {
    for (const auto* key :
         {"version", "name", "uuid", "id", "machine", "cpus", "memory_bytes", "disk", "networks"}) {
        auto json = to_json(test::sample_spec());
        json.erase(key);
        const auto spec = from_json(json);
        ASSERT_FALSE(spec) << key;
        EXPECT_THAT(spec.error().message, HasSubstr(key)) << key;
    }
    for (const auto& json : {Json(), Json::array(), Json("x"), Json(1)})
        EXPECT_FALSE(from_json(json));
}

TEST(VmSpecTest, BridgeNeedsNamesOfInterfaces) {
    auto spec = test::sample_bridge_spec(Arch::amd64);
    EXPECT_TRUE(validate(spec));
    for (const auto* name : {"", ".", "..", "a/b", "a b", "sixteen-bytes-ab", "a,b"}) {
        spec.networks[0].bridge = name;
        EXPECT_FALSE(validate(spec)) << name;
    }
}

TEST(VmSpecTest, VlansAndPortsNeedABridge) {
    auto spec = test::sample_bridge_spec(Arch::amd64);
    spec.networks[0].publish = {{"127.0.0.1", 1, 1, Protocol::tcp}};
    EXPECT_TRUE(validate(spec));
    spec.networks[0].mode = NetworkMode::macvtap;
    EXPECT_FALSE(validate(spec));
    spec.networks[0].publish.clear();
    EXPECT_TRUE(validate(spec));
    spec.networks[0].vlan = 7;
    EXPECT_FALSE(validate(spec));
    spec.networks[0].mode = NetworkMode::bridge;
    EXPECT_TRUE(validate(spec));
    spec.networks[0].vlan = 4095;
    EXPECT_FALSE(validate(spec));
    spec = test::sample_spec();
    spec.networks[0].vlan = 7;
    EXPECT_FALSE(validate(spec));
}

TEST(VmSpecTest, TheOneCardOfOlderBuildsIsRead) {
    const auto spec = test::sample_spec();
    auto json = to_json(spec);
    json["network"] = json["networks"][0];
    json.erase("networks");
    const auto back = from_json(json);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, spec);
    EXPECT_FALSE(to_json(*back).contains("network"));
}

TEST(VmSpecTest, CardsOfOlderBuildsAreNumberedByTheirOrder) {
    const auto spec = with_two_cards();
    auto json = to_json(spec);
    for (auto& network : json["networks"]) {
        EXPECT_EQ(network.erase("slot"), 1U);
        EXPECT_FALSE(network.contains("spare_port")) << "what an older build would not know";
    }
    const auto back = from_json(json);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, spec);
    json["networks"][1]["spare_port"] = nullptr;
    EXPECT_EQ(*from_json(json), spec);
}

TEST(VmSpecTest, CardsMustBeTold) {
    auto json = to_json(test::sample_spec());
    for (const auto& networks : {Json::array(), Json("bridge"), Json(), Json::object()}) {
        json["networks"] = networks;
        EXPECT_FALSE(from_json(json)) << networks;
    }
    json = to_json(with_two_cards());
    json["networks"][1].erase("mac");
    EXPECT_THAT(from_json(json).error().message, HasSubstr("networks: 1: member \"mac\""));
}

TEST(VmSpecTest, CardsOfOneVmDiffer) {
    const auto refusal = [](auto change) {
        auto spec = with_two_cards();
        change(spec);
        const auto valid = validate(spec);
        return valid ? std::string("taken") : valid.error().message;
    };
    EXPECT_EQ(refusal([](auto&) {}), "taken");
    EXPECT_THAT(refusal([](auto& spec) { spec.networks[1].mac = spec.networks[0].mac; }),
                HasSubstr("that of two cards"));
    EXPECT_THAT(refusal([](auto& spec) { spec.networks[0] = spec.networks[1]; }),
                HasSubstr("that of two cards"));
    EXPECT_THAT(refusal([](auto& spec) {
                    spec.networks[1] = spec.networks[0];
                    spec.networks[1].mac = "52:54:00:00:00:01";
                }),
                HasSubstr("network tap"));
    EXPECT_THAT(refusal([](auto& spec) {
                    spec.networks[0] = spec.networks[1];
                    spec.networks[0].mac = "52:54:00:00:00:01";
                }),
                HasSubstr("network mode"));
    EXPECT_THAT(refusal([](auto& spec) { spec.networks[1].slot = 0; }),
                HasSubstr("network slot \"0\" is that of two cards"));
    EXPECT_THAT(refusal([](auto& spec) { spec.networks[1].slot = 8; }), HasSubstr("network slot"));
    EXPECT_EQ(refusal([](auto& spec) { spec.networks[1].spare_port = 3; }), "taken");
    EXPECT_THAT(refusal([](auto& spec) { spec.networks[1].spare_port = 4; }),
                HasSubstr("network spare_port"));
    EXPECT_THAT(
        refusal([](auto& spec) { spec.networks[0].spare_port = spec.networks[1].spare_port = 1; }),
        HasSubstr("network spare_port"));
    EXPECT_THAT(refusal([](auto& spec) { spec.networks.clear(); }), HasSubstr("1 to 8"));
    EXPECT_THAT(refusal([](auto& spec) { spec.networks.resize(9); }), HasSubstr("1 to 8"));
}

TEST(VmSpecTest, TapIdsOfAllCardsDiffer) {
    EXPECT_EQ(tap_id_of("3f2a9c41", 0), "3f2a9c41");
    EXPECT_EQ(tap_id_of("3f2a9c41", 7), "3f2a9c417");
}

TEST(VmSpecTest, NamesFollowTheRule) {
    for (const auto* name : {"a", "0", "a-b", "test-vm-1", "0123456789"})
        EXPECT_TRUE(check_vm_name(name)) << name;
    EXPECT_TRUE(check_vm_name(std::string(63, 'a')));
    for (const auto* name : {"", "-a", "a-", "A", "a_b", "a.b", "a b", "a/b", "ä", "a\n"}) {
        const auto checked = check_vm_name(name);
        ASSERT_FALSE(checked) << name;
        EXPECT_EQ(checked.error().code, ErrorCode::invalid_name);
        EXPECT_FALSE(checked.error().hint.empty());
    }
    EXPECT_FALSE(check_vm_name(std::string(64, 'a')));
}

TEST(VmSpecTest, KernelNamesOfArchitecturesAreKnown) {
    EXPECT_EQ(*from_string<Arch>("aarch64"), Arch::arm64);
    EXPECT_EQ(*from_string<Arch>("x86_64"), Arch::amd64);
    EXPECT_THAT(from_string<Arch>("mips").error().hint, HasSubstr("arm64, amd64"));
}

}  // namespace
}  // namespace noxsup::spec
