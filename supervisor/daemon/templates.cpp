#include "supervisor/daemon/templates.hpp"

#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/log.hpp"
#include "supervisor/base/scope_exit.hpp"
#include "supervisor/launch/qemu_argv.hpp"
#include "supervisor/launch/ram_state.hpp"
#include "supervisor/launch/template_ram.hpp"

namespace noxsup::daemon {
namespace {

using RamPointer = std::shared_ptr<const UniqueFd>;

std::size_t count_differences(const std::vector<std::string>& one,
                              const std::vector<std::string>& other) {
    const auto shorter = std::min(one.size(), other.size());
    std::size_t count = std::max(one.size(), other.size()) - shorter;
    for (std::size_t i = 0; i < shorter; ++i) count += one[i] != other[i] ? 1U : 0U;
    return count;
}

}  // namespace

Templates::Templates(const boost::asio::any_io_executor& executor, boost::asio::thread_pool& pool,
                     const state::Home& home)
    : store_(home), pool_(pool), loaded_(executor) {}

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

boost::asio::awaitable<Result<RamPointer>> Templates::ram_of(state::Template made,
                                                             launch::QemuBinary qemu) {
    const auto file = store_.directory(made.id) / state::template_ram_file;
    if (launch::maps_ram_read_only(qemu)) {
        auto opened = open_file(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (!opened) co_return std::move(opened).error();
        co_return RamPointer(std::make_shared<const UniqueFd>(*std::move(opened)));
    }
    while (loading_.contains(made.id)) co_await loaded_.wait();
    if (auto there = in_memory_[made.id].lock()) co_return there;
    loading_.insert(made.id);
    const ScopeExit done([this, &made] {
        loading_.erase(made.id);
        loaded_.notify_all();
    });
    auto load = [file, bytes = made.spec.memory_bytes] {
        return launch::load_template_ram(file, bytes);
    };
    auto loaded = co_await run_blocking(pool_, std::move(load));
    if (!loaded) co_return std::move(loaded).error();
    auto ram = std::make_shared<const UniqueFd>(*std::move(loaded));
    in_memory_[made.id] = ram;
    co_return RamPointer(std::move(ram));
}

}  // namespace noxsup::daemon
