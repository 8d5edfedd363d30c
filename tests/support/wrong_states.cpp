#include "tests/support/wrong_states.hpp"

#include <cstdint>

#include "supervisor/state/vm_record.hpp"

namespace noxsup::test {
namespace {

using Pointer = Json::json_pointer;

/// A member of the body and a value that it must not have.
struct Row {
    const char* member;
    Json value;
};

const char* const texts[] = {
    "/spec/name",
    "/spec/uuid",
    "/spec/id",
    "/spec/created_at",
    "/spec/os",
    "/spec/image",
    "/spec/arch",
    "/spec/accel_requested",
    "/spec/accel",
    "/spec/machine",
    "/spec/user",
    "/spec/restart",
    "/spec/disk/format",
    "/spec/disk/base_file",
    "/spec/disk/base_format",
    "/spec/disk/base_digest",
    "/spec/boot/mode",
    "/spec/boot/firmware_code",
    "/spec/boot/kernel",
    "/spec/boot/initrd",
    "/spec/boot/command_line",
    "/spec/networks/0/mode",
    "/spec/networks/0/mac",
    "/spec/networks/0/bridge",
    "/spec/networks/0/tap",
    "/spec/cloud_init/instance_id",
    "/state",
    "/reason",
    "/started_at",
};
const char* const numbers[] = {"/spec/version",
                               "/spec/cpus",
                               "/spec/memory_bytes",
                               "/spec/disk/virtual_bytes",
                               "/spec/networks/0/ssh_port",
                               "/spec/networks/0/slot",
                               "/spec/networks/0/spare_port"};
const char* const flags[] = {"/spec/networks/0/restricted", "/spec/cloud_init/enabled",
                             "/spec/cloud_init/stock", "/spec/autostart"};
const char* const objects[] = {"/spec", "/spec/disk", "/spec/boot", "/spec/networks/0",
                               "/spec/cloud_init"};
const char* const needed[] = {"/spec",
                              "/spec/version",
                              "/spec/name",
                              "/spec/uuid",
                              "/spec/id",
                              "/spec/machine",
                              "/spec/cpus",
                              "/spec/disk",
                              "/spec/memory_bytes",
                              "/spec/networks/0",
                              "/state",
                              "/spec/disk/virtual_bytes",
                              "/spec/networks/0/mac"};

/// Right by type, wrong by value.
std::vector<Row> wrong_values() {
    const std::uint64_t half = std::uint64_t{1} << 63;
    const std::string nul("a\0b", 3);
    return {
        {"/spec/name", "a/b"},
        {"/spec/name", ".."},
        {"/spec/name", ""},
        {"/spec/name", "UPPER"},
        {"/spec/name", "-a"},
        {"/spec/name", std::string(64, 'a')},
        {"/spec/name", "before"},
        {"/spec/name", nul},
        {"/spec/uuid", ""},
        {"/spec/uuid", "6f1c9a52"},
        {"/spec/uuid", "6F1C9A52-7A3E-4F0B-9C55-3D2E1B0A9F87"},
        {"/spec/id", ""},
        {"/spec/id", "../../x"},
        {"/spec/id", "0000000"},
        {"/spec/id", "0000000G"},
        {"/spec/id", std::string(100'000, 'a')},
        {"/spec/arch", "mips"},
        {"/spec/accel", "auto"},
        {"/spec/accel", "xen"},
        {"/spec/accel_requested", "hvf"},
        {"/spec/machine", "pc"},
        {"/spec/machine", "virt-7.2"},
        {"/spec/machine", "pc-q35-"},
        {"/spec/machine", "pc-q35-7.2,accel=kvm"},
        {"/spec/machine", "-machine"},
        {"/spec/cpus", 0},
        {"/spec/cpus", 256},
        {"/spec/cpus", -1},
        {"/spec/cpus", half},
        {"/spec/memory_bytes", 0},
        {"/spec/memory_bytes", 1},
        {"/spec/memory_bytes", -1},
        {"/spec/memory_bytes", half},
        {"/spec/memory_bytes", ~std::uint64_t{0}},
        {"/spec/disk/virtual_bytes", 0},
        {"/spec/disk/virtual_bytes", 511},
        {"/spec/disk/virtual_bytes", half},
        {"/spec/disk/virtual_bytes", -512},
        {"/spec/disk/format", "vmdk"},
        {"/spec/disk/format", "raw"},
        {"/spec/disk/base_format", "vdi"},
        {"/spec/disk/base_file", "../../etc/shadow"},
        {"/spec/disk/base_file", "/etc/shadow"},
        {"/spec/disk/base_file", ".locks"},
        {"/spec/disk/base_file", nul},
        {"/spec/disk/base_digest", "sha256"},
        {"/spec/disk/base_digest", std::string(64, 'Z')},
        {"/spec/boot/mode", "network"},
        {"/spec/boot/mode", "kernel"},
        {"/spec/boot/firmware_code", ""},
        {"/spec/boot/kernel", "vmlinuz"},
        {"/spec/boot/initrd", "initrd.img"},
        {"/spec/boot/command_line", std::string(2048, 'x')},
        {"/spec/boot/command_line", nul},
        {"/spec/networks/0/mode", "bridge"},
        {"/spec/networks/0/mode", "host"},
        {"/spec/networks/0/mac", ""},
        {"/spec/networks/0/mac", "52:54:00:3F:2A:9C"},
        {"/spec/networks/0/mac", "01:00:5e:00:00:01"},
        {"/spec/networks/0/mac", "ff:ff:ff:ff:ff:ff"},
        {"/spec/networks/0/mac", "00:00:00:00:00:00"},
        {"/spec/networks/0/mac", "52:54:00:3f:2a"},
        {"/spec/networks/0/ssh_port", 65536},
        {"/spec/networks/0/slot", 8},
        {"/spec/networks/0/slot", -1},
        {"/spec/networks/0/spare_port", 4},
        {"/spec/networks/0/spare_port", half},
        {"/spec/networks/0/publish", Json::array({{{"host_port", 0}, {"guest_port", 22}}})},
        {"/spec/networks/0/publish", Json::array({{{"host_port", 80}, {"guest_port", 65536}}})},
        {"/spec/networks/0/publish", Json::array({{{"host_port", 80}}})},
        {"/spec/networks/0/publish",
         Json::array({{{"host_port", 80}, {"guest_port", 80}, {"protocol", "sctp"}}})},
        {"/spec/networks/0/publish",
         Json::array({{{"host_port", 80}, {"guest_port", 80}, {"host_address", "localhost"}}})},
        {"/spec/networks/0/publish", Json::array({1, 2, 3})},
        {"/spec/networks/0/publish", "80:80"},
        {"/spec/networks/0/publish", {{"host_port", 80}}},
        {"/spec/user", ""},
        {"/spec/user", "root;reboot"},
        {"/spec/user", std::string(33, 'u')},
        {"/spec/restart", "sometimes"},
        {"/spec/version", 0},
        {"/spec/version", 2},
        {"/spec/version", half},
        {"/state", ""},
        {"/state", "flying"},
        {"/state", "creating"},
        {"/state", "damaged"},
        {"/state", "foreign"},
        {"/reason", "bored"},
        {"/stages", "fast"},
        {"/stages", 3},
        {"/stages", {{"name", "launch"}}},
        {"/stages", Json::array({1})},
        {"/stages", Json::array({{{"name", 1}, {"seconds", 1}}})},
        {"/qemu", 7},
        {"/qemu", "1234"},
        {"/qemu", Json::array()},
        {"/qemu", {{"pid", 1}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", 0}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", -1}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", -4711}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", half}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", "4711"}, {"start_time", 0}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", 4711}, {"start_time", -1}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", 4711}, {"start_time", 0.5}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", 4711}, {"start_time", 1}}},
        {"/qemu", {{"pid", 4711}, {"boot_id", "x"}}},
        {"/qemu", {{"pid", 4711}, {"start_time", 1}, {"boot_id", 5}}},
    };
}

