// Feeds every file of a fuzz target's corpus to it, then each file cut short and with single bytes
// changed.
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <vector>

#include "supervisor/base/file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t input_limit = std::size_t{64} << 20;
/// Cuts and changes grow with the square of the size; longer inputs are only fed as they are.
constexpr std::size_t mutation_limit = 4096;

void feed(const std::vector<std::uint8_t>& input) {
    // A copy of the exact size, so that the sanitizer sees one byte too far.
    const std::vector<std::uint8_t> exact(input);
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void feed_variants(const std::vector<std::uint8_t>& input) {
    for (std::size_t length = 0; length < input.size(); ++length) {
        feed({input.begin(), input.begin() + static_cast<std::ptrdiff_t>(length)});
    }
    auto changed = input;
    for (std::size_t at = 0; at < input.size(); ++at) {
        for (const std::uint8_t value : {std::uint8_t{0}, std::uint8_t{0x7f}, std::uint8_t{0xff}}) {
            changed[at] = value;
            feed(changed);
        }
        changed[at] = input[at];
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: replay CORPUS_DIRECTORY\n";
        return 1;
    }
    std::size_t files = 0;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1], failure)) {
        const auto text = noxsup::read_file(entry.path(), input_limit);
        if (!text) {
            std::cerr << text.error().message << "\n";
            return 1;
        }
        const std::vector<std::uint8_t> input(text->begin(), text->end());
        feed(input);
        if (input.size() <= mutation_limit) feed_variants(input);
        ++files;
    }
    if (failure || files == 0) {
        std::cerr << argv[1] << ": no inputs\n";
        return 1;
    }
    std::cout << files << " inputs, with their variants\n";
    return 0;
}
