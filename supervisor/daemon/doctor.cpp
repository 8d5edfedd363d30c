#include "supervisor/daemon/doctor.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "supervisor/base/landlock.hpp"
#include "supervisor/base/process.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::daemon {
namespace {

constexpr std::uint64_t low_disk_bytes = std::uint64_t{5} << 30;
constexpr std::uint64_t low_memory_bytes = std::uint64_t{512} << 20;

Check check_kvm(const launch::KvmReport& report) {
    Check check;
    check.id = "kvm";
    if (report.verdict == launch::KvmVerdict::native) {
        check.text = "KVM runs guest code on the processor";
        return check;
    }
    check.status = CheckStatus::warning;
    check.text = report.reason + "; VMs run under emulation (TCG): slow, and no isolation boundary";
    check.fix = report.hint;
    return check;
}

Check check_firmware(spec::Arch arch) {
    const auto firmware = launch::find_firmware(arch);
    const auto id = "firmware-" + std::string(to_string(arch));
    if (firmware) return from_result(id, "firmware " + firmware->code, nullptr, CheckStatus::ok);
    const auto error = firmware.error();
    return from_result(id, "", &error, CheckStatus::error);
}

Check check_tool(std::string id, const std::string& program, const std::string& package,
                 const std::string& use) {
    Check check;
    check.id = std::move(id);
    if (const auto path = find_program(program)) {
        check.text = program + " is " + *path;
    } else {
        check.status = CheckStatus::error;
        check.text = program + " is not installed: " + use;
        check.fix = "apt-get install " + package;
    }
    return check;
}

Check check_space(const std::filesystem::path& where) {
    Check check;
    check.id = "disk";
    struct statvfs space {};
    if (::statvfs(where.c_str(), &space) != 0) {
        check.status = CheckStatus::error;
        check.text = "cannot look at " + where.string();
        return check;
    }
    const auto free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    check.text = format_bytes(free) + " free in " + where.string();
    if (free < low_disk_bytes) {
        check.status = CheckStatus::warning;
        check.text += "; guests stop when their disk cannot grow";
        check.fix = "free some space, or move the home with --home DIR";
    }
    return check;
}

Check check_memory(const launch::HostFacts& facts) {
    Check check;
    check.id = "memory";
    check.text = format_bytes(facts.memory_available_bytes) + " of " +
                 format_bytes(facts.memory_total_bytes) + " available";
    if (facts.memory_available_bytes < low_memory_bytes) {
        check.status = CheckStatus::warning;
        check.text += "; a VM of the usual 512 MiB does not fit";
        check.fix = "stop other VMs or services";
    }
    return check;
}

Check check_vgic(const launch::HostFacts& facts) {
    Check check;
    check.id = "vgic";
    if (facts.vgic) {
        check.text =
            "the kernel has a vGIC (GICv" + std::to_string(facts.gic_version.value_or(0)) + ")";
    } else {
        check.status = CheckStatus::error;
        check.text = "the kernel has no vGIC; guests hang after the firmware under KVM";
        check.fix = "install a kernel with the GIC's maintenance interrupt in its device tree";
    }
    return check;
}

Check check_uids(const Services& services) {
    Check check;
    check.id = "vm-uids";
    const auto& range = services.config.vm_uids;
    const auto text = std::to_string(range.first) + "-" + std::to_string(range.last);
    const auto& why_none = services.vm_uids.why_none();
    if (why_none.empty()) {
        check.text = "each VM's QEMU has a uid of its own (" + text + ")";
    } else if (::geteuid() != 0) {
        check.text = "QEMU runs as this user, without any capability";
    } else {
        check.status = CheckStatus::warning;
        check.text = why_none + "; every QEMU runs as its root, without any capability";
        check.fix = "name a range that it has as vm_uids in config.json";
    }
    return check;
}

Check check_landlock() {
    Check check;
    check.id = "landlock";
    if (const int version = landlock_abi(); version > 0) {
        check.text =
            "QEMU opens no file but the system's (Landlock " + std::to_string(version) + ")";
        return check;
    }
    check.status = CheckStatus::warning;
    check.text =
        "the kernel has no Landlock; a QEMU that is taken over reads what its uid may read";
    check.fix = "boot a kernel of 5.13 or newer with lsm=landlock among its security modules";
    return check;
}

Check check_cgroup(const Services& services) {
    Check check;
    check.id = "cgroup";
    const auto& why_none = services.cgroups.why_none();
    if (why_none.empty()) {
        check.text = "each VM's memory, CPU time and tasks are limited by a cgroup of its own";
        return check;
    }
    // A user's session has none to give, and that is how it is meant.
    const bool expected = services.home.scope() == state::Scope::user;
    check.status = expected ? CheckStatus::ok : CheckStatus::warning;
    check.text = "VMs have no cgroup of their own: " + why_none;
    if (!expected) check.fix = "systemctl edit noxsup, and say Delegate=yes under [Service]";
    return check;
}

}  // namespace

