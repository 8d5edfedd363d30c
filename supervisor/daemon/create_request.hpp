// What `vm.create` asks for, checked, before anything is made.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "imaging/nocloud.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"
#include "supervisor/daemon/network_wish.hpp"
#include "supervisor/launch/host_facts.hpp"
#include "supervisor/spec/vm_spec.hpp"
#include "supervisor/state/config.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::daemon {

/// A create call with the defaults filled in and every text parsed; see control/methods.hpp.
struct CreateRequest {
    std::string name;
    std::string os;
    std::string image;      ///< a name in the cache, or empty
    std::string image_url;  ///< or empty
    std::optional<std::size_t> image_fd;
    std::string image_source;  ///< what the user calls the file of image_fd
    spec::Arch arch = spec::Arch::amd64;
    bool arch_given = false;  ///< else it is only assumed to be the host's
    spec::Accel accel = spec::Accel::automatic;
    unsigned cpus = 1;
    std::uint64_t memory_bytes = 0;
    std::uint64_t disk_bytes = 0;
    std::vector<NetworkWish> networks;  ///< at least one
    std::string user;
    std::vector<std::string> ssh_keys;
    std::vector<imaging::UserDocument> documents;
    spec::RestartPolicy restart = spec::RestartPolicy::no;
    spec::AutostartRule autostart;
    bool start = true;
    std::optional<vm::WaitFor> wait;
    std::optional<std::chrono::seconds> timeout;
    std::optional<spec::BootMode> boot;
    bool stock = false;
    bool cold = false;        ///< boots also where a template fits
    std::string template_id;  ///< of the template that it is to become, or empty
    bool password = false;
    bool allow_build = false;
};

/// Errors: each with the code and the flag of what is wrong: invalid_name, invalid_size,
/// cpus_out_of_range, no_memory, invalid_cloud_init, invalid_argument.
Result<CreateRequest> parse_create_request(const Json& params, const state::Config& config,
                                           const launch::HostFacts& facts,
                                           std::uint64_t disk_free_bytes);

/// What of a request only a boot can give, for people; nothing where a template can.
const char* why_no_template(const CreateRequest& request);

}  // namespace noxsup::daemon
