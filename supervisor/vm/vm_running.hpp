// What of a VM exists while its QEMU does; for the files of class Vm alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/launch/nic.hpp"
#include "supervisor/vm/vm.hpp"

namespace noxsup::vm {

/// The host's side of one network card.
struct Vm::Nic {
    /// How far QEMU has been told of a card that is plugged into it while it runs.
    enum class Told { nothing, descriptors, netdev, device };

    explicit Nic(spec::Network network) : card(std::move(network)) {}

    spec::Network card;  ///< as QEMU has it
    std::unique_ptr<netbridge::AddressWatcher> watcher;
    /// QEMU's end does not remove all of it: rules of a TAP, or a macvtap.
    bool outlives_qemu = false;
    std::optional<netbridge::TapLease> tap;         ///< until QEMU has its own descriptors
    std::vector<netbridge::PortReservation> ports;  ///< until QEMU listens on them
    std::vector<netbridge::ObservedAddress> addresses;
    std::vector<std::unique_ptr<PortProxy>> proxies;  ///< they ask for the addresses
    std::shared_ptr<void> nat;  ///< keeps the NAT network that it is on, and its ports there
    Told told = Told::nothing;
    bool asked_to_go = false;  ///< the guest was asked to let go of it
    bool awaited = false;      ///< and somebody waits until it does
    bool gone = false;         ///< the guest has let go of it

    /// For its end, or the supervisor's.
    void let_go() {
        watcher.reset();
        proxies.clear();
    }
    /// Under which names QEMU gets the descriptors of its device.
    [[nodiscard]] launch::NicFdNames descriptor_names() const {
        return tap ? launch::nic_fd_names(card, tap->taps.size(), tap->vhosts.size())
                   : launch::NicFdNames();
    }
    /// QEMU holds its own descriptors of these.
    void hand_over() {
        ports.clear();
        tap.reset();
    }
};

/// The parts of a VM that exist while its QEMU does.
struct Vm::Running {
    launch::ProcessIdentity identity;
    UniqueFd pidfd;
    bool is_child = false;
    bool ended = false;
    std::uint64_t log_offset = 0;  ///< of qemu.log when this QEMU was started
    std::unique_ptr<qmp::Client> qmp;
    std::unique_ptr<Console> console;
    UniqueFd guest_port;  ///< only where the boot follows the disk
    /// Of a template's RAM, which lasts as long as somebody has it; none after an adoption.
    std::shared_ptr<const UniqueFd> ram;
    bool shares_ram = false;  ///< RamStart::shared
    /// A copy of a template came with its kernel in its RAM: QEMU has none to give it at a reset.
    bool lacks_kernel = false;
    /// The spec's cards in its order; while one comes or goes it may be here alone, or not any
    /// more.
    std::vector<std::shared_ptr<Nic>> nics;
    std::string console_tail;  ///< for words cut over two pieces
    bool kernel_seen = false;
    bool banner_seen = false;
    bool panicked = false;

    [[nodiscard]] std::shared_ptr<Nic> nic_in(unsigned slot) const {
        for (const auto& nic : nics) {
            if (nic->card.slot == slot) return nic;
        }
        return nullptr;
    }
};

}  // namespace noxsup::vm
