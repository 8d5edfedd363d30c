#include "supervisor/daemon/create.hpp"

#include <sys/statvfs.h>

#include "supervisor/base/async.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/text.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/daemon/begun_vm.hpp"
#include "supervisor/daemon/identity.hpp"
#include "supervisor/daemon/network_choice.hpp"
#include "supervisor/daemon/password.hpp"
#include "supervisor/daemon/resources.hpp"
#include "supervisor/daemon/template_making.hpp"

namespace noxsup::daemon {
namespace {

using std::filesystem::path;

/// What an overlay, the firmware's variables, the seed and the logs need at the least.
constexpr std::uint64_t min_free_bytes = std::uint64_t{256} << 20;

Error with_stage(Error error, std::string_view stage) {
    if (error.stage.empty()) error.stage = stage;
    return error;
}

}  // namespace

vm::Stages stages_of(control::CallContext& call) {
    return vm::Stages([&call](std::string_view stage, std::optional<double> seconds) {
        if (seconds) {
            call.stage_ended(stage, *seconds);
        } else {
            call.progress(stage, 0, 0, "");
        }
    });
}

Creation::Creation(Services& services, control::CallContext& call, CreateRequest request,
                   launch::HostFacts facts)
    : services_(services),
      call_(call),
      request_(std::move(request)),
      facts_(std::move(facts)),
      stages_(stages_of(call)) {}

void Creation::note(std::string text) {
    call_.note(text);
    notes_.push_back(std::move(text));
}

std::chrono::seconds Creation::timeout() const {
    if (request_.timeout) return *request_.timeout;
    // Emulation is an order of magnitude slower; five minutes would cut good boots off.
    return spec_.accel == spec::Accel::tcg ? std::chrono::minutes(15) : std::chrono::minutes(5);
}

boost::asio::awaitable<Result<Json>> Creation::run(Registry::NameClaim claim) {
    NOXSUP_CO_TRY_VALUE(const auto vm, co_await make(claim));
    if (request_.start) {
        const auto deadline = std::chrono::steady_clock::now() + timeout();
        NOXSUP_CO_TRY(co_await start(vm));
        if (request_.wait) NOXSUP_CO_TRY(co_await vm->wait(*request_.wait, deadline, stages_));
    }
    stages_.end();
    vm->remember_stages(stages_.to_json());
    Json reply{{"vm", vm->to_json()}, {"notes", notes_}};
    if (!password_.empty()) reply["password"] = password_;
    co_return reply;
}

boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> Creation::make(Registry::NameClaim& claim) {
    auto built = co_await build(claim);
    if (!built) co_return with_stage(std::move(built).error(), stages_.current());
    co_return built;
}

boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> Creation::build(
    Registry::NameClaim& claim) {
    spec_.name = request_.name;
    spec_.uuid = random_uuid();
    spec_.id = request_.template_id.empty() ? random_hex(4) : request_.template_id;
    spec_.warm_template = request_.template_id;
    spec_.created_at = rfc3339_now();
    spec_.arch = request_.arch;
    spec_.accel_requested = request_.accel;
    spec_.cpus = request_.cpus;
    spec_.memory_bytes = request_.memory_bytes;
    spec_.user = request_.user;
    spec_.autostart = request_.autostart;
    spec_.restart = request_.restart;
    spec_.cloud_init.stock = request_.stock;
    spec_.cloud_init.instance_id = "i-" + random_uuid();
    NOXSUP_CO_TRY(co_await choose_machine());
    NOXSUP_CO_TRY(co_await choose_accel());
    NOXSUP_CO_TRY(check_guest_cpus(spec_, facts_));
    NOXSUP_CO_TRY(choose_boot());
    NOXSUP_CO_TRY(co_await choose_networks());
    // That all uids are given away is told before an image is fetched.
    state::VmRecord sketch;
    sketch.spec = spec_;
    NOXSUP_CO_TRY(services_.uid_of(sketch));
    // Shown from here on, and the MAC is held against creates that run beside this one.
    claim.describe(spec_);

    NOXSUP_CO_TRY_VALUE(auto begun, services_.store.begin_create(spec_.id));
    BegunDirectory directory(std::move(begun));
    // The key needs nothing of the image and the disk, which take their time.
    using boost::asio::experimental::awaitable_operators::operator&&;
    auto both =
        choose_disk(directory.get()) && make_host_key(services_, directory.get(), spec_.name);
    auto [disk, key] = co_await std::move(both);
    if (!disk) co_return std::move(disk).error();
    if (!key) co_return std::move(key).error();
    claim.describe(spec_);
    stages_.begin("seed");
    NOXSUP_CO_TRY(co_await make_seed(directory.get()));
    stages_.end();
    state::VmRecord record;
    record.spec = spec_;
    // The disk holds what its image does, which was looked at.
    if (spec_.boot.follow && !warm_)
        record.boot_mark = state::mark_of_disk(directory.get() / "disk.qcow2");
    co_return add_begun(services_, directory, std::move(record), claim);
}

/// The disk on its image: the one asked for, or that of a template which fits.
boost::asio::awaitable<Result<>> Creation::choose_disk(path directory) {
    stages_.begin("image");
    auto choosing = choose_image();
    NOXSUP_CO_TRY_VALUE(auto chosen, co_await std::move(choosing));
    auto fitting = choose_template(std::move(chosen));
    NOXSUP_CO_TRY_VALUE(const auto image, co_await std::move(fitting));
    stages_.begin("disk");
    co_return co_await make_disk(directory, image);
}

/// The image, and what of the spec comes from it.
boost::asio::awaitable<Result<imaging::Image>> Creation::choose_image() {
    NOXSUP_CO_TRY_VALUE(auto found, co_await get_image());
    // Without the size an overlay could cut the disk off.
    auto sizing = services_.images.with_size(std::move(found));
    NOXSUP_CO_TRY_VALUE(auto image, co_await std::move(sizing));
    spec_.image = image.display_name();
    spec_.os = image.os.empty() ? "" : image.os + ":" + image.release;
    spec_.disk.virtual_bytes = request_.disk_bytes;
    spec_.disk.base_file = image.path.filename();
    spec_.disk.base_digest = image.digest;
    NOXSUP_CO_TRY(check_disk(image));
    NOXSUP_CO_TRY(co_await choose_direct_boot(image));
    co_return image;
}

boost::asio::awaitable<Result<>> Creation::choose_machine() {
    NOXSUP_CO_TRY_VALUE(const auto qemu, co_await services_.qemu(spec_.arch));
    spec_.machine = qemu.machine;
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Creation::choose_accel() {
    spec_.accel = spec::Accel::tcg;
    const bool foreign = spec_.arch != launch::native_arch();
    if (request_.accel == spec::Accel::tcg) co_return Result<>();
    if (foreign && request_.accel == spec::Accel::kvm) {
        co_return Error{
            ErrorCode::host_lacks_kvm,
            "KVM cannot run " + std::string(to_string(spec_.arch)) + " guests on this host",
            "use --accel tcg"};
    }
    if (foreign) {
        note("running under emulation (TCG): " + std::string(to_string(spec_.arch)) +
             " is not this host's architecture; slow, and no isolation boundary");
        co_return Result<>();
    }
    const auto report = co_await services_.kvm();
    if (report.verdict == launch::KvmVerdict::native) {
        spec_.accel = spec::Accel::kvm;
    } else if (request_.accel == spec::Accel::kvm) {
        co_return Error{ErrorCode::host_lacks_kvm, "KVM is asked for, but " + report.reason,
                        report.hint};
    } else {
        note("running under emulation (TCG): " + report.reason +
             "; slow, and no isolation boundary");
    }
    co_return Result<>();
}

Result<> Creation::choose_boot() {
    const auto kernel = services_.config.kernels.find(std::string(to_string(spec_.arch)));
    const bool has_kernel = kernel != services_.config.kernels.end();
    spec_.boot.mode = request_.boot.value_or(spec::BootMode::firmware);
    if (spec_.boot.mode == spec::BootMode::kernel && has_kernel) {
        spec_.boot.kernel = kernel->second.kernel;
        spec_.boot.initrd = kernel->second.initrd;
        spec_.boot.command_line = kernel->second.command_line;
        return {};
    }
    NOXSUP_TRY_VALUE(const auto firmware, launch::find_firmware(spec_.arch));
    spec_.boot.firmware_code = firmware.code;
    vars_template_ = firmware.vars_template;
    return {};
}

/// Without the firmware, where the image allows it: "auto" takes that unless the boot is to stay as
/// the vendor made it, "kernel" wants it.
boost::asio::awaitable<Result<>> Creation::choose_direct_boot(const imaging::Image& image) {
    const bool wanted = request_.boot == spec::BootMode::kernel;
    const bool is_configured = wanted && !spec_.boot.kernel.empty();
    const bool is_tried = wanted || (!request_.boot && !request_.stock);
    if (is_configured || !is_tried || image.digest.empty()) co_return Result<>();
    const auto arch = std::string(to_string(spec_.arch));
    auto looking = services_.boot_files.of_image(image, arch);
    NOXSUP_CO_TRY_VALUE(const auto look, co_await std::move(looking));
    if (!look.direct) {
        if (!wanted) co_return Result<>();
        co_return Error{ErrorCode::invalid_argument,
                        "--boot kernel: " + image.display_name() +
                            " cannot be booted without firmware: " + look.why_not,
                        "use --boot firmware, or name a kernel for " + arch +
                            " under \"kernel\" in config.json"};
    }
    const auto directory = std::filesystem::relative(
        services_.boot_files.image_directory(image.digest), services_.home.vm(spec_.name));
    spec_.boot = spec::Boot();
    spec_.boot.mode = spec::BootMode::kernel;
    spec_.boot.follow = true;
    spec_.boot.kernel = directory / "kernel";
    spec_.boot.initrd = directory / "initrd";
    spec_.boot.command_line = look.direct->command_line;
    spec_.boot.source = look.direct->source;
    spec_.boot.kernel_name = look.direct->kernel_name;
    vars_template_.clear();
    co_return Result<>();
}

boost::asio::awaitable<Result<>> Creation::choose_networks() {
    for (const auto& wish : request_.networks) {
        NOXSUP_CO_TRY_VALUE(auto network, choose_network(services_, spec_, wish));
        if (network.mode == spec::NetworkMode::macvtap) note(macvtap_note(network));
        spec_.networks.push_back(std::move(network));
        if (!wish.address) continue;
        auto checking = check_fixed_address(services_, *wish.address, spec_.networks.back());
        NOXSUP_CO_TRY(co_await std::move(checking));
    }
    co_return Result<>();
}

boost::asio::awaitable<Result<imaging::Image>> Creation::get_image() {
    auto& call = call_;
    const auto progress = [&call](const imaging::Progress& report) {
        if (!report.note.empty()) call.note(report.note);
        call.progress("image: " + report.stage, report.done, report.total.value_or(0), report.unit);
    };
    if (request_.image_fd) {
        NOXSUP_CO_TRY_VALUE(const auto file, call_.take_fd(*request_.image_fd));
        imaging::ImportRequest import;
        import.fd = file.get();
        import.source = request_.image_source;
        if (request_.arch_given) import.arch = std::string(to_string(spec_.arch));
        import.any_name = true;
        auto image = co_await services_.images.import(std::move(import), progress);
        co_return image;
    }
    if (!request_.image_url.empty()) {
        imaging::ImportUrlRequest import;
        import.url = request_.image_url;
        if (request_.arch_given) import.arch = std::string(to_string(spec_.arch));
        import.any_name = true;
        auto image = co_await services_.images.import_url(std::move(import), progress);
        co_return image;
    }
    if (!request_.image.empty()) co_return services_.image_store.find(request_.image);
    NOXSUP_CO_TRY(services_.catalog.reload());
    const auto policy = request_.allow_build ? imaging::ImagePolicy::vendor_then_build
                                             : imaging::ImagePolicy::vendor_only;
    auto image = co_await services_.images.ensure(request_.os, std::string(to_string(spec_.arch)),
                                                  policy, progress);
    co_return image;
}

Result<> Creation::check_disk(const imaging::Image& image) const {
    if (request_.disk_bytes < image.virtual_bytes) {
        return Error{ErrorCode::disk_too_small,
                     "--disk " + format_bytes(request_.disk_bytes) + " is smaller than the image " +
                         image.display_name() + " (" + format_bytes(image.virtual_bytes) + ")",
                     "ask for at least " + format_bytes(image.virtual_bytes)};
    }
    if (!image.arch.empty() && image.arch != to_string(spec_.arch)) {
        return Error{ErrorCode::invalid_argument,
                     image.display_name() + " is an " + image.arch + " image",
                     "use --arch " + image.arch};
    }
    struct statvfs space {};
    if (::statvfs(services_.home.vms().c_str(), &space) != 0) {
        return errno_error("look at " + services_.home.vms().string(), errno);
    }
    const auto free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (free < min_free_bytes) {
        return Error{ErrorCode::no_space,
                     "only " + format_bytes(free) + " are free in " + services_.home.vms().string(),
                     "free some space; a VM needs at least " + format_bytes(min_free_bytes)};
    }
    return {};
}

boost::asio::awaitable<Result<>> Creation::make_disk(const path& directory,
                                                     const imaging::Image& image) {
    imaging::OverlaySpec overlay;
    overlay.path = directory / "disk.qcow2";
    overlay.backing = services_.image_store.backing_path(image, directory);
    overlay.backing_bytes = image.virtual_bytes;
    overlay.virtual_bytes = request_.disk_bytes;
    NOXSUP_CO_TRY(co_await services_.qemu_img.create_overlay(overlay));
    NOXSUP_CO_TRY(link_disk_name(directory, spec_.name));
    if (vars_template_.empty()) co_return Result<>();
    co_return launch::copy_firmware_vars(vars_template_, directory / "efivars.fd");
}

boost::asio::awaitable<Result<>> Creation::make_seed(const path& directory) {
    auto seed = seed_of(services_, spec_);
    for (std::size_t i = 0; i < seed.networks.size(); ++i)
        seed.networks[i].address = request_.networks[i].address;
    seed.documents = request_.documents;
    seed.stock = request_.stock;
    NOXSUP_CO_TRY_VALUE(auto own_key,
                        co_await ensure_identity(services_.runner, services_.home.identity()));
    seed.authorized_keys = request_.ssh_keys;
    seed.authorized_keys.push_back(std::move(own_key));
    if (request_.password) {
        password_ = random_password();
        NOXSUP_CO_TRY_VALUE(seed.password_hash, hash_password(password_));
    }
    NOXSUP_CO_TRY_VALUE(seed_, write_seed(directory, spec_, std::move(seed)));
    co_return Result<>();
}

Result<AskedCreation> read_create_request(const Services& services, const Json& params) {
    AskedCreation asked;
    NOXSUP_TRY_VALUE(asked.facts, launch::read_host_facts());
    struct statvfs space {};
    static_cast<void>(::statvfs(services.home.vms().c_str(), &space));
    const auto disk_free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    NOXSUP_TRY_VALUE(asked.request,
                     parse_create_request(params, services.config, asked.facts, disk_free));
    return asked;
}

void register_create_api(control::Server& server, Services& services) {
    const auto create = [&services](control::CallContext& call,
                                    Json params) -> boost::asio::awaitable<Result<control::Reply>> {
        NOXSUP_CO_TRY_VALUE(const auto asked, read_create_request(services, params));
        NOXSUP_CO_TRY_VALUE(auto claim, services.registry.claim(asked.request.name));
        Creation creation(services, call, asked.request, asked.facts);
        auto outcome = co_await creation.run(std::move(claim));
        if (!outcome) co_return std::move(outcome).error();
        if (creation.missed_template() && services.config.templates == "auto")
            consider_template(services, asked.request, asked.facts);
        co_return control::Reply(std::move(*outcome));
    };
    server.register_method(control::method::vm_create, create);
}

}  // namespace noxsup::daemon
