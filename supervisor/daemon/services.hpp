// Everything one supervisor is made of, owned in one place and handed to the API by reference.
#pragma once

#include <boost/asio.hpp>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "imaging/boot_files.hpp"
#include "imaging/image_service.hpp"
#include "imaging/qemu_img.hpp"
#include "imaging/worker_client.hpp"
#include "netbridge/kernel_network.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/control/methods.hpp"
#include "supervisor/control/server.hpp"
#include "supervisor/daemon/keeper.hpp"
#include "supervisor/daemon/nat_service.hpp"
#include "supervisor/daemon/registry.hpp"
#include "supervisor/daemon/templates.hpp"
#include "supervisor/launch/cgroup.hpp"
#include "supervisor/launch/host_facts.hpp"
#include "supervisor/launch/kvm_probe.hpp"
#include "supervisor/launch/vm_uids.hpp"
#include "supervisor/state/config.hpp"
#include "supervisor/state/home.hpp"
#include "supervisor/state/vm_store.hpp"

namespace noxsup::daemon {

/// Members are in the order in which they need each other. Not movable: they hold references.
class Services {
  public:
    /// Errors: io_error when the kernel's network cannot be asked; invalid_argument for a bad
    /// mirror.
    static Result<std::unique_ptr<Services>> make(boost::asio::any_io_executor executor,
                                                  const state::Home& home, state::Config config);
    Services(const Services&) = delete;
    Services& operator=(const Services&) = delete;

    /// The QEMU for an architecture; asked once, again when the file has changed.
    boost::asio::awaitable<Result<launch::QemuBinary>> qemu(spec::Arch arch);
    /// Whether KVM is real on this host. The probe blocks some milliseconds, once a boot; it runs
    /// on the pool.
    boost::asio::awaitable<launch::KvmReport> kvm();
    /// The vendor's newest image of an OS for this host, and what a VM on it boots. Returns whether
    /// it was not here. Errors as ImageService::pull.
    boost::asio::awaitable<Result<bool>> get_ahead(std::string os);
    /// The uid for a VM's next start, none where QEMU runs as the supervisor does; no other VM of
    /// this home has it. Errors: no_memory when the range is used up.
    [[nodiscard]] Result<std::optional<uid_t>> uid_of(const state::VmRecord& record) const;

    boost::asio::any_io_executor executor;
    const state::Home& home;
    state::Config config;
    boost::asio::thread_pool pool{1};  ///< for the few calls that block
    ProcessRunner runner;
    std::unique_ptr<netbridge::KernelNetwork> kernel;
    state::VmStore store;
    imaging::Catalog catalog;
    imaging::ImageStore image_store;
    imaging::WorkerClient worker;
    imaging::ImageBuilder builder;
    imaging::ImageService images;
    imaging::BootFiles boot_files;
    imaging::QemuImg qemu_img;
    Templates templates;
    launch::VmUids vm_uids;
    launch::CgroupTree cgroups = launch::CgroupTree::find();
    NatService nat;
    vm::Environment environment;
    Registry registry;
    Keeper keeper;
    TaskGroup background;  ///< work of this home that no call waits for

  private:
    Services(boost::asio::any_io_executor used, const state::Home& served, state::Config read,
             std::unique_ptr<netbridge::KernelNetwork> network, imaging::Mirror mirror,
             std::string boot_id);

    NatService::Options nat_options(const std::string& boot_id);
    [[nodiscard]] std::vector<NatGuest> nat_guests() const;

    struct KnownQemu {
        launch::QemuBinary binary;
        std::filesystem::file_time_type changed;
    };
    std::map<spec::Arch, KnownQemu> known_qemus_;
};

/// A method of the control protocol that works on the services; one function of its group's file.
using ApiMethod = boost::asio::awaitable<Result<control::Reply>> (*)(Services& services,
                                                                     control::CallContext& call,
                                                                     Json params);
void register_methods(control::Server& server, Services& services,
                      std::initializer_list<std::pair<std::string_view, ApiMethod>> methods);

// One function for each group of methods; each in the file of its name.
void register_vm_api(control::Server& server, Services& services);
void register_vm_cards_api(control::Server& server, Services& services);
void register_vm_settings_api(control::Server& server, Services& services);
void register_usage_api(control::Server& server, Services& services);
void register_snapshot_api(control::Server& server, Services& services);
void register_create_api(control::Server& server, Services& services);
void register_template_api(control::Server& server, Services& services);
void register_image_api(control::Server& server, Services& services);
void register_host_api(control::Server& server, Services& services);

}  // namespace noxsup::daemon
