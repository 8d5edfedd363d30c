// Builds a Debian image from packages by running the installed script build-debian.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>

#include "imaging/catalog.hpp"
#include "imaging/progress.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// Where packages come from and what is kept between builds.
struct BuilderConfig {
    std::string package_mirror;        ///< a Debian mirror; empty: the host's own apt sources
    std::filesystem::path tree_cache;  ///< directory for installed trees, or empty
    std::filesystem::path script;      ///< empty: find_libexec("images/build-debian")
    std::chrono::minutes deadline{90};
};

/// The seam between the image service and the script.
class ImageBuilder {
  public:
    /// @param runner outlives this object
    ImageBuilder(CommandRunner& runner, BuilderConfig config = {});

    /// Only asks whether this host can build it. Errors: host_lacks_tool with the fix as the hint.
    boost::asio::awaitable<Result<>> check(CatalogImage image);

    /// Makes `output`, a qcow2 that appears complete or not at all.
    /// @param package_mirror for this build, or empty: the configured one
    /// Errors: host_lacks_tool, no_space, command_failed with the last lines as evidence,
    /// interrupted.
    boost::asio::awaitable<Result<>> build(CatalogImage image, std::filesystem::path output,
                                           std::string package_mirror, ProgressCallback progress);

  private:
    boost::asio::awaitable<Result<>> run(CatalogImage image, std::vector<std::string> more,
                                         ProgressCallback progress);
    CommandRunner& runner_;
    BuilderConfig config_;
};

}  // namespace noxsup::imaging
