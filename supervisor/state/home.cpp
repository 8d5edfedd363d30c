#include "supervisor/state/home.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "supervisor/base/file.hpp"

namespace noxsup::state {

Home::Home(std::filesystem::path root, Scope scope) : root_(std::move(root)), scope_(scope) {}

std::filesystem::path Home::config() const {
    return scope_ == Scope::system ? "/etc/noxsup/config.json" : root_ / "config.json";
}

std::filesystem::path Home::catalog() const {
    return config().replace_filename("catalog.json");
}

std::filesystem::path Home::runtime() const {
    return scope_ == Scope::system ? "/run/noxsup" : root_ / "run";
}

Result<> Home::prepare() const {
    NOXSUP_TRY(make_directories(root_, 0700));
    NOXSUP_TRY(make_directories(images(), 0755));
    NOXSUP_TRY(make_directories(vms(), 0755));
    NOXSUP_TRY(make_directories(ssh(), 0700));
    return make_directories(runtime(), scope_ == Scope::system ? 0750 : 0700);
}

Result<UniqueFd> Home::lock() const {
    NOXSUP_TRY_VALUE(auto fd, open_file(daemon_lock(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return errno_error("lock " + daemon_lock().string(), errno);
        return Error{ErrorCode::daemon_running, "another supervisor serves " + root_.string(),
                     "use it (noxsup list), or stop it before you start another"};
    }
    return fd;
}

Result<std::filesystem::path> default_user_home() {
    std::filesystem::path home;
    if (const char* chosen = ::getenv("NOX_HOME"); chosen != nullptr && *chosen != '\0') {
        home = chosen;
    } else if (const char* user_home = ::getenv("HOME");
               user_home != nullptr && *user_home != '\0') {
        home = std::filesystem::path(user_home) / ".nox";
    } else if (const auto* entry = ::getpwuid(::getuid())) {
        home = std::filesystem::path(entry->pw_dir) / ".nox";
    }
    if (!home.is_absolute()) {
        return Error{ErrorCode::invalid_argument, "no home directory is known",
                     "name one with --home DIR"};
    }
    return home.lexically_normal();
}

}  // namespace noxsup::state
