#include "supervisor/base/random.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

#include "supervisor/base/text.hpp"

namespace noxsup {

void fill_random(std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const auto got = ::getrandom(bytes.data(), bytes.size(), 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            throw std::system_error(errno, std::generic_category(), "getrandom");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
}

std::string random_hex(std::size_t count) {
    std::vector<std::byte> bytes(count);
    fill_random(bytes);
    return to_hex(bytes);
}

std::string random_uuid() {
    std::array<std::byte, 16> bytes{};
    fill_random(bytes);
    bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
    bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    auto text = to_hex(bytes);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, "-");
    return text;
}

}  // namespace noxsup
