// Making a VM: image, disk, seed and record in a directory of its own, which gets the VM's name
// last.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "supervisor/daemon/create_request.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {

/// Carries out one create, once. Whatever fails before the launch leaves nothing behind.
class Creation {
  public:
    Creation(Services& services, control::CallContext& call, CreateRequest request,
             launch::HostFacts facts);
    Creation(const Creation&) = delete;
    Creation& operator=(const Creation&) = delete;

    /// Returns {vm, password?, notes}.
    boost::asio::awaitable<Result<Json>> run(Registry::NameClaim claim);

    /// The VM alone, stopped. @pre as run(), in whose place it is called. Errors: as run().
    boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> make(Registry::NameClaim& claim);
    /// Whether a template could have served the VM, and none did.
    [[nodiscard]] bool missed_template() const;

  private:
    boost::asio::awaitable<Result<>> choose_machine();
    boost::asio::awaitable<Result<>> choose_accel();
    Result<> choose_boot();
    boost::asio::awaitable<Result<>> choose_direct_boot(const imaging::Image& image);
    boost::asio::awaitable<Result<>> choose_networks();
    boost::asio::awaitable<Result<>> choose_disk(std::filesystem::path directory);
    boost::asio::awaitable<Result<imaging::Image>> choose_image();
    boost::asio::awaitable<Result<imaging::Image>> get_image();
    Result<> check_disk(const imaging::Image& image) const;
    boost::asio::awaitable<Result<>> make_disk(const std::filesystem::path& directory,
                                               const imaging::Image& image);
    boost::asio::awaitable<Result<>> make_seed(const std::filesystem::path& directory);
    boost::asio::awaitable<Result<std::shared_ptr<vm::Vm>>> build(Registry::NameClaim& claim);
    boost::asio::awaitable<Result<imaging::Image>> choose_template(imaging::Image image);
    Result<imaging::Image> take_template(const state::Template& made,
                                         const launch::QemuBinary& qemu);
    boost::asio::awaitable<Result<>> start(std::shared_ptr<vm::Vm> vm);
    [[nodiscard]] std::chrono::seconds timeout() const;
    void note(std::string text);

    Services& services_;
    control::CallContext& call_;
    CreateRequest request_;
    launch::HostFacts facts_;
    spec::VmSpec spec_;
    vm::Stages stages_;
    std::string vars_template_;
    std::string password_;
    Json notes_ = Json::array();
    imaging::Seed seed_;
    std::optional<vm::RamStart> warm_;           ///< begins with a template
    std::vector<spec::Network> template_cards_;  ///< in the order of its own
};

/// A create call read against this home and host.
struct AskedCreation {
    CreateRequest request;
    launch::HostFacts facts;
};
/// Errors: of parse_create_request() and launch::read_host_facts().
Result<AskedCreation> read_create_request(const Services& services, const Json& params);

/// Tells a caller how the stages of its call go.
vm::Stages stages_of(control::CallContext& call);

}  // namespace noxsup::daemon
