// A new VM that begins with a template's RAM, where one fits.

#include <fcntl.h>
#include <time.h>

#include <algorithm>

#include "imaging/guest_identity.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/random.hpp"
#include "supervisor/daemon/create.hpp"
#include "supervisor/launch/ram_state.hpp"

namespace noxsup::daemon {
namespace {

constexpr std::size_t entropy_bytes = 64;

/// As date(1) reads it behind an @.
std::string clock_now() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    const auto fraction = std::to_string(1'000'000'000L + now.tv_nsec).substr(1);
    return std::to_string(now.tv_sec) + "." + fraction;
}

}  // namespace

bool Creation::missed_template() const {
    return !warm_ && request_.start && !request_.cold && why_no_template(request_) == nullptr &&
           spec::boots_directly(spec_.boot);
}

/// The image that its disk is to stand on: its own, or that of a template which it begins with.
boost::asio::awaitable<Result<imaging::Image>> Creation::choose_template(imaging::Image image) {
    const bool wanted = request_.start && !request_.cold && request_.template_id.empty();
    if (!wanted || services_.config.templates == "off" || !spec::boots_directly(spec_.boot))
        co_return image;
    NOXSUP_CO_TRY_VALUE(const auto qemu, co_await services_.qemu(spec_.arch));
    const auto match = services_.templates.match(launch::template_key(spec_, qemu.version));
    if (!match) {
        note("it boots: " + match.error().message);
        co_return image;
    }
    if (const auto* reason = why_no_template(request_);
        reason != nullptr && (match->found || !match->difference.empty())) {
        note(std::string("it boots, for ") + reason);
        co_return image;
    }
    if (!match->found) {
        if (!match->difference.empty())
            note("it boots, for the template is of another kind: " + match->difference);
        co_return image;
    }
    auto taken = take_template(*match->found, qemu);
    if (!taken) note("it boots: " + taken.error().message);
    co_return taken ? *std::move(taken) : std::move(image);
}

/// Its RAM is on its way from here on, beside the disk, the seed and QEMU's start.
Result<imaging::Image> Creation::take_template(const state::Template& made,
                                               const launch::QemuBinary& qemu) {
    NOXSUP_TRY_VALUE(auto disk, services_.image_store.by_digest(made.disk_digest));
    const auto directory = services_.templates.store().directory(made.id);
    NOXSUP_TRY_VALUE(auto devices, open_file(directory / state::template_devices_file,
                                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    NOXSUP_TRY_VALUE(const auto ram, services_.templates.ram_of(made, qemu));
    vm::RamStart warm;
    warm.ram = std::shared_ptr<const UniqueFd>(ram, &ram->file());
    warm.ready = [ram] { return ram->ready(); };
    warm.devices = std::move(devices);
    warm_ = std::move(warm);
    template_cards_ = made.spec.networks;
    spec_.warm_template = made.id;
    spec_.disk.base_file = disk.path.filename();
    spec_.disk.base_digest = disk.digest;
    // What the copy of the machine must have been given.
    spec_.boot = made.spec.boot;
    return disk;
}

boost::asio::awaitable<Result<>> Creation::start(std::shared_ptr<vm::Vm> vm) {
    if (!warm_) co_return co_await vm->start(stages_);
    std::vector<std::pair<std::string, std::string>> macs;
    for (std::size_t i = 0; i < std::min(template_cards_.size(), spec_.networks.size()); ++i)
        macs.emplace_back(template_cards_[i].mac, spec_.networks[i].mac);
    warm_->identity = [seed = std::move(seed_), macs = std::move(macs)] {
        const imaging::IdentityFacts facts{clock_now(), random_hex(entropy_bytes), macs};
        return imaging::identity_orders(seed, facts);
    };
    co_return co_await vm->start_with(*std::exchange(warm_, {}), stages_);
}

}  // namespace noxsup::daemon
