#include "supervisor/daemon/templates.hpp"

#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/launch/qemu_argv.hpp"
#include "supervisor/launch/ram_state.hpp"

namespace noxsup::daemon {
namespace {

std::size_t count_differences(const std::vector<std::string>& one,
                              const std::vector<std::string>& other) {
    const auto shorter = std::min(one.size(), other.size());
    std::size_t count = std::max(one.size(), other.size()) - shorter;
    for (std::size_t i = 0; i < shorter; ++i) count += one[i] != other[i] ? 1U : 0U;
    return count;
}

}  // namespace

TemplateRam::TemplateRam(const boost::asio::any_io_executor& executor, UniqueFd file)
    : outcome_(Result<>()), filled_(executor) {
    loading_.copy = std::move(file);
}

TemplateRam::TemplateRam(const boost::asio::any_io_executor& executor, launch::LoadingRam loading)
    : loading_(std::move(loading)), filled_(executor) {}

boost::asio::awaitable<Result<>> TemplateRam::ready() {
    while (!outcome_) co_await filled_.wait();
    co_return *outcome_;
}

Templates::Templates(const boost::asio::any_io_executor& executor, boost::asio::thread_pool& pool,
                     const state::Home& home)
    : executor_(executor), store_(home), pool_(pool), filling_(executor) {}

Result<Templates::Match> Templates::match(const std::vector<std::string>& key) const {
    NOXSUP_TRY_VALUE(const auto list, store_.list());
    for (const auto& problem : list.problems) log_warning(problem);
    Match match;
    auto nearest = std::numeric_limits<std::size_t>::max();
    for (const auto& made : list.templates) {
        if (made.key.empty() || made.key.front() != key.front()) continue;
        const auto differences = count_differences(made.key, key);
        if (differences == 0) match.found = made;
        if (differences >= nearest) continue;
        nearest = differences;
        match.difference = launch::ram_state_difference(made.key, key);
    }
    return match;
}

Result<std::shared_ptr<TemplateRam>> Templates::ram_of(const state::Template& made,
                                                       const launch::QemuBinary& qemu) {
    const auto file = store_.directory(made.id) / state::template_ram_file;
    if (launch::maps_ram_read_only(qemu)) {
        NOXSUP_TRY_VALUE(auto opened, open_file(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
        return std::make_shared<TemplateRam>(executor_, std::move(opened));
    }
    // One that could not be filled is tried again.
    if (auto there = in_memory_[made.id].lock(); there && there->outcome_.value_or(Result<>()))
        return there;
    NOXSUP_TRY_VALUE(auto loading, launch::begin_template_ram(file, made.spec.memory_bytes));
    auto ram = std::make_shared<TemplateRam>(executor_, std::move(loading));
    in_memory_[made.id] = ram;
    filling_.spawn("the memory of template " + made.id, fill(ram));
    return ram;
}

boost::asio::awaitable<void> Templates::fill(std::shared_ptr<TemplateRam> ram) {
    // Also when it ends by an exception: nobody waits for ever.
    const ScopeExit told([&ram] {
        if (!ram->outcome_)
            ram->outcome_ = Error{ErrorCode::io_error, "the template's memory was not loaded"};
        ram->filled_.notify_all();
    });
    auto work = [ram] { return launch::fill_template_ram(ram->loading_); };
    auto filling = run_blocking(pool_, std::move(work));
    ram->outcome_ = co_await std::move(filling);
    ram->loading_.stored.reset();
}

}  // namespace noxsup::daemon