Check from_result(std::string id, std::string fine, const Error* error, CheckStatus otherwise) {
    Check check;
    check.id = std::move(id);
    if (error == nullptr) {
        check.text = std::move(fine);
    } else {
        check.status = otherwise;
        check.text = error->message;
        check.fix = error->hint;
    }
    return check;
}

Json to_json(const Check& check) {
    const char* status = check.status == CheckStatus::ok        ? "ok"
                         : check.status == CheckStatus::warning ? "warning"
                                                                : "error";
    return {{"id", check.id},
            {"status", status},
            {"text", check.text},
            {"fix", check.fix.empty() ? Json() : Json(check.fix)},
            {"mended", check.mended.empty() ? Json() : Json(check.mended)}};
}

boost::asio::awaitable<std::vector<Check>> run_checks(Services& services, Mend mend) {
    std::vector<Check> checks;
    const auto facts = launch::read_host_facts();
    const auto report = co_await services.kvm();
    checks.push_back(check_kvm(report));
    for (const auto arch : {spec::Arch::arm64, spec::Arch::amd64}) {
        const bool native = arch == launch::native_arch();
        const auto severity = native ? CheckStatus::error : CheckStatus::warning;
        const auto qemu = co_await services.qemu(arch);
        const auto id = "qemu-" + std::string(to_string(arch));
        if (qemu) {
            checks.push_back(from_result(id, "QEMU " + qemu->version + ", machine " + qemu->machine,
                                         nullptr, CheckStatus::ok));
        } else {
            const auto error = qemu.error();
            checks.push_back(from_result(id, "", &error, severity));
        }
        auto firmware = check_firmware(arch);
        if (firmware.status != CheckStatus::ok) firmware.status = severity;
        checks.push_back(std::move(firmware));
    }
    checks.push_back(check_tool("qemu-img", "qemu-img", "qemu-utils", "disks cannot be made"));
    checks.push_back(check_tool("ssh", "ssh-keygen", "openssh-client", "keys cannot be made"));
    auto bridge = co_await check_bridge(services, mend);
    std::ranges::move(bridge, std::back_inserter(checks));
    std::ranges::move(check_nat(services), std::back_inserter(checks));
    checks.push_back(check_uids(services));
    checks.push_back(check_landlock());
    checks.push_back(check_cgroup(services));
    checks.push_back(check_space(services.home.root()));
    if (facts) {
        checks.push_back(check_memory(*facts));
        if (facts->arch == spec::Arch::arm64) checks.push_back(check_vgic(*facts));
    } else {
        const auto error = facts.error();
        checks.push_back(from_result("memory", "", &error, CheckStatus::error));
    }
    for (const auto& warning : services.config.warnings) {
        const Error error(ErrorCode::invalid_argument, warning, "see the README's table of keys");
        checks.push_back(from_result("config", "", &error, CheckStatus::warning));
    }
    if (const auto catalog = services.catalog.reload(); !catalog) {
        const auto error = catalog.error();
        checks.push_back(from_result("catalog", "", &error, CheckStatus::warning));
    }
    co_return checks;
}

}  // namespace noxsup::daemon
