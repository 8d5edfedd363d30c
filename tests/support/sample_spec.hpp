// VM specs and QEMU facts for tests: valid ones, to be changed by the test.
#pragma once

#include <string>

#include "supervisor/launch/qemu_argv.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::test {

/// A valid VM on user-mode networking that boots through firmware, under TCG.
inline spec::VmSpec sample_spec(spec::Arch arch = spec::Arch::amd64) {
    spec::VmSpec spec;
    spec.name = "testvm";
    spec.uuid = "6f1c9a52-7a3e-4f0b-9c55-3d2e1b0a9f87";
    spec.id = "3f2a9c41";
    spec.created_at = "2026-11-23T07:00:00Z";
    spec.os = "debian:13";
    spec.image = "debian-13";
    spec.arch = arch;
    spec.accel = spec::Accel::tcg;
    spec.machine = arch == spec::Arch::arm64 ? "virt-7.2" : "pc-q35-7.2";
    spec.cpus = 2;
    spec.memory_bytes = 512 * spec::mebibyte;
    spec.disk.virtual_bytes = 5 * 1024 * spec::mebibyte;
    spec.disk.base_file = "sha256-" + std::string(64, 'a') + ".qcow2";
    spec.disk.base_digest = std::string(64, 'a');
    spec.boot.firmware_code = arch == spec::Arch::arm64 ? "/usr/share/AAVMF/AAVMF_CODE.fd"
                                                        : "/usr/share/OVMF/OVMF_CODE_4M.fd";
    spec.networks.resize(1);
    spec.networks[0].mac = "52:54:00:3f:2a:9c";
    spec.networks[0].ssh_port = 2222;
    spec.cloud_init.instance_id = "i-3f2a9c41";
    // The units for the guest are long, the same for all, and have tests of their own.
    spec.cloud_init.stock = true;
    return spec;
}

/// The same with a kernel that QEMU loads itself.
inline spec::VmSpec sample_kernel_spec(spec::Arch arch) {
    auto spec = sample_spec(arch);
    spec.boot = {};
    spec.boot.mode = spec::BootMode::kernel;
    spec.boot.kernel = "vmlinuz";
    spec.boot.initrd = "initrd.img";
    spec.boot.command_line = "root=LABEL=root console=ttyS0,115200 ds=nocloud";
    return spec;
}

/// The same on a bridge.
inline spec::VmSpec sample_bridge_spec(spec::Arch arch) {
    auto spec = sample_spec(arch);
    spec.networks[0].mode = spec::NetworkMode::bridge;
    spec.networks[0].bridge = "br0";
    spec.networks[0].tap = "nx3f2a9c41";
    spec.networks[0].ssh_port = 0;
    return spec;
}

/// Debian 12's QEMU for an architecture.
inline launch::QemuBinary sample_qemu(spec::Arch arch) {
    launch::QemuBinary qemu;
    qemu.arch = arch;
    qemu.path =
        arch == spec::Arch::arm64 ? "/usr/bin/qemu-system-aarch64" : "/usr/bin/qemu-system-x86_64";
    qemu.version = "7.2.22";
    qemu.machine = arch == spec::Arch::arm64 ? "virt-7.2" : "pc-q35-7.2";
    qemu.machines = {qemu.machine};
    return qemu;
}

}  // namespace noxsup::test
