#include "supervisor/daemon/template_making.hpp"

#include "supervisor/base/async.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/daemon/begun_vm.hpp"
#include "supervisor/daemon/create.hpp"
#include "supervisor/daemon/frozen_disk.hpp"
#include "supervisor/daemon/vm_deletion.hpp"
#include "supervisor/launch/ram_state.hpp"
#include "supervisor/launch/sealed_memory.hpp"
#include "supervisor/launch/template_ram.hpp"

namespace noxsup::daemon {
namespace {

constexpr std::string_view name_prefix = "template-";
constexpr std::chrono::minutes kvm_limit{10};
constexpr std::chrono::minutes tcg_limit{30};

/// What every VM has for itself is not in a template.
CreateRequest without_what_is_ones_own(CreateRequest request) {
    request.template_id = random_hex(4);
    request.name = std::string(name_prefix) + request.template_id;
    request.start = false;
    request.wait.reset();
    request.autostart.mode = spec::Autostart::off;
    request.restart = spec::RestartPolicy::no;
    request.ssh_keys.clear();
    request.password = false;
    for (auto& wish : request.networks) {
        wish.mac.clear();
        wish.address.reset();
        wish.publish.clear();
    }
    return request;
}

/// Nobody asked, so nobody is told.
class Unasked : public control::CallContext {
  public:
    [[nodiscard]] const PeerCredentials& peer() const override { return peer_; }
    void progress(std::string_view /*stage*/, std::uint64_t /*done*/, std::uint64_t /*total*/,
                  std::string_view /*unit*/) override {}
    void stage_ended(std::string_view /*stage*/, double /*seconds*/) override {}
    void note(std::string_view /*text*/) override {}
    boost::asio::awaitable<bool> send_event(Json /*params*/) override { co_return false; }
    void stand_by() override {}
    Result<UniqueFd> take_fd(std::size_t /*index*/) override {
        return Error{ErrorCode::invalid_argument, "no descriptor came"};
    }
    [[nodiscard]] bool cancelled() const override { return false; }

