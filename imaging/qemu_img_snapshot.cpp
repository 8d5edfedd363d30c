// Internal snapshots of disks by qemu-img.

#include "imaging/own_disk.hpp"
#include "imaging/qemu_img.hpp"

namespace noxsup::imaging {

namespace {

/// As much as the counts of a large disk's clusters take on a slow medium.
constexpr std::chrono::minutes snapshot_deadline{10};

}  // namespace

QemuImg::SnapshotCall QemuImg::run_on_disk(std::vector<std::string> arguments,
                                           std::filesystem::path path) {
    NOXSUP_CO_TRY(check_own_disk(path));
    arguments.push_back(describe_disk(path));
    auto running = run(std::move(arguments), snapshot_deadline);
    auto output = co_await std::move(running);
    if (!output) co_return std::move(output).error();
    co_return Result<>();
}

QemuImg::SnapshotCall QemuImg::create_snapshot(std::filesystem::path path, std::string tag) {
    std::vector<std::string> arguments{"snapshot", "-q", "-c", std::move(tag)};
    return run_on_disk(std::move(arguments), std::move(path));
}

QemuImg::SnapshotCall QemuImg::apply_snapshot(std::filesystem::path path, std::string tag) {
    std::vector<std::string> arguments{"snapshot", "-q", "-a", std::move(tag)};
    return run_on_disk(std::move(arguments), std::move(path));
}

QemuImg::SnapshotCall QemuImg::remove_snapshot(std::filesystem::path path, std::string tag) {
    std::vector<std::string> arguments{"snapshot", "-q", "-d", std::move(tag)};
    auto running = run_on_disk(std::move(arguments), std::move(path));
    auto outcome = co_await std::move(running);
    if (!outcome && outcome.error().message.find("snapshot not found") != std::string::npos)
        co_return Result<>();
    co_return outcome;
}

QemuImg::SnapshotCall QemuImg::repair(std::filesystem::path path) {
    return run_on_disk({"check", "-q", "-r", "all"}, std::move(path));
}

}  // namespace noxsup::imaging
