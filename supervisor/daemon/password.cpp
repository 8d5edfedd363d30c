#include "supervisor/daemon/password.hpp"

#include <crypt.h>

#include <array>
#include <string_view>

#include "supervisor/base/random.hpp"

namespace noxsup::daemon {

std::string random_password() {
    // 32 characters, so that five bits of each random byte choose one without a bias.
    constexpr std::string_view alphabet = "abcdefghijkmnpqrstuvwxyz23456789";
    static_assert(alphabet.size() == 32);
    std::array<std::byte, 16> bytes{};
    fill_random(bytes);
    std::string password;
    for (const auto b : bytes)
        password += alphabet[std::to_integer<std::size_t>(b & std::byte{31})];
    return password;
}

Result<std::string> hash_password(const std::string& password) {
    std::array<char, CRYPT_GENSALT_OUTPUT_SIZE> salt{};
    std::array<std::byte, 16> seed{};
    fill_random(seed);
    const auto* seed_text = reinterpret_cast<const char*>(seed.data());
    if (::crypt_gensalt_rn("$6$", 0, seed_text, seed.size(), salt.data(), salt.size()) == nullptr) {
        return Error{ErrorCode::failed, "cannot make a salt for the password"};
    }
    crypt_data data{};
    const char* hash = ::crypt_rn(password.c_str(), salt.data(), &data, sizeof(data));
    if (hash == nullptr) return Error{ErrorCode::failed, "cannot hash the password"};
    return std::string(hash);
}

}  // namespace noxsup::daemon
