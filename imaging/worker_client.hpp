// The parent's side of noxsup-worker: starts it over a command runner, reads its JSON lines.
#pragma once

#include <filesystem>
#include <string>

#include "imaging/worker.hpp"
#include "supervisor/base/command.hpp"

namespace noxsup::imaging {

/// Finds an installed helper by its path below libexec: $NOXSUP_LIBEXEC, then ../libexec/noxsup
/// beside the running binary, then the build tree, then the place cmake --install would use.
/// Errors: host_lacks_tool naming the places looked at.
Result<std::filesystem::path> find_libexec(const std::string& name);

/// The real worker. One process a call, in its own session, killed with its children on
/// cancellation.
class WorkerClient final : public ImageWorker {
  public:
    /// @param runner outlives this object  @param program absolute path, or empty to look it up
    explicit WorkerClient(CommandRunner& runner, std::filesystem::path program = {});

    boost::asio::awaitable<Result<FetchResult>> fetch(FetchRequest request,
                                                      ProgressCallback progress) override;
    boost::asio::awaitable<Result<DigestResult>> digest(int fd, ProgressCallback progress) override;
    boost::asio::awaitable<Result<ImageFacts>> inspect(int fd, bool accept_raw) override;
    boost::asio::awaitable<Result<std::uint64_t>> unpack(UnpackRequest request,
                                                         ProgressCallback progress) override;
    boost::asio::awaitable<Result<ImageFacts>> convert(ConvertRequest request,
                                                       ProgressCallback progress) override;
    boost::asio::awaitable<Result<BootReport>> read_boot(BootRequest request) override;
    boost::asio::awaitable<Result<std::string>> check_signature(SignatureRequest request) override;

  private:
    struct Call;
    boost::asio::awaitable<Result<Json>> run(Call call, ProgressCallback progress);

    CommandRunner& runner_;
    std::filesystem::path program_;
};

}  // namespace noxsup::imaging
