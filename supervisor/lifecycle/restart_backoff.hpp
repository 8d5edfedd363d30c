// What follows when a VM's QEMU has ended: nothing, a new start after a while, or giving up. No I/O
// and no clock: the time is given in.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>

#include "supervisor/lifecycle/machine.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::lifecycle {

/// How a VM came to its end.
struct End {
    State state;
    Reason reason;
    bool requested = false;  ///< somebody had asked for it: the user, or a host that shuts down
};

/// True when this end calls for a new start under the policy. `on-failure`: QEMU died, was killed,
/// never came up, or ended unseen; not when the guest powered off. `always`: also then. Neither:
/// when it was asked for.
bool wants_restart(spec::RestartPolicy policy, const End& end);

enum class Next { nothing, start, give_up };

struct Verdict {
    Next next = Next::nothing;
    std::chrono::milliseconds delay{};  ///< with Next::start
    bool operator==(const Verdict&) const = default;
};

/// The figures of promise P24.
struct BackoffLimits {
    std::chrono::milliseconds first{1'000};
    std::chrono::milliseconds longest{60'000};
    std::chrono::milliseconds window{60'000};  ///< in which `most_ends` ends are a crash loop
    std::size_t most_ends = 5;
};

/// The back-off of one VM. Two rules, over the times of its ends alone:
///
/// - The delays double from `first` to `longest`: 1, 2, 4 ... 60 s. A run of at least `window`,
///   counted from when the start was due, begins them anew.
/// - The fifth end within a window gives up. A guest that ends at once is given up after four new
///   starts (ends after 0, 1, 3, 7 and 15 s); one that holds out for 15 s each time never is, and
///   is soon started once in 75 s.
class RestartBackoff {
  public:
    using Time = std::chrono::steady_clock::time_point;

    explicit RestartBackoff(BackoffLimits limits = {}) : limits_(limits) {}

    /// The VM has ended, or a start of it has failed. After Verdict::give_up, and after an end that
    /// calls for nothing, the count begins anew.
    Verdict on_end(spec::RestartPolicy policy, const End& end, Time now);

    /// Somebody took the VM in hand: the count begins anew.
    void forget();

  private:
    BackoffLimits limits_;
    std::deque<Time> ends_;  ///< those of the last window, oldest first
    std::chrono::milliseconds next_delay_{};
    Time due_{};  ///< of the last start; meaningful with next_delay_ set
};

}  // namespace noxsup::lifecycle
