#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "supervisor/base/file.hpp"
#include "supervisor/cli/copy_paths.hpp"
#include "supervisor/cli/programs.hpp"
#include "supervisor/cli/ssh_command.hpp"
#include "supervisor/cli/verbs.hpp"
#include "supervisor/control/methods.hpp"

namespace noxsup::cli {
namespace {

/// A file for one run of scp, which reads nothing by descriptor.
class TemporaryFile {
  public:
    static Result<TemporaryFile> make(std::string_view content) {
        auto path = (std::filesystem::temp_directory_path() / "noxsup-ssh-XXXXXX").string();
        const UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
        if (!fd) return errno_error("make a file like " + path, errno);
        TemporaryFile file(std::move(path));
        NOXSUP_TRY(write_all(fd.get(), content, file.path()));
        return file;
    }
    TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    TemporaryFile& operator=(TemporaryFile&&) = delete;
    ~TemporaryFile() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

}  // namespace

Result<int> run_verb(Session& session, const CpOptions& options) {
    NOXSUP_TRY_VALUE(const auto paths, parse_copy_paths(options.paths));
    std::vector<std::string> names;
    for (const auto& path : paths) {
        if (!path.vm.empty() && std::ranges::find(names, path.vm) == names.end()) {
            names.push_back(path.vm);
        }
    }
    NOXSUP_TRY_VALUE(auto replies,
                     session.call_each(control::method::vm_ssh, names, Json::object()));
    std::string config;
    for (auto& [name, reply] : replies) {
        if (!reply) return std::move(reply).error();
        NOXSUP_TRY_VALUE(const auto target, ssh_target_from_json(name, reply->result));
        config += ssh_config_block(target);
    }
    config += "Host *\n  ConnectTimeout 15\n  LogLevel ERROR\n";
    if (::isatty(STDIN_FILENO) != 1) config += "  BatchMode yes\n";
    NOXSUP_TRY_VALUE(const auto file, TemporaryFile::make(config));
    std::vector<std::string> argv = {"scp", "-F", file.path()};
    if (options.recursive) argv.emplace_back("-r");
    if (options.preserve) argv.emplace_back("-p");
    if (session.options().quiet) argv.emplace_back("-q");
    // Between two VMs the data comes through here: they need not reach each other.
    if (names.size() > 1) argv.emplace_back("-3");
    argv.emplace_back("--");
    for (const auto& path : paths) argv.push_back(scp_word(path));
    NOXSUP_TRY_VALUE(const auto exit, run_in_foreground(argv));
    if (exit == 128 + SIGINT) return exit_code_of(ErrorCode::interrupted);
    if (exit != 0) {
        return Error{ErrorCode::command_failed,
                     "copy failed: scp ended with exit code " + std::to_string(exit)};
    }
    return 0;
}

}  // namespace noxsup::cli