  private:
    PeerCredentials peer_{};
};

boost::asio::awaitable<void> make_in_background(Services& services, CreateRequest request,
                                                launch::HostFacts facts) {
    Unasked nobody;
    const auto of = request.os;
    TemplateMaking making(services, nobody, std::move(request), std::move(facts));
    auto work = making.run();
    const auto made = co_await std::move(work);
    if (made) {
        log_info("made the template " + made->id + " of " + made->spec.image);
    } else {
        log_warning("no template of " + of + ": " + made.error().message);
    }
}

/// Whether the two could begin with the same template, as far as two specs tell.
bool are_alike(const spec::VmSpec& one, const spec::VmSpec& other) {
    return one.image == other.image && one.arch == other.arch && one.cpus == other.cpus &&
           one.memory_bytes == other.memory_bytes && one.user == other.user &&
           one.disk.virtual_bytes == other.disk.virtual_bytes &&
           one.networks.size() == other.networks.size();
}

}  // namespace

TemplateMaking::TemplateMaking(Services& services, control::CallContext& call,
                               CreateRequest request, launch::HostFacts facts)
    : services_(services),
      call_(call),
      request_(without_what_is_ones_own(std::move(request))),
      facts_(std::move(facts)) {}

boost::asio::awaitable<Result<state::Template>> TemplateMaking::run() {
    NOXSUP_CO_TRY_VALUE(auto claim, services_.registry.claim(request_.name));
    Creation creation(services_, call_, request_, facts_);
    auto making = creation.make(claim);
    NOXSUP_CO_TRY_VALUE(const auto vm, co_await std::move(making));
    auto freezing = freeze(vm);
    auto outcome = co_await std::move(freezing);
    // It has served, or it is of no use.
    auto deleting = delete_vm(services_, vm);
    const auto deleted = co_await uncancellable(std::move(deleting));
    if (!deleted) log_error(vm->spec().name + " stays: " + deleted.error().message);
    co_return outcome;
}

boost::asio::awaitable<Result<state::Template>> TemplateMaking::freeze(std::shared_ptr<vm::Vm> vm) {
    const auto& spec = vm->spec();
    if (!spec::boots_directly(spec.boot)) {
        co_return Error{ErrorCode::invalid_argument,
                        spec.image + " boots through its firmware, and a template's guest does not",
                        "Debian's images and their kin boot without (image available)"};
    }
    const auto& store = services_.templates.store();
    NOXSUP_CO_TRY_VALUE(auto begun, store.begin(spec.id));
    BegunDirectory directory(std::move(begun));
    NOXSUP_CO_TRY_VALUE(auto file, launch::make_template_ram(spec.memory_bytes));
    const auto ram = std::make_shared<const UniqueFd>(std::move(file));
    auto booting = boot(vm, ram);
    NOXSUP_CO_TRY(co_await std::move(booting));
    NOXSUP_CO_TRY_VALUE(const auto qemu, co_await services_.qemu(spec.arch));

    call_.progress("settle", 0, 0, "");
    vm::Vm::SuspendWatch watch;
    auto& call = call_;
    watch.cancelled = [&call] { return call.cancelled(); };
    auto freezing = vm->freeze(directory.get() / state::template_devices_file, std::move(watch));
    NOXSUP_CO_TRY(co_await std::move(freezing));
    call_.progress("memory", 0, 0, "");
    auto keep = [ram, path = directory.get() / state::template_ram_file]() -> Result<> {
        NOXSUP_TRY(launch::seal_memory_file(ram->get()));
        return launch::store_template_ram(ram->get(), path);
    };
    NOXSUP_CO_TRY(co_await run_blocking(services_.pool, std::move(keep)));
    auto freezing_disk = freeze_disk_of(vm);
    state::Template made;
    NOXSUP_CO_TRY_VALUE(made.disk_digest, co_await std::move(freezing_disk));
    made.id = spec.id;
    made.spec = spec;
    made.key = launch::template_key(spec, qemu.version);
    made.created_at = rfc3339_now();
    NOXSUP_CO_TRY(store.finish(directory.get(), made));
    directory.keep();
    co_return made;
}

boost::asio::awaitable<Result<>> TemplateMaking::boot(std::shared_ptr<vm::Vm> vm,
                                                      std::shared_ptr<const UniqueFd> ram) {
    auto stages = stages_of(call_);
    vm::RamStart start;
    start.ram = std::move(ram);
    start.shared = true;
    NOXSUP_CO_TRY(co_await vm->start_with(std::move(start), stages));
    const auto usual = vm->spec().accel == spec::Accel::tcg ? tcg_limit : kvm_limit;
    const auto deadline =
        std::chrono::steady_clock::now() + request_.timeout.value_or(std::chrono::seconds(usual));
    NOXSUP_CO_TRY(co_await vm->wait(vm::WaitFor::cloud_init, deadline, stages));
    co_return Result<>();
}

boost::asio::awaitable<Result<std::string>> TemplateMaking::freeze_disk_of(
    std::shared_ptr<vm::Vm> vm) {
    const auto files = vm->files();
    imaging::FlattenSpec disk;
    disk.disk = files.disk;
    disk.base = files.base;
    imaging::Image about;
    about.arch = std::string(to_string(vm->spec().arch));
    about.source = "template " + vm->spec().id;
    about.virtual_bytes = vm->spec().disk.virtual_bytes;
    auto freezing = freeze_disk(services_, call_, std::move(disk), std::move(about),
                                "template-" + vm->spec().id);
    NOXSUP_CO_TRY_VALUE(const auto image, co_await std::move(freezing));
    co_return image.digest;
}

boost::asio::awaitable<void> sweep_template_vms(Services& services) {
    for (const auto& vm : services.registry.all()) {
        if (!spec::becomes_template(vm->spec())) continue;
        auto deleting = delete_vm(services, vm);
        const auto deleted = co_await std::move(deleting);
        if (!deleted) log_error(vm->spec().name + " stays: " + deleted.error().message);
    }
}

void consider_template(Services& services, CreateRequest request, launch::HostFacts facts) {
    const auto newest = services.registry.find(request.name);
    // What came as a file or by an address is not to be had once more.
    if (!newest || request.image_fd || !request.image_url.empty()) return;
    std::size_t alike = 0;
    for (const auto& vm : services.registry.all()) {
        if (!are_alike(vm->spec(), (*newest)->spec())) continue;
        if (spec::becomes_template(vm->spec())) return;
        ++alike;
    }
    if (alike < 2) return;
    services.background.spawn("template of " + (*newest)->spec().image,
                              make_in_background(services, std::move(request), std::move(facts)));
}

}  // namespace noxsup::daemon
