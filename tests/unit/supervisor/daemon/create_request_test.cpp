#include "supervisor/daemon/create_request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/daemon/password.hpp"

namespace noxsup::daemon {
namespace {

using testing::HasSubstr;

class CreateRequestTest : public testing::Test {
  protected:
    CreateRequestTest() {
        facts_.cpus = 4;
        facts_.memory_total_bytes = std::uint64_t{8} << 30;
        facts_.memory_available_bytes = std::uint64_t{4} << 30;
    }
    Result<CreateRequest> parse(Json params) {
        if (!params.contains("name")) params["name"] = "vm";
        return parse_create_request(params, config_, facts_, std::uint64_t{100} << 30);
    }
    ErrorCode code(Json params) {
        const auto parsed = parse(std::move(params));
        return parsed ? ErrorCode::interrupted : parsed.error().code;
    }
    launch::HostFacts facts_;
    state::Config config_;
};

TEST_F(CreateRequestTest, DefaultsComeFromTheConfiguration) {
    config_.ram = "1G";
    config_.cpus = "2";
    const auto request = parse(Json::object());
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_EQ(request->cpus, 2U);
    EXPECT_EQ(request->memory_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(request->disk_bytes, std::uint64_t{5} << 30);
    EXPECT_EQ(request->os, "debian");
    EXPECT_EQ(request->user, "nox");
    EXPECT_EQ(request->wait, vm::WaitFor::ssh);
    EXPECT_TRUE(request->start);
}

TEST_F(CreateRequestTest, NamesAreCheckedFirst) {
    for (const auto* name : {"", "-a", "a-", "A", "a_b", "a/b", "../x", "a b", "\xc3\xa4"}) {
        EXPECT_EQ(code({{"name", name}, {"cpus", "0"}}), ErrorCode::invalid_name) << name;
    }
    EXPECT_EQ(code({{"name", std::string(64, 'a')}}), ErrorCode::invalid_name);
    EXPECT_TRUE(parse({{"name", std::string(63, 'a')}}));
}

TEST_F(CreateRequestTest, CpusAreInsideTheHost) {
    EXPECT_EQ(code({{"cpus", "0"}}), ErrorCode::cpus_out_of_range);
    EXPECT_EQ(code({{"cpus", "5"}}), ErrorCode::cpus_out_of_range);
    EXPECT_EQ(code({{"cpus", "1.0"}}), ErrorCode::cpus_out_of_range);
    EXPECT_EQ(parse({{"cpus", "1"}})->cpus, 1U);
    EXPECT_EQ(parse({{"cpus", "50%"}})->cpus, 2U);
}

TEST_F(CreateRequestTest, SizesAreChecked) {
    EXPECT_EQ(code({{"ram", "lots"}}), ErrorCode::invalid_size);
    EXPECT_EQ(code({{"ram", "1"}}), ErrorCode::invalid_size);
    EXPECT_EQ(code({{"ram", "7G"}}), ErrorCode::no_memory);
    EXPECT_EQ(code({{"disk", "-5"}}), ErrorCode::invalid_size);
    EXPECT_EQ(code({{"disk", "0"}}), ErrorCode::invalid_size);
    EXPECT_EQ(parse({{"disk", "10%"}})->disk_bytes, std::uint64_t{10} << 30);
}

TEST_F(CreateRequestTest, NetworksAreChecked) {
    EXPECT_EQ(code({{"network", "no card"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"publish", {"80"}}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"publish", {"8080:80", "8080:81"}}}), ErrorCode::invalid_argument);
    EXPECT_TRUE(parse({{"publish", {"8080:80"}}, {"network", "bridge"}}));
    EXPECT_EQ(code({{"vlan", 20}, {"network", "bridge"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"vlan", "0"}, {"network", "bridge"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(parse({{"vlan", "20"}, {"network", "bridge"}})->networks.at(0).vlan, 20);
    EXPECT_EQ(code({{"ip", "192.168.1.20"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"gateway", "192.168.1.1"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"mac", "01:00:5e:00:00:01"}}), ErrorCode::invalid_argument);
    const auto request =
        parse({{"network", "bridge=br7"}, {"ip", "192.168.1.20/24"}, {"gateway", "192.168.1.1"}});
    ASSERT_TRUE(request) << request.error().message;
    const auto& network = request->networks.at(0);
    EXPECT_EQ(network.bridge, "br7");
    EXPECT_EQ(network.address->cidr, "192.168.1.20/24");
    EXPECT_FALSE(network.isolated || network.allow_spoofing);
    EXPECT_EQ(code({{"rate", "fast"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"isolated", "yes"}}), ErrorCode::invalid_argument);
}

TEST_F(CreateRequestTest, OverAMacvtapNobodyWaitsForSsh) {
    EXPECT_EQ(parse({{"network", "eth0"}})->wait, vm::WaitFor::ip);
    EXPECT_EQ(parse({{"network", "eth0"}, {"start", false}})->wait, std::nullopt);
    EXPECT_EQ(parse({{"network", {"eth0", "bridge"}}})->wait, vm::WaitFor::ssh);
    EXPECT_EQ(parse({{"network", "eth0"}, {"wait", "running"}})->wait, vm::WaitFor::running);
    for (const auto* goal : {"ssh", "cloud-init"})
        EXPECT_EQ(code({{"network", "eth0"}, {"wait", goal}}), ErrorCode::invalid_argument);
}

TEST_F(CreateRequestTest, WrongTypesAreTheCallersFault) {
    EXPECT_EQ(code({{"cpus", 2}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"publish", "8080:80"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"autostart", "yes"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"wait", "lunch"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"wait", "stopped"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"accel", "hax"}}), ErrorCode::invalid_argument);
}

TEST_F(CreateRequestTest, AutostartIsTheConfigurationsUnlessSaid) {
    EXPECT_EQ(parse(Json::object())->autostart, spec::AutostartRule());
    config_.autostart = "last";
    EXPECT_EQ(parse(Json::object())->autostart.mode, spec::Autostart::last);
    EXPECT_EQ(parse({{"autostart", false}})->autostart.mode, spec::Autostart::off);
    EXPECT_EQ(parse({{"autostart", true}})->autostart.mode, spec::Autostart::on);
    config_.autostart = "sometimes";
    EXPECT_EQ(code(Json::object()), ErrorCode::invalid_argument);
}

TEST_F(CreateRequestTest, KvmByConfigurationForbidsEmulation) {
    config_.accel = "kvm";
    EXPECT_EQ(parse(Json::object())->accel, spec::Accel::kvm);
    EXPECT_EQ(code({{"accel", "tcg"}}), ErrorCode::invalid_argument);
    EXPECT_EQ(code({{"accel", "auto"}}), ErrorCode::invalid_argument);
}

TEST_F(CreateRequestTest, DocumentsAreReadBeforeAnythingIsMade) {
    const Json bad =
        Json::array({{{"name", "user.yaml"}, {"text", "#cloud-config\nssh_deletekeys: true\n"}}});
    const auto refused = parse({{"cloud_init", bad}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_cloud_init);
    EXPECT_THAT(refused.error().message, HasSubstr("user.yaml"));
}

TEST(Password, IsRandomAndItsHashIsNotThePassword) {
    const auto password = random_password();
    EXPECT_EQ(password.size(), 16U);
    EXPECT_NE(password, random_password());
    const auto hash = hash_password(password);
    ASSERT_TRUE(hash) << hash.error().message;
    EXPECT_THAT(*hash, testing::StartsWith("$6$"));
    EXPECT_THAT(*hash, testing::Not(HasSubstr(password)));
    EXPECT_NE(*hash, *hash_password(password));
}

}  // namespace
}  // namespace noxsup::daemon
