// Warm templates: which one a new VM may begin with, and the one copy of its RAM that all who did
// map.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/async.hpp"
#include "supervisor/base/sync.hpp"
#include "supervisor/base/unique_fd.hpp"
#include "supervisor/launch/host_facts.hpp"
#include "supervisor/launch/template_ram.hpp"
#include "supervisor/state/template_store.hpp"

namespace noxsup::daemon {

/// A template's RAM for the VMs that begin with it. One thread.
class TemplateRam {
  public:
    /// There already.
    TemplateRam(const boost::asio::any_io_executor& executor, UniqueFd file);
    /// On its way.
    TemplateRam(const boost::asio::any_io_executor& executor, launch::LoadingRam loading);

    /// QEMU may have it at once: it touches no RAM before it has its devices.
    [[nodiscard]] const UniqueFd& file() const { return loading_.copy; }
    /// Completes when all of it is there. Errors: of launch::fill_template_ram().
    boost::asio::awaitable<Result<>> ready();

  private:
    friend class Templates;

    launch::LoadingRam loading_;
    std::optional<Result<>> outcome_;
    Condition filled_;
};

/// One thread.
class Templates {
  public:
    Templates(const boost::asio::any_io_executor& executor, boost::asio::thread_pool& pool,
              const state::Home& home);

    [[nodiscard]] const state::TemplateStore& store() const { return store_; }

    /// The newest template with this key (launch::template_key()); or in what the nearest of the
    /// same image differs, for people. Neither where there is none of that image.
    struct Match {
        std::optional<state::Template> found;
        std::string difference;
    };
    /// Errors: io_error when the templates cannot be listed.
    [[nodiscard]] Result<Match> match(const std::vector<std::string>& key) const;

    /// Its RAM for a new VM: the file on disk where this QEMU maps one that it may only read, else
    /// a sealed copy in memory, which is there once and as long as anybody has it; it begins to
    /// fill here. A VM that an earlier supervisor started keeps its own: what a QEMU holds is not
    /// taken back from it, for others would run what its guest might have put there. Errors: of
    /// launch::begin_template_ram().
    Result<std::shared_ptr<TemplateRam>> ram_of(const state::Template& made,
                                                const launch::QemuBinary& qemu);

  private:
    boost::asio::awaitable<void> fill(std::shared_ptr<TemplateRam> ram);

    boost::asio::any_io_executor executor_;
    state::TemplateStore store_;
    boost::asio::thread_pool& pool_;
    std::map<std::string, std::weak_ptr<TemplateRam>> in_memory_;
    TaskGroup filling_;
};

}  // namespace noxsup::daemon
