// What a VM's port on a bridge costs in process: the TAP alone, and with its filter.
//
// usage: noxsup-bench-tap COUNT BRIDGE
// To be run in a network namespace that has the bridge. Prints {"lease_us": median, "filtered_us":
// median}; each lease is let go again, outside the time.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "netbridge/tap_lease.hpp"
#include "supervisor/base/json.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using namespace noxsup::netbridge;

noxsup::Result<double> median_lease(KernelNetwork& kernel, const TapRequest& request, int count) {
    std::vector<double> times;
    for (int run = 0; run < count; ++run) {
        const auto begin = Clock::now();
        NOXSUP_TRY_VALUE(auto lease, lease_tap(kernel, request));
        times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
        if (lease.unfiltered) return *lease.unfiltered;
        lease.taps.clear();
        NOXSUP_TRY(forget_tap(kernel, *tap_name(request.id)));
    }
    std::ranges::sort(times);
    return times.at(times.size() / 2);
}

noxsup::Result<noxsup::Json> measure(int count, const char* bridge) {
    NOXSUP_TRY_VALUE(const auto kernel, open_kernel_network());
    NOXSUP_TRY_VALUE(const auto name, InterfaceName::parse(bridge));
    TapRequest request{name, make_tap_id(), "00000000-0000-4000-8000-000000000000",
                       random_guest_mac()};
    request.check_source = false;
    NOXSUP_TRY_VALUE(const double plain, median_lease(*kernel, request, count));
    request.check_source = true;
    NOXSUP_TRY_VALUE(const double filtered, median_lease(*kernel, request, count));
    return noxsup::Json{{"lease_us", plain}, {"filtered_us", filtered}};
}

}  // namespace

int main(int argc, char** argv) {
    const int count = argc == 3 ? std::atoi(argv[1]) : 0;
    if (count < 1) {
        std::cerr << "usage: noxsup-bench-tap COUNT BRIDGE\n";
        return 1;
    }
    const auto result = measure(count, argv[2]);
    if (!result) {
        std::cerr << "noxsup-bench-tap: " << result.error().message << "\n";
        return noxsup::exit_code_of(result.error().code);
    }
    std::cout << noxsup::dump_json(*result) << "\n";
    return 0;
}
