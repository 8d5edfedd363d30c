#include "supervisor/daemon/frozen_disk.hpp"

#include <fcntl.h>

#include "imaging/image_files.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/time.hpp"

namespace noxsup::daemon {

boost::asio::awaitable<Result<imaging::Image>> freeze_disk(Services& services,
                                                           control::CallContext& call,
                                                           imaging::FlattenSpec disk,
                                                           imaging::Image about, std::string name) {
    const auto& store = services.image_store;
    NOXSUP_CO_TRY(store.prepare());
    // As long as it is held no prune takes the file that is being made.
    NOXSUP_CO_TRY_VALUE(const auto lock, store.try_lock(name));
    const imaging::NewFile output(store.new_path(name));
    call.progress("freeze the disk", 0, 0, "");
    disk.output = output.path();
    auto flattening = imaging::flatten_disk(services.runner, std::move(disk));
    NOXSUP_CO_TRY(co_await std::move(flattening));
    NOXSUP_CO_TRY_VALUE(const auto fd, open_file(output.path(), O_RDONLY | O_NOFOLLOW));
    call.progress("digest", 0, 0, "");
    const auto progress = [&call](const imaging::Progress& report) {
        call.progress("digest", report.done, report.total.value_or(0), report.unit);
    };
    auto hashing = services.worker.digest(fd.get(), progress);
    NOXSUP_CO_TRY_VALUE(const auto digest, co_await std::move(hashing));
    about.digest = digest.sha256;
    about.origin = imaging::ImageOrigin::import;
    about.created_at = rfc3339_now();
    co_return store.adopt(output.path(), about, "");
}

}  // namespace noxsup::daemon
