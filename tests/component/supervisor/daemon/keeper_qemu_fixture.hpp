// A keeper's home whose VMs are real QEMUs; their guest halts its processor at once.
#pragma once

#include "supervisor/launch/process_identity.hpp"
#include "tests/component/supervisor/daemon/keeper_fixture.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::test {

class KeeperQemu : public KeeperTest {
  protected:
    KeeperQemu() {
        // What a guest's memory is saved with is the release of the QEMU that runs.
        const auto installed = completed(launch::find_qemu(runner_, spec::Arch::amd64));
        EXPECT_TRUE(installed) << installed.error().message;
        qemu_ = [version = installed ? installed->version
                                     : ""](spec::Arch arch) -> Result<launch::QemuBinary> {
            auto qemu = sample_qemu(arch);
            qemu.version = version;
            return qemu;
        };
        // Real processes are of this boot of the host.
        environment_.boot_id = *launch::read_boot_id();
        dir_.write("home/run/boot", environment_.boot_id + "\n");
    }

    /// A VM without a disk, which its test makes. @param change after everything else
    void make_idle_vm(const std::string& name, int number, const Change& change) {
        make_vm(name, number, [&](state::VmRecord& record) {
            auto& spec = record.spec;
            spec.cpus = 1;
            spec.memory_bytes = 64 * spec::mebibyte;
            spec.disk.base_file.clear();
            spec.disk.base_digest.clear();
            spec.boot = {};
            spec.boot.mode = spec::BootMode::kernel;
            spec.boot.kernel = "vmlinuz";
            spec.networks[0].ssh_port = 0;
            spec.networks[0].restricted = true;
            spec.cloud_init.enabled = false;
            change(record);
        });
        dir_.write("home/vms/" + name + "/vmlinuz", idle_bzimage());
    }

    template <class T>
    Result<T> completed(boost::asio::awaitable<Result<T>> operation) {
        std::optional<Result<T>> outcome;
        boost::asio::co_spawn(context_, std::move(operation),
                              [&outcome](const std::exception_ptr& failure, Result<T> result) {
                                  if (failure) std::rethrow_exception(failure);
                                  outcome = std::move(result);
                              });
        if (!runs_until([&outcome] { return outcome.has_value(); }))
            return Error(ErrorCode::timeout, "not within the test's patience");
        return std::move(*outcome);
    }

    /// What it wrote.
    std::string run_command(std::vector<std::string> argv) {
        Command command;
        command.argv = std::move(argv);
        const auto output = completed(run_checked(runner_, command));
        EXPECT_TRUE(output) << output.error().message;
        return output ? *output : std::string();
    }
};

}  // namespace noxsup::test
