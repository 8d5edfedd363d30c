#include "supervisor/vm/free_pages.hpp"

#include <chrono>

#include "qmp/commands.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/number.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::vm {
namespace {

/// The guest goes on while its memory is lent, and is not to give up what it has cached.
constexpr std::uint64_t left_to_guest = std::uint64_t{32} << 20;
constexpr std::chrono::milliseconds look_again{50};
/// The balloon takes some 200 MiB a second, emulated on a busy machine.
constexpr std::chrono::seconds standstill{5};
constexpr std::chrono::minutes limit{2};

/// Waits until the guest has `wanted` bytes, or what it has does not change any more. What it has.
boost::asio::awaitable<Result<std::uint64_t>> await_balloon(qmp::Client& client,
                                                            std::uint64_t wanted) {
    const auto end = std::chrono::steady_clock::now() + limit;
    std::uint64_t last = 0;
    auto changed_at = std::chrono::steady_clock::now();
    for (;;) {
        NOXSUP_CO_TRY_VALUE(const auto bytes, co_await qmp::query_balloon(client));
        const auto now = std::chrono::steady_clock::now();
        if (bytes.value_or(wanted) == wanted) co_return wanted;
        if (*bytes != last) changed_at = now;
        last = *bytes;
        if (now - changed_at > standstill || now > end) co_return last;
        const bool slept = co_await sleep_for(look_again);
        if (!slept) co_return Error{ErrorCode::interrupted, "interrupted"};
    }
}

}  // namespace

std::uint64_t free_bytes_of(std::string_view words) {
    return whole_number<std::uint64_t>(trim(words)).value_or(0) << 10U;
}

boost::asio::awaitable<Result<>> empty_free_pages(qmp::Client& client, std::uint64_t memory_bytes,
                                                  std::uint64_t free_bytes) {
    if (free_bytes <= left_to_guest || free_bytes >= memory_bytes) co_return Result<>();
    NOXSUP_CO_TRY_VALUE(const auto there, co_await qmp::query_balloon(client));
    if (!there) co_return Result<>();
    const auto wanted = memory_bytes - (free_bytes - left_to_guest);
    NOXSUP_CO_TRY(co_await qmp::balloon(client, wanted));
    auto taking = await_balloon(client, wanted);
    NOXSUP_CO_TRY(co_await std::move(taking));
    NOXSUP_CO_TRY(co_await qmp::balloon(client, memory_bytes));
    auto giving = await_balloon(client, memory_bytes);
    NOXSUP_CO_TRY_VALUE(const auto given, co_await std::move(giving));
    if (given == memory_bytes) co_return Result<>();
    co_return Error{ErrorCode::guest_failed, "the guest's balloon keeps memory"};
}

}  // namespace noxsup::vm