std::string nested(int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
}

class Maker {
  public:
    explicit Maker(const Json& file) : file_(file), body_(file.at("body")) {}

    void add_member(const char* member, const Json& value) {
        auto body = body_;
        body[Pointer(member)] = value;
        const auto shown = value.dump(-1, ' ', true, Json::error_handler_t::replace);
        add_text(std::string(member) + " = " + shown.substr(0, 60), state::seal(body));
    }
    void add_missing(const char* member) {
        auto body = body_;
        const Pointer pointer(member);
        auto& parent = body.at(pointer.parent_pointer());
        if (parent.is_array()) {
            parent.erase(std::stoul(pointer.back()));
        } else {
            parent.erase(pointer.back());
        }
        add_text(std::string(member) + " is missing", state::seal(body));
    }
    /// Members around the body.
    void add_around(const char* member, const Json& value) {
        auto file = file_;
        file[member] = value;
        add_text(std::string("around: ") + member + " = " + value.dump().substr(0, 60),
                 file.dump());
    }
    void add_text(std::string what, std::string text) {
        states.push_back({std::move(what), std::move(text)});
    }

    std::vector<WrongState> states;

  private:
    const Json& file_;
    const Json& body_;
};

}  // namespace

std::vector<WrongState> wrong_states(const Json& good_file) {
    Maker maker(good_file);
    for (const auto* member : needed) maker.add_missing(member);
    for (const auto* member : texts) {
        for (const Json& value : {Json(7), Json(true), Json::array(), Json::object()})
            maker.add_member(member, value);
    }
    for (const auto* member : numbers) {
        for (const Json& value : {Json("1"), Json(-1), Json(1.5), Json(true), Json::array()})
            maker.add_member(member, value);
    }
    for (const auto* member : flags) {
        for (const Json& value : {Json(1), Json("yes"), Json::array()})
            maker.add_member(member, value);
    }
    for (const auto* member : objects) {
        for (const Json& value : {Json(), Json(1), Json("x"), Json::array()})
            maker.add_member(member, value);
    }
    for (const auto& row : wrong_values()) maker.add_member(row.member, row.value);
    for (const Json& version :
         {Json(2), Json(0), Json(-1), Json(1.5), Json("1"), Json(), Json(true)})
        maker.add_around("noxsup_vm", version);
    for (const Json& checksum : {Json(), Json(5), Json("crc32:00000000"), Json("md5:x")})
        maker.add_around("checksum", checksum);
    for (const Json& body : {Json(), Json(5), Json("x"), Json::array()}) {
        maker.add_text("the body is " + body.dump(), state::seal(body));
    }
    const auto whole = good_file.dump();
    maker.add_text("nested too deep", R"({"noxsup_vm": 1, "x": )" + nested(100'000) + "}");
    maker.add_text("a number that is too large", R"({"noxsup_vm": 1e999})");
    maker.add_text("larger than a record", std::string(2 << 20, ' ') + whole);
    maker.add_text("a NUL behind it", whole + std::string(1, '\0'));
    maker.add_text("twice", whole + whole);
    maker.add_text("a list", "[" + whole + "]");
    maker.add_text("a text", "\"" + std::string(1000, 'x') + "\"");
    maker.add_text("not UTF-8", "{\"noxsup_vm\": 1, \"\xff\xfe\": 1}");
    return std::move(maker.states);
}

}  // namespace noxsup::test
