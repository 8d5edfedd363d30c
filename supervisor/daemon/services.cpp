#include "supervisor/daemon/services.hpp"

#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/launch/guest_units.hpp"
#include "supervisor/launch/process_identity.hpp"

namespace noxsup::daemon {
namespace {

imaging::BuilderConfig builder_config(const state::Config& config) {
    imaging::BuilderConfig builder;
    builder.package_mirror = config.package_mirror;
    return builder;
}

}  // namespace

Result<std::unique_ptr<Services>> Services::make(boost::asio::any_io_executor executor,
                                                 const state::Home& home, state::Config config) {
    NOXSUP_TRY_VALUE(auto network, netbridge::open_kernel_network());
    imaging::Mirror mirror;
    if (!config.image_mirror.empty()) mirror.base_url = config.image_mirror;
    mirror.vendors = config.image_mirrors;
    mirror.allow_http = config.image_mirror_allow_http;
    mirror.ca_file = config.image_ca_file;
    NOXSUP_TRY_VALUE(mirror, imaging::mirror_from_environment(std::move(mirror)));
    NOXSUP_TRY_VALUE(auto boot_id, launch::read_boot_id());
    return std::unique_ptr<Services>(new Services(std::move(executor), home, std::move(config),
                                                  std::move(network), std::move(mirror),
                                                  std::move(boot_id)));
}

Services::Services(boost::asio::any_io_executor used, const state::Home& served, state::Config read,
                   std::unique_ptr<netbridge::KernelNetwork> network, imaging::Mirror mirror,
                   std::string boot_id)
    : executor(std::move(used)),
      home(served),
      config(std::move(read)),
      kernel(std::move(network)),
      store(home),
      catalog(std::move(mirror), home.catalog()),
      image_store(home.images()),
      worker(runner),
      builder(runner, builder_config(config)),
      images(image_store, catalog, worker, builder),
      boot_files(image_store, worker, imaging::make_cpio(launch::initramfs_files())),
      qemu_img(runner),
      templates(executor, pool, home),
      vm_uids(config.vm_uids),
      nat(*kernel, nat_options(boot_id)),
      environment{executor,
                  home,
                  store,
                  runner,
                  *kernel,
                  [this](spec::Arch arch) { return qemu(arch); },
                  std::move(boot_id),
                  pool,
                  [this](const state::VmRecord& record) { return uid_of(record); },
                  &cgroups},
      registry(environment),
      keeper(environment, registry),
      background(executor) {
    environment.use_nat = [this](auto ports) { return nat.use(std::move(ports)); };
    environment.keep_nat = [this](auto ports) { return nat.keep(std::move(ports)); };
    environment.nat_notes = [this] { return nat.notes(); };
    environment.look_at_boot = [this](imaging::BootQuery query) {
        return boot_files.of_disk(std::move(query));
    };
    environment.on_end = [this](vm::Vm& vm, const lifecycle::End& end) {
        return keeper.on_end(vm, end);
    };
}

NatService::Options Services::nat_options(const std::string& boot_id) {
    NatService::Options options;
    options.executor = executor;
    options.home = home.root().string();
    options.directory = home.nat();
    options.boot_id = boot_id;
    options.guests = [this] { return nat_guests(); };
    return options;
}

std::vector<NatGuest> Services::nat_guests() const {
    std::vector<NatGuest> guests;
    for (const auto& vm : registry.all()) {
        for (const auto& network : vm->cards()) {
            if (network.mode == spec::NetworkMode::nat)
                guests.push_back({vm->spec().name, network.mac});
        }
    }
    return guests;
}

boost::asio::awaitable<Result<launch::QemuBinary>> Services::qemu(spec::Arch arch) {
    if (const auto known = known_qemus_.find(arch); known != known_qemus_.end()) {
        std::error_code failure;
        const auto changed = std::filesystem::last_write_time(known->second.binary.path, failure);
        if (!failure && changed == known->second.changed) co_return known->second.binary;
        known_qemus_.erase(known);
    }
    auto found = co_await launch::find_qemu(runner, arch);
    if (found) {
        std::error_code failure;
        const auto changed = std::filesystem::last_write_time(found->path, failure);
        if (!failure) known_qemus_[arch] = KnownQemu{*found, changed};
    }
    co_return found;
}

Result<std::optional<uid_t>> Services::uid_of(const state::VmRecord& record) const {
    std::set<uid_t> taken;
    for (const auto& vm : registry.all()) {
        if (vm->spec().name != record.spec.name && vm->uid()) taken.insert(*vm->uid());
    }
    return vm_uids.choose(record.uid, record.spec.id, taken);
}

boost::asio::awaitable<launch::KvmReport> Services::kvm() {
    auto probe = [cache = home.kvm_cache(), boot_id = environment.boot_id] {
        return launch::probe_kvm_cached(cache, boot_id);
    };
    auto report = co_await run_blocking(pool, std::move(probe));
    co_return report;
}

boost::asio::awaitable<Result<bool>> Services::get_ahead(std::string os) {
    NOXSUP_CO_TRY(catalog.reload());
    const auto arch = std::string(imaging::host_arch());
    auto pulling = images.pull(std::move(os), arch, imaging::ProgressCallback());
    NOXSUP_CO_TRY_VALUE(auto pulled, co_await std::move(pulling));
    auto looking = boot_files.of_image(std::move(pulled.image), arch);
    NOXSUP_CO_TRY(co_await std::move(looking));
    co_return pulled.downloaded;
}

void register_methods(control::Server& server, Services& services,
                      std::initializer_list<std::pair<std::string_view, ApiMethod>> methods) {
    for (const auto& [name, method] : methods) {
        server.register_method(
            name, [&services, method = method](control::CallContext& call, Json params) {
                return method(services, call, std::move(params));
            });
    }
}

}  // namespace noxsup::daemon
