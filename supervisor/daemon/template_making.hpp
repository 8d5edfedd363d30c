// Making a warm template: a VM that boots once and is then frozen, disk, devices and RAM.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>

#include "supervisor/daemon/create_request.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// Carries out one making, once. While it goes on its VM is one like others, "template-ID"; it is
/// gone when this has ended, however it ends. Whatever fails leaves nothing behind but an image
/// without a name, which `image prune` takes.
class TemplateMaking {
  public:
    /// @param request as of vm.create, for the VMs that are to begin with it; what is of one VM
    /// alone is left out
    TemplateMaking(Services& services, control::CallContext& call, CreateRequest request,
                   launch::HostFacts facts);
    TemplateMaking(const TemplateMaking&) = delete;
    TemplateMaking& operator=(const TemplateMaking&) = delete;

    /// Errors: of vm.create; invalid_argument for a guest that does not boot without firmware or
    /// lacks what a copy of it needs; guest_failed, timeout, qemu_failed, no_space, io_error.
    boost::asio::awaitable<Result<state::Template>> run();

  private:
    boost::asio::awaitable<Result<state::Template>> freeze(std::shared_ptr<vm::Vm> vm);
    boost::asio::awaitable<Result<>> boot(std::shared_ptr<vm::Vm> vm,
                                          std::shared_ptr<const UniqueFd> ram);
    boost::asio::awaitable<Result<std::string>> freeze_disk_of(std::shared_ptr<vm::Vm> vm);

    Services& services_;
    control::CallContext& call_;
    CreateRequest request_;
    launch::HostFacts facts_;
};

/// Removes the VMs that an earlier supervisor was making templates of. @pre all VMs are adopted
boost::asio::awaitable<void> sweep_template_vms(Services& services);

/// For config.json's "templates": "auto": makes one in the background when there are two VMs that
/// could have begun with it, unless one is being made. @param request of the newest of them
void consider_template(Services& services, CreateRequest request, launch::HostFacts facts);

}  // namespace noxsup::daemon
