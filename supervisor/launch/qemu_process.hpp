// Starting QEMU as a transaction, and finding it again after the supervisor was restarted.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "supervisor/base/process.hpp"
#include "supervisor/launch/privilege.hpp"
#include "supervisor/launch/process_identity.hpp"
#include "supervisor/launch/qemu_argv.hpp"

namespace noxsup::launch {

/// The files of one VM that QEMU gets as descriptors. Empty paths: the VM has none.
struct VmFiles {
    std::filesystem::path disk;
    std::filesystem::path base;
    std::filesystem::path seed;
    std::filesystem::path firmware_code;
    std::filesystem::path firmware_vars;
    std::filesystem::path kernel;
    std::filesystem::path initrd;
    bool has_guest_port = false;
    std::filesystem::path qemu_log;     ///< made when missing; opened O_APPEND
    std::filesystem::path lock;         ///< the life lock; made when missing
    std::filesystem::path runtime_dir;  ///< RUNTIME/ID, mode 0700; made when missing

    [[nodiscard]] std::filesystem::path qmp_socket() const { return runtime_dir / "qmp"; }
    [[nodiscard]] std::filesystem::path console_socket() const { return runtime_dir / "console"; }
    [[nodiscard]] std::filesystem::path agent_socket() const { return runtime_dir / "agent"; }
    [[nodiscard]] std::filesystem::path guest_port_socket() const { return runtime_dir / "guest"; }
};

/// A file for a machine's RAM, of its size.
struct RamFile {
    int fd = -1;          ///< borrowed; none: memory of QEMU's own
    bool shared = false;  ///< what the guest writes is in the file; else in copies of its pages
};

struct StartRequest {
    spec::VmSpec spec;
    QemuBinary qemu;
    VmFiles files;
    Ram ram = Ram::fresh;
    RamFile ram_file{};
    Confinement confinement;   ///< see plan_confinement()
    int cgroup_fd = -1;        ///< borrowed; from CgroupTree::make_leaf(), optional
    std::vector<NicFds> nics;  ///< of the spec's networks; network_queues() TAPs each
};

/// A QEMU that was started but is not yet known to be good: unless committed, its end (and every
/// other trace of the start) is brought about by the destructor, which blocks until the process is
/// reaped.
class PendingQemu {
  public:
    PendingQemu(PendingQemu&&) noexcept = default;
    PendingQemu& operator=(PendingQemu&&) = delete;
    ~PendingQemu();

    [[nodiscard]] const ProcessIdentity& identity() const { return identity_; }
    [[nodiscard]] int pidfd() const { return child_.pidfd.get(); }

    /// Completes when QEMU dies, with qemu_failed and its own words of this start as evidence. Race
    /// it against the QMP greeting. Honours cancellation.
    boost::asio::awaitable<Result<>> died() const;

    /// What QEMU has written to its log since this start: the last lines, escaped for a terminal.
    [[nodiscard]] std::vector<std::string> last_words() const;

    /// From here on QEMU outlives everything of ours. The Child still has to be reaped when it
    /// ends.
    Child commit();

  private:
    friend Result<PendingQemu> start_qemu(const boost::asio::any_io_executor&, const StartRequest&);
    PendingQemu(Child child, ProcessIdentity identity, VmFiles files, UniqueFd lock,
                std::uint64_t log_offset);

    Child child_;
    ProcessIdentity identity_;
    VmFiles files_;
    UniqueFd lock_;
    std::uint64_t log_offset_ = 0;
};

/// Lock, descriptors, sockets, process, in this order; when a step fails, everything before it is
/// undone and any child is reaped before this returns. QEMU has been executed when it returns, no
/// more: what it thinks of its arguments shows by died() or the QMP greeting. Errors: wrong_state
/// (the VM's QEMU lives), unreadable_file, io_error, no_space, host_lacks_qemu.
Result<PendingQemu> start_qemu(const boost::asio::any_io_executor& executor,
                               const StartRequest& request);

/// The last lines of a QEMU log from `offset` on (bounded, escaped); empty when it cannot be read.
std::vector<std::string> qemu_last_words(const std::filesystem::path& log, std::uint64_t offset);

/// Removes the sockets that a dead QEMU left. @pre the caller holds the life lock
void remove_sockets(const VmFiles& files);

/// What became of a VM's QEMU while no supervisor watched.
struct Dead {};
/// It lives and is the recorded process, or the one its QMP socket names.
struct Alive {
    ProcessIdentity identity;
    UniqueFd pidfd;
};
/// The lock is held but no process could be made out: treat it as alive, start nothing, kill
/// nothing.
struct AliveUnknown {
    std::string reason;
};
using Adoption = std::variant<Dead, Alive, AliveUnknown>;

/// Finds a VM's QEMU again. The life lock decides whether it lives; the recorded identity, else the
/// credentials of the QMP socket's listener, say which process it is. Never signals anything.
/// @param recorded identity of the last start; a default one when none is known
/// @param uuid the VM's, which its QEMU has among its arguments: a recorded process without it is a
/// stranger
/// Errors: io_error.
Result<Adoption> adopt_qemu(const ProcessIdentity& recorded, const VmFiles& files,
                            std::string_view uuid);

}  // namespace noxsup::launch
