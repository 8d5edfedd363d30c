#include "tests/support/image_test.hpp"

#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "supervisor/base/text.hpp"

namespace noxsup::test {

std::vector<std::string> names_in(const std::filesystem::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const auto name = entry.path().filename().string();
        if (name != ".locks") names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
}

std::string small_raw_disk(std::size_t megabytes) {
    std::string disk(megabytes << 20U, '\0');
    for (std::size_t i = 1 << 20U; i < disk.size(); ++i)
        disk[i] = static_cast<char>(i * 2654435761U >> 13U);
    disk[446 + 4] = '\x83';
    disk[446 + 8] = 1;
    disk[446 + 12] = 1;
    disk[510] = '\x55';
    disk[511] = '\xaa';
    return disk;
}

std::string sha256_of(std::string_view data) {
    std::array<std::byte, SHA256_DIGEST_LENGTH> digest{};
    ::SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(),
             reinterpret_cast<unsigned char*>(digest.data()));
    return to_hex(digest);
}

std::string sha512_of(std::string_view data) {
    std::array<std::byte, SHA512_DIGEST_LENGTH> digest{};
    ::SHA512(reinterpret_cast<const unsigned char*>(data.data()), data.size(),
             reinterpret_cast<unsigned char*>(digest.data()));
    return to_hex(digest);
}

std::string ImageTest::tool(std::vector<std::string> argv) {
    Command command;
    command.argv = std::move(argv);
    auto output = run(run_checked(runner_, command));
    if (!output) throw std::runtime_error(output.error().message);
    return *output;
}

}  // namespace noxsup::test
