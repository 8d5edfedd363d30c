// A minimal virtual machine that counts down a register: what the KVM probe times.
#pragma once

#include <array>
#include <cstdint>

namespace noxsup::launch {

inline constexpr std::uint32_t guest_rounds = 4;
inline constexpr std::uint32_t iterations_per_round = 5000;

/// How far the guest came.
enum class GuestStep : std::uint32_t {
    open_device,
    check_version,
    create_vm,
    map_memory,
    create_vcpu,
    set_registers,
    run,
    unexpected_exit,
    done,
};

/// Plain data, so that it passes through a pipe.
struct GuestTiming {
    GuestStep step = GuestStep::open_device;  ///< the step that failed, or done
    std::int32_t error = 0;                   ///< errno, or the exit reason of unexpected_exit
    std::array<std::uint64_t, guest_rounds> round_ns{};  ///< each of iterations_per_round
    std::uint64_t host_round_ns = 0;                     ///< the same loop on the host
};

/// Makes a VM of one vCPU and one page and times the rounds. Only system calls and the stack: it
/// may run in a child forked from a program with threads. It leaves its descriptors open; the
/// caller exits.
GuestTiming time_guest_loops(const char* device);

}  // namespace noxsup::launch
