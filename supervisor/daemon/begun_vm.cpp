#include "supervisor/daemon/begun_vm.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/daemon/identity.hpp"

namespace noxsup::daemon {
namespace {

constexpr std::size_t max_key_bytes = std::size_t{64} << 10;
constexpr auto host_key_file = "ssh_host_key";

/// Into a directory that nobody knows yet: what makes it known brings its names to the medium.
Result<> write_new_file(const std::filesystem::path& path, std::string_view data, mode_t mode) {
    NOXSUP_TRY_VALUE(const auto fd,
                     open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    NOXSUP_TRY(write_all(fd.get(), data, path.string()));
    if (::fchmod(fd.get(), mode) != 0) return errno_error("chmod " + path.string(), errno);
    if (::fsync(fd.get()) != 0) return errno_error("fsync " + path.string(), errno);
    return {};
}

}  // namespace

BegunDirectory::~BegunDirectory() {
    if (directory_.empty()) return;
    if (const auto removed = state::remove_tree(directory_); !removed)
        log_warning(removed.error().message);
}

imaging::SeedSpec seed_of(const Services& services, const spec::VmSpec& spec) {
    imaging::SeedSpec seed;
    seed.name = spec.name;
    seed.instance_id = spec.cloud_init.instance_id;
    seed.user = spec.user;
    if (const auto entry = services.catalog.find(spec.os, to_string(spec.arch))) {
        seed.shell = entry->shell;
        seed.doas = entry->doas;
    }
    for (const auto& card : spec.networks) {
        auto& network = seed.networks.emplace_back();
        network.mac = card.mac;
        if (card.mode == spec::NetworkMode::nat)
            network.search = {std::string(netbridge::nat_domain)};
    }
    return seed;
}

boost::asio::awaitable<Result<>> make_host_key(Services& services, std::filesystem::path directory,
                                               std::string name) {
    return make_ssh_key(services.runner, directory / host_key_file, std::move(name));
}

Result<imaging::Seed> write_seed(const std::filesystem::path& directory, const spec::VmSpec& spec,
                                 imaging::SeedSpec seed) {
    const auto host_key = directory / host_key_file;
    NOXSUP_TRY_VALUE(seed.host_key_private, read_file(host_key, max_key_bytes));
    NOXSUP_TRY_VALUE(const auto host_key_public,
                     read_file(host_key.string() + ".pub", max_key_bytes));
    seed.host_key_public = std::string(trim(host_key_public));
    // The seed holds it from here on; a second copy is a second thing to lose.
    ::unlink(host_key.c_str());
    ::unlink((host_key.string() + ".pub").c_str());
    NOXSUP_TRY_VALUE(auto texts, imaging::make_seed(seed));
    NOXSUP_TRY_VALUE(const auto iso, imaging::make_seed_iso(texts));
    NOXSUP_TRY(write_new_file(directory / "user-data", texts.user_data, 0600));
    NOXSUP_TRY(write_new_file(directory / "meta-data", texts.meta_data, 0600));
    NOXSUP_TRY(write_new_file(directory / "network-config", texts.network_config, 0600));
    NOXSUP_TRY(write_new_file(directory / "cloud-init.iso", iso, 0400));
    const auto pin = "noxsup-" + spec.uuid + " " + seed.host_key_public + "\n";
    NOXSUP_TRY(write_new_file(directory / "known_hosts", pin, 0644));
    return texts;
}

Result<std::shared_ptr<vm::Vm>> add_begun(Services& services, BegunDirectory& directory,
                                          state::VmRecord record, Registry::NameClaim& claim) {
    NOXSUP_TRY(spec::validate(record.spec));
    record.reason = lifecycle::Reason::user;
    const auto& of = record.spec;
    record.identity_pending = !of.warm_template.empty() && !spec::becomes_template(of);
    NOXSUP_TRY_VALUE(record.uid, services.uid_of(record));
    // The base may have been removed while the disk was made.
    const auto& disk = record.spec.disk;
    if (!disk.base_file.empty()) NOXSUP_TRY(services.image_store.by_digest(disk.base_digest));
    NOXSUP_TRY(services.store.finish_create(directory.get(), record));
    directory.keep();
    return services.registry.add(std::move(record), claim);
}

Result<> link_disk_name(const std::filesystem::path& directory, const std::string& vm) {
    const auto link = directory / (vm + ".qcow2");
    if (::symlink("disk.qcow2", link.c_str()) != 0)
        return errno_error("link " + link.string(), errno);
    return {};
}

}  // namespace noxsup::daemon
