#include "tests/support/iso_trees.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <set>
#include <string_view>

namespace noxsup::test {
namespace {

constexpr std::string_view nasty_names[] = {"user-data",
                                            "meta-data",
                                            "network-config",
                                            "USER-DATA",
                                            "User-Data",
                                            "...x",
                                            "-rf",
                                            " ",
                                            "  lead",
                                            "trail  ",
                                            "a'b\"c",
                                            "$(id)",
                                            "`id`",
                                            "%2e%2e",
                                            "CON",
                                            "nul.txt",
                                            "a.b.c.d",
                                            ".hidden",
                                            "..dots",
                                            "~",
                                            "#x#",
                                            "&|<>",
                                            "{{x}}",
                                            "\x7f",
                                            "x=1,y=2",
                                            "@file",
                                            "!bang",
                                            "A.1x",
                                            "long.extension-of-a-name",
                                            "caf\xc3\xa9"};

// Blocks of the Basic Multilingual Plane without combining marks and without decomposable
// characters.
struct Block {
    char32_t first;
    char32_t last;
};
constexpr std::array<Block, 6> blocks{{{0x430, 0x438},    // Cyrillic
                                       {0x3b1, 0x3c1},    // Greek
                                       {0x4e00, 0x9fa5},  // Han
                                       {0x2500, 0x257f},  // box drawing
                                       {0xac00, 0xd7a3},  // Hangul syllables
                                       {0x5d0, 0x5ea}}};  // Hebrew
constexpr std::string_view ascii =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+,=@#$%^&()[]{}'`~! \"<>|";

class Generator {
  public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

    std::string name() {
        switch (below(6)) {
            case 0:
                return std::string(nasty_names[below(std::size(nasty_names))]);
            case 1:
                return text(40 + below(25), below(2) == 0);
            default:
                return text(1 + below(16), below(4) == 0);
        }
    }

    std::string content() {
        constexpr std::array<std::size_t, 8> edges{0, 1, 2047, 2048, 2049, 4096, 17, 700};
        std::string result(below(3) == 0 ? below(6000) : edges[below(edges.size())], '\0');
        const auto step = random_() | 1U;
        std::uint64_t value = random_();
        for (char& c : result) {
            value += step;
            c = static_cast<char>(value >> 32U);
        }
        return result;
    }

  private:
    std::string text(std::size_t length, bool wide) {
        std::string result;
        for (std::size_t i = 0; i < length; ++i) {
            if (wide) {
                const auto& block = blocks[below(blocks.size())];
                append(result,
                       block.first + static_cast<char32_t>(below(block.last - block.first + 1)));
            } else {
                result += ascii[below(ascii.size())];
            }
        }
        if (result == "." || result == "..") return "dots";
        if (result.back() == '.') result.back() = '_';
        return result;
    }

    static void append(std::string& out, char32_t c) {
        if (c < 0x800) {
            out += static_cast<char>(0xc0U | c >> 6U);
        } else {
            out += static_cast<char>(0xe0U | c >> 12U);
            out += static_cast<char>(0x80U | (c >> 6U & 0x3fU));
        }
        out += static_cast<char>(0x80U | (c & 0x3fU));
    }

    std::mt19937_64 random_;
};

}  // namespace

std::vector<imaging::iso9660::Entry> IsoTree::entries() const {
    std::vector<imaging::iso9660::Entry> result;
    for (const auto& directory : directories) result.push_back({directory, {}, true, 0555});
    for (const auto& [path, data] : files) result.push_back({path, data, false, 0444});
    return result;
}

std::vector<std::string> IsoTree::paths() const {
    auto result = directories;
    for (const auto& [path, data] : files) result.push_back(path);
    std::ranges::sort(result);
    return result;
}

IsoTree random_iso_tree(std::uint64_t seed) {
    constexpr std::size_t deepest = 7;  // below the root
    Generator generator(seed);
    IsoTree tree;
    std::set<std::string> taken;
    std::vector<std::pair<std::string, std::size_t>> places{{"", 0}};
    const auto count = seed % 50 == 0 ? 200 + generator.below(400) : generator.below(14);
    for (std::size_t i = 0; i < count; ++i) {
        const auto [place, depth] =
            seed % 50 == 0 ? places.front() : places[generator.below(places.size())];
        const auto path = place + generator.name();
        if (!taken.insert(path).second) continue;
        if (depth < deepest && generator.below(4) == 0) {
            tree.directories.push_back(path);
            places.emplace_back(path + '/', depth + 1);
        } else {
            tree.files.emplace(path, generator.content());
        }
    }
    return tree;
}

}  // namespace noxsup::test
