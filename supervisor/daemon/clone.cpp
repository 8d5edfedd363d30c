#include "supervisor/daemon/clone.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/daemon/begun_vm.hpp"
#include "supervisor/daemon/frozen_disk.hpp"
#include "supervisor/daemon/identity.hpp"
#include "supervisor/daemon/network_choice.hpp"
#include "supervisor/daemon/vm_params.hpp"

namespace noxsup::daemon {
namespace {

using std::filesystem::path;

/// A card like another VM's: connected as that one is, with nothing of what is that one's alone.
NetworkWish wish_like(const spec::Network& network) {
    NetworkWish wish;
    wish.mode = network.mode;
    if (network.mode != spec::NetworkMode::nat) wish.bridge = network.bridge;
    wish.allow_spoofing = network.allow_spoofing;
    wish.isolated = network.isolated;
    wish.rate = network.rate;
    wish.vlan = network.vlan;
    return wish;
}

}  // namespace

Cloning::Cloning(Services& services, control::CallContext& call, CloneRequest request)
    : services_(services), call_(call), request_(std::move(request)) {}

boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> Cloning::run() {
    NOXSUP_CO_TRY(spec::check_vm_name(request_.new_name));
    NOXSUP_CO_TRY_VALUE(source_, services_.registry.find(request_.name));
    co_await source_->settled();
    NOXSUP_CO_TRY(find_source());
    NOXSUP_CO_TRY_VALUE(auto claim, services_.registry.claim(request_.new_name));
    NOXSUP_CO_TRY(make_spec());
    state::VmRecord sketch;
    sketch.spec = spec_;
    NOXSUP_CO_TRY(services_.uid_of(sketch));
    // Shown from here on, and its MAC addresses are held.
    claim.describe(spec_);
    NOXSUP_CO_TRY_VALUE(auto begun, services_.store.begin_create(spec_.id));
    BegunDirectory directory(std::move(begun));
    auto making = make_disk(directory.get());
    NOXSUP_CO_TRY(co_await std::move(making));
    NOXSUP_CO_TRY(copy_files(directory.get()));
    auto seeding = make_seed(directory.get());
    NOXSUP_CO_TRY(co_await std::move(seeding));
    state::VmRecord record;
    record.spec = spec_;
    auto added = add_begun(services_, directory, std::move(record), claim);
    if (added) log_info(spec_.name + " is a clone of " + request_.name);
    co_return added;
}

Result<> Cloning::find_source() {
    const auto& name = source_->spec().name;
    if (!request_.snapshot.empty()) {
        NOXSUP_TRY_VALUE(const auto index,
                         state::find_snapshot(source_->snapshots(), request_.snapshot, name));
        snapshot_ = source_->snapshots().at(index);
    }
    if (source_->is_active()) {
        return Error{ErrorCode::wrong_state,
                     name + " is " + std::string(lifecycle::to_string(source_->state())) +
                         ", and its disk is QEMU's until that ends",
                     "stop it first: noxsup stop " + name};
    }
    if (snapshot_ || source_->state() != lifecycle::State::suspended) return {};
    return Error{ErrorCode::wrong_state,
                 name + " is suspended: a part of what its disk should hold is in its memory",
                 "let it go on and stop it (noxsup start " + name + "; noxsup stop " + name +
                     "), or give its memory up: noxsup start --cold " + name};
}

Result<> Cloning::make_spec() {
    spec_ = source_->spec();
    if (snapshot_) {
        spec_.cpus = snapshot_->cpus;
        spec_.memory_bytes = snapshot_->memory_bytes;
        spec_.disk.virtual_bytes = snapshot_->disk_virtual_bytes;
    }
    spec_.name = request_.new_name;
    spec_.uuid = random_uuid();
    spec_.id = random_hex(4);
    spec_.created_at = rfc3339_now();
    spec_.cloud_init.instance_id = "i-" + random_uuid();
    // It boots.
    spec_.warm_template.clear();
    if (spec::boots_directly(spec_.boot)) {
        // Without a known source it is taken from its own disk before the first start.
        spec_.boot.source.clear();
        spec_.boot.kernel = std::string(vm::own_boot_directory) + "/kernel";
        spec_.boot.initrd = std::string(vm::own_boot_directory) + "/initrd";
    }
    return make_networks();
}

Result<> Cloning::make_networks() {
    const auto cards = std::exchange(spec_.networks, {});
    for (const auto& card : cards) {
        NOXSUP_TRY_VALUE(auto network, choose_network(services_, spec_, wish_like(card)));
        network.restricted = card.restricted;
        spec_.networks.push_back(std::move(network));
        for (const auto& rule : card.publish) {
            call_.note(spec_.name + " does not publish " + rule.host_address + ":" +
                       std::to_string(rule.host_port) + ", which is " + request_.name + "'s");
        }
        for (const auto& address : card.fixed_addresses) {
            call_.note(spec_.name + " asks for an address by DHCP, for " + address + " is " +
                       request_.name + "'s");
        }
    }
    return {};
}

boost::asio::awaitable<Result<>> Cloning::make_disk(path directory) {
    const auto disk = directory / "disk.qcow2";
    if (request_.full) {
        spec_.disk.base_file.clear();
        spec_.disk.base_digest.clear();
        call_.progress("copy the disk", 0, 0, "");
        auto source = source_disk();
        source.output = disk;
        auto copying = imaging::flatten_disk(services_.runner, std::move(source));
        NOXSUP_CO_TRY(co_await std::move(copying));
    } else {
        auto freezing = freeze();
        NOXSUP_CO_TRY_VALUE(const auto image, co_await std::move(freezing));
        spec_.disk.base_file = image.path.filename();
        spec_.disk.base_digest = image.digest;
        spec_.disk.base_format = spec::ImageFormat::qcow2;
        imaging::OverlaySpec overlay;
        overlay.path = disk;
        overlay.backing = services_.image_store.backing_path(image, directory);
        overlay.backing_bytes = image.virtual_bytes;
        overlay.virtual_bytes = spec_.disk.virtual_bytes;
        NOXSUP_CO_TRY(co_await services_.qemu_img.create_overlay(overlay));
    }
    co_return link_disk_name(directory, spec_.name);
}

/// What is copied, but for where to.
imaging::FlattenSpec Cloning::source_disk() const {
    imaging::FlattenSpec spec;
    const auto files = source_->files();
    spec.disk = files.disk;
    if (!files.base.empty()) spec.base = files.base;
    if (snapshot_) spec.snapshot = snapshot_->tag;
    return spec;
}

/// A text that is equal only as long as the disk that is meant is.
Result<std::string> Cloning::state_of_disk() const {
    const auto& vm = source_->spec();
    if (snapshot_) return "clone of " + vm.uuid + ", snapshot " + snapshot_->tag;
    const auto disk = source_->files().disk;
    struct stat info {};
    if (::stat(disk.c_str(), &info) != 0) return errno_error("stat " + disk.string(), errno);
    return "clone of " + vm.uuid + ", disk " + std::to_string(info.st_ino) + " of " +
           std::to_string(info.st_size) + " bytes, written at " +
           std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

Result<std::optional<imaging::Image>> Cloning::frozen_before() const {
    NOXSUP_TRY_VALUE(const auto state, state_of_disk());
    NOXSUP_TRY_VALUE(const auto images, services_.image_store.list());
    const auto found = std::ranges::find(images, state, &imaging::Image::source);
    if (found == images.end()) return std::optional<imaging::Image>();
    return std::optional(*found);
}

/// The disk as an image, without a name, that never changes any more.
boost::asio::awaitable<Result<imaging::Image>> Cloning::freeze() {
    NOXSUP_CO_TRY_VALUE(auto known, frozen_before());
    if (known) co_return *std::move(known);
    imaging::Image about;
    NOXSUP_CO_TRY_VALUE(about.source, state_of_disk());
    about.arch = std::string(to_string(spec_.arch));
    about.virtual_bytes = spec_.disk.virtual_bytes;
    auto freezing =
        freeze_disk(services_, call_, source_disk(), std::move(about), "clone-" + spec_.id);
    co_return co_await std::move(freezing);
}

/// What is of the machine as it was: the firmware's variables, and a kernel of its own.
Result<> Cloning::copy_files(const path& directory) const {
    const auto vars = source_->files().firmware_vars;
    if (!vars.empty()) {
        const bool kept = snapshot_ && snapshot_->firmware_vars;
        const auto from =
            kept ? source_->directory() / "snapshots" / (snapshot_->tag + ".efivars") : vars;
        NOXSUP_TRY(launch::copy_firmware_vars(from, directory / "efivars.fd"));
    }
    for (const auto& file : {spec_.boot.kernel, spec_.boot.initrd}) {
        if (spec_.boot.follow || file.empty() || path(file).is_absolute()) continue;
        std::error_code failure;
        std::filesystem::copy_file(source_->directory() / file, directory / file, failure);
        if (failure) return errno_error("copy " + file, failure.value());
    }
    return {};
}

boost::asio::awaitable<Result<>> Cloning::make_seed(path directory) {
    if (!spec_.cloud_init.enabled) {
        call_.note(spec_.name + " has no seed, as " + request_.name +
                   " has none: its guest keeps the host name and the keys that are on its disk");
        co_return Result<>();
    }
    auto seed = seed_of(services_, spec_);
    // cloud-init is not put behind the login: it knows what an earlier instance has left on the
    // disk.
    seed.stock = true;
    auto own_key = co_await ensure_identity(services_.runner, services_.home.identity());
    if (!own_key) co_return std::move(own_key).error();
    seed.authorized_keys.push_back(*std::move(own_key));
    auto making = make_host_key(services_, directory, spec_.name);
    NOXSUP_CO_TRY(co_await std::move(making));
    NOXSUP_CO_TRY(write_seed(directory, spec_, std::move(seed)));
    co_return Result<>();
}

void register_clone_api(control::Server& server, Services& services) {
    const auto clone = [&services](control::CallContext& call,
                                   Json params) -> boost::asio::awaitable<Result<control::Reply>> {
        CloneRequest request;
        NOXSUP_CO_TRY_VALUE(request.name, parameter<std::string>(params, "name"));
        NOXSUP_CO_TRY_VALUE(request.new_name, parameter<std::string>(params, "new_name"));
        NOXSUP_CO_TRY_VALUE(request.snapshot, parameter<std::string>(params, "snapshot", ""));
        NOXSUP_CO_TRY_VALUE(request.full, parameter(params, "full", false));
        Cloning cloning(services, call, std::move(request));
        auto work = cloning.run();
        NOXSUP_CO_TRY_VALUE(const auto vm, co_await std::move(work));
        co_return vm_reply(*vm);
    };
    server.register_method(control::method::vm_clone, clone);
}

}  // namespace noxsup::daemon
