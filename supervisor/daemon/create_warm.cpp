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
    NOXSUP_CO_TRY_VALUE(auto qemu, co_await services_.qemu(spec_.arch));
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
    auto taking = take_template(*match->found, std::move(qemu));
    auto taken = co_await std::move(taking);
    if (!taken) note("it boots: " + taken.error().message);
    co_return taken ? *std::move(taken) : std::move(image);
}

boost::asio::awaitable<Result<imaging::Image>> Creation::take_template(state::Template made,
                                                                       launch::QemuBinary qemu) {
    NOXSUP_CO_TRY_VALUE(auto disk, services_.image_store.by_digest(made.disk_digest));
    const auto directory = services_.templates.store().directory(made.id);
    NOXSUP_CO_TRY_VALUE(auto devices, open_file(directory / state::template_devices_file,
                                                O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    auto opening = services_.templates.ram_of(made, std::move(qemu));
    NOXSUP_CO_TRY_VALUE(auto ram, co_await std::move(opening));
    vm::RamStart warm;
    warm.ram = std::move(ram);
    warm.devices = std::move(devices);
    warm_ = std::move(warm);
    template_cards_ = made.spec.networks;
    spec_.warm_template = made.id;
    spec_.disk.base_file = disk.path.filename();
    spec_.disk.base_digest = disk.digest;
    // What the copy of the machine must have been given.
    spec_.boot = made.spec.boot;
    co_return disk;
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
