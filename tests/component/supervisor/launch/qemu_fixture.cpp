#include "tests/component/supervisor/launch/qemu_fixture.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

#include "supervisor/base/async.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/landlock.hpp"
#include "supervisor/base/unix_socket.hpp"
#include "tests/support/run_async.hpp"

namespace noxsup::test {
namespace {

constexpr int patience_ms = 20'000;

bool readable(int fd, int limit_ms) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, limit_ms) == 1;
}

}  // namespace

std::string idle_bzimage() {
    std::string image(16384, '\0');
    image[0x1f1] = 1;
    image.replace(0x200, 2, "\xeb\x7e");  // jmp 0x280, behind the header
    image.replace(0x202, 4, "HdrS");
    image[0x206] = 0x0f;
    image[0x207] = 0x02;
    image.replace(0x22c, 4, "\xff\xff\xff\x7f");
    image.replace(0x280, 4, "\xfa\xf4\xeb\xfc");  // cli; hlt; jmp back
    return image;
}

QmpPeer::QmpPeer(const std::filesystem::path& socket) {
    auto connected = connect_unix(socket);
    if (!connected) throw std::runtime_error(connected.error().message);
    socket_ = std::move(*connected);
    greeting_ = read_line();
    if (!greeting_.contains("QMP")) throw std::runtime_error("no greeting: " + greeting_.dump());
    execute("qmp_capabilities");
}

Json QmpPeer::execute(const std::string& command, const Json& arguments) {
    const auto line = dump_json({{"execute", command}, {"arguments", arguments}}) + "\n";
    if (::write(socket_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
        throw std::runtime_error("cannot write to QMP");
    }
    for (;;) {
        auto reply = read_line();
        if (reply.contains("return")) return reply["return"];
        if (reply.contains("error")) throw std::runtime_error(command + ": " + reply.dump());
    }
}

Json QmpPeer::read_line() {
    for (;;) {
        const auto end = buffered_.find('\n');
        if (end != std::string::npos) {
            auto line = parse_json(std::string_view(buffered_).substr(0, end));
            buffered_.erase(0, end + 1);
            if (!line) throw std::runtime_error(line.error().message);
            return *line;
        }
        if (!readable(socket_.get(), patience_ms)) throw std::runtime_error("QMP does not answer");
        std::array<char, 65536> chunk{};
        const auto got = ::read(socket_.get(), chunk.data(), chunk.size());
        if (got <= 0) throw std::runtime_error("QMP closed the connection");
        buffered_.append(chunk.data(), static_cast<std::size_t>(got));
    }
}

void QemuTest::run(std::vector<std::string> argv) {
    ProcessRunner runner;
    Command command;
    command.argv = std::move(argv);
    const auto output = run_async(context_, run_checked(runner, command));
    if (!output) throw std::runtime_error(output.error().message);
}

std::optional<uid_t> QemuTest::own_uid() {
    const launch::VmUids uids(launch::default_vm_uids);
    if (!uids.why_none().empty()) return std::nullopt;
    return launch::default_vm_uids.last;
}

launch::StartRequest QemuTest::make_request(const spec::VmSpec& spec) {
    launch::StartRequest request;
    request.spec = spec;
    request.qemu = sample_qemu(spec.arch);
    auto& files = request.files;
    files.disk = dir_ / "disk.qcow2";
    if (spec.disk.base_file.empty()) {
        run({"qemu-img", "create", "-q", "-f", std::string(to_string(spec.disk.format)),
             files.disk.string(), "64M"});
    } else {
        files.base = dir_ / "base.qcow2";
        run({"qemu-img", "create", "-q", "-f", "qcow2", files.base.string(), "64M"});
        run({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2",
             files.disk.string()});
    }
    if (spec.cloud_init.enabled) files.seed = dir_.write("seed.iso", std::string(65536, '\0'));
    if (!spec.boot.firmware_code.empty()) {
        const auto firmware = launch::find_firmware(spec.arch);
        if (!firmware) throw std::runtime_error(firmware.error().message);
        files.firmware_code = firmware->code;
        files.firmware_vars = dir_ / "efivars.fd";
        const auto copied =
            launch::copy_firmware_vars(firmware->vars_template, files.firmware_vars);
        if (!copied) throw std::runtime_error(copied.error().message);
    }
    if (spec.boot.mode == spec::BootMode::kernel) {
        files.kernel = dir_.write("vmlinuz", idle_bzimage());
        files.initrd = dir_.write("initrd.img", std::string(4096, 'i'));
    }
    files.qemu_log = dir_ / "qemu.log";
    files.lock = dir_ / "lock";
    files.runtime_dir = dir_ / "run" / spec.id;
    const auto plan = launch::plan_confinement(spec, own_uid(), launch::kvm_device_rights());
    if (!plan) throw std::runtime_error(plan.error().message);
    request.confinement = *plan;
    request.confinement.landlock = landlock_abi();
    return request;
}

launch::PendingQemu QemuTest::start(const launch::StartRequest& request) {
    auto started = launch::start_qemu(context_.get_executor(), request);
    if (!started) throw std::runtime_error(started.error().message);
    return std::move(*started);
}

Result<std::unique_ptr<QmpPeer>> QemuTest::talk(launch::PendingQemu& qemu,
                                                const launch::StartRequest& request) {
    try {
        return std::make_unique<QmpPeer>(request.files.qmp_socket());
    } catch (const std::runtime_error& failure) {
        Error error(ErrorCode::qemu_failed, failure.what());
        for (const auto& line : qemu.last_words()) error.message += "\n" + line;
        return error;
    }
}

std::size_t count_open_fds() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
        ++count;
    return count;
}

void wait_for_end(int pidfd) {
    if (!readable(pidfd, patience_ms)) throw std::runtime_error("the process does not end");
}

}  // namespace noxsup::test
