// Real files and a real QEMU for one test: paused, under TCG, without a network beyond loopback.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <string>
#include <vector>

#include "supervisor/launch/qemu_process.hpp"
#include "supervisor/launch/vm_uids.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// A blocking QMP client for a handful of commands.
class QmpPeer {
  public:
    /// Connects, reads the greeting and negotiates. Throws when QEMU does not answer within 20 s.
    explicit QmpPeer(const std::filesystem::path& socket);
    /// The value of "return". Throws on an error reply.
    Json execute(const std::string& command, const Json& arguments = Json::object());
    [[nodiscard]] const Json& greeting() const { return greeting_; }

  private:
    Json read_line();

    UniqueFd socket_;
    std::string buffered_;
    Json greeting_;
};

/// Makes the files of a VM below a temporary directory.
class QemuTest : public testing::Test {
  protected:
    /// The one that root's QEMUs run as here; none where this process is not root.
    static std::optional<uid_t> own_uid();
    /// Everything for this spec: disk and base by qemu-img, a seed, firmware or a kernel that QEMU
    /// accepts.
    launch::StartRequest make_request(const spec::VmSpec& spec);
    /// Starts it; the test fails with QEMU's words when that is impossible.
    launch::PendingQemu start(const launch::StartRequest& request);
    /// start() with a QMP conversation begun; the error, with QEMU's words, when it dies instead.
    Result<std::unique_ptr<QmpPeer>> talk(launch::PendingQemu& qemu,
                                          const launch::StartRequest& request);
    void run(std::vector<std::string> argv);

    TempDir dir_;
    boost::asio::io_context context_;
};

/// The least that QEMU's x86 loader takes for a Linux kernel (Documentation/arch/x86/boot.rst): one
/// setup sector, the magic, boot protocol 2.15. Its code halts the processor for good.
std::string idle_bzimage();

/// How many descriptors this process has open.
std::size_t count_open_fds();

/// Waits until the process behind the pidfd has ended; throws after 20 s.
void wait_for_end(int pidfd);

}  // namespace noxsup::test
