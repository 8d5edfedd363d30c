// config.json: defaults for new VMs and choices of the administrator; nox's own file is understood.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/launch/vm_uids.hpp"

namespace noxsup::state {

/// A kernel for `--boot kernel`, for guests that bring none on their disk.
struct KernelFiles {
    std::string kernel;
    std::string initrd;
    std::string command_line;
};

/// Amounts are texts as on the command line ("2", "512M"); nox's numbers mean CPUs, MiB and GiB.
struct Config {
    std::string os = "debian";
    std::string cpus = "1";
    std::string ram = "512";
    std::string disk = "5";
    std::string user = "nox";
    std::string network;  ///< "user", "nat", "bridge", "bridge=NAME"; empty: br0 where it can be
                          ///< used, else user
    std::string accel = "auto";
    std::string restart = "no";
    std::string autostart = "on";  ///< "off", "on", "last"; a bool in the file means off or on
    bool restrict_user_network = false;  ///< guests on user-mode networking reach nothing outside
    std::string image_mirror;            ///< base URL in place of Debian's
    std::map<std::string, std::string> image_mirrors;  ///< the same for other vendors, by OS
    bool image_mirror_allow_http = false;
    std::string image_ca_file;
    std::vector<std::string> images_ahead;  ///< fetched before anybody asks for them
    unsigned images_ahead_hours = 24;       ///< how often, 1 to max_images_ahead_hours
    std::string templates = "on";           ///< "off", "on": used where one fits; "auto": made, too
    std::string package_mirror;             ///< for images built from packages
    launch::UidRange vm_uids = launch::default_vm_uids;  ///< for root's VMs
    std::map<std::string, KernelFiles> kernels;          ///< by architecture
    std::vector<std::string> warnings;  ///< keys we do not know or that have a wrong type
};

inline constexpr unsigned max_images_ahead_hours = 24 * 30;

/// Reads the file; a missing one is all defaults. A key with a wrong type or unknown is a warning,
/// never an error. Errors: invalid_argument when the file is no JSON object.
Result<Config> load_config(const std::filesystem::path& path);

}  // namespace noxsup::state
