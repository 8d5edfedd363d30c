#include "supervisor/daemon/vm_deletion.hpp"

namespace noxsup::daemon {

boost::asio::awaitable<Result<>> delete_vm(Services& services, std::shared_ptr<vm::Vm> vm) {
    services.keeper.withdraw(*vm);
    const vm::StopLimits limits;
    NOXSUP_CO_TRY(co_await vm->stop(true, limits));
    NOXSUP_CO_TRY(vm->mark_deleted());
    const auto runtime = vm->files().runtime_dir;
    if (auto removed = services.store.remove(vm->spec().name); !removed) {
        vm->unmark_deleted();
        co_return std::move(removed).error();
    }
    static_cast<void>(state::remove_tree(runtime));
    services.registry.remove(vm->spec().name);
    co_return Result<>();
}

}  // namespace noxsup::daemon
