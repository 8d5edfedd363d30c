// The readers people have: isoinfo, isovfy, xorriso and blkid on a part of the random trees, on
// 10,000 in a long run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "supervisor/base/command.hpp"
#include "supervisor/base/text.hpp"
#include "tests/support/iso_trees.hpp"
#include "tests/support/long_run.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

using testing::HasSubstr;

// Seeds beyond those of the libarchive test, and one large directory among them (seed % 50 == 0).
constexpr std::uint64_t first_seed = 20000;

/// The seed after the last. Each tree costs a reader some processes.
std::uint64_t last_seed(std::uint64_t trees) {
    return first_seed + (test::is_long_run() ? 10000 : trees);
}

CommandOutput run(std::vector<std::string> argv) {
    boost::asio::io_context context;
    ProcessRunner runner;
    Command command;
    command.argv = std::move(argv);
    command.output_limit = std::size_t{16} << 20;
    auto output = test::run_async(context, runner.run(std::move(command)));
    if (!output) throw std::runtime_error(output.error().message);
    return std::move(*output);
}

std::vector<std::string> lines_without_slash(const std::string& text) {
    std::vector<std::string> result;
    for (const auto& line : split(text, '\n')) {
        if (!line.empty()) result.push_back(line.substr(1));
    }
    return result;
}

/// What one list has and the other has not, a few of them; empty when both hold the same.
std::string difference(std::vector<std::string> found, std::vector<std::string> wanted) {
    std::ranges::sort(found);
    std::ranges::sort(wanted);
    std::vector<std::string> missing;
    std::vector<std::string> strange;
    std::ranges::set_difference(wanted, found, std::back_inserter(missing));
    std::ranges::set_difference(found, wanted, std::back_inserter(strange));
    std::string result;
    for (const auto& name : missing) result += "missing '" + name + "'\n";
    for (const auto& name : strange) result += "strange '" + name + "'\n";
    return result.substr(0, 1000);
}

/// isoinfo shows Joliet names in an 8-bit character set, Latin-1 unless told; what does not fit is
/// '_'.
std::vector<std::string> folded(std::vector<std::string> names) {
    for (auto& name : names) {
        std::string result;
        for (std::size_t i = 0; i < name.size(); ++i) {
            const auto byte = static_cast<unsigned char>(name[i]);
            if (byte < 0x80) result += name[i];
            if (byte == 0xc3) result += static_cast<char>(name[++i] + 0x40);
            if (byte > 0xc3) result += '_';
        }
        name = result;
    }
    return names;
}

class IsoTools : public testing::Test {
  protected:
    std::string write(std::uint64_t seed, const test::IsoTree& tree) {
        const auto image = make_image(tree.entries(), {});
        if (!image) throw std::runtime_error(image.error().message);
        return temp_.write(std::to_string(seed) + ".iso", *image).string();
    }

    test::TempDir temp_;
};

TEST_F(IsoTools, IsoinfoAndIsovfyReadRockRidgeAndJoliet) {
    for (auto seed = first_seed; seed < last_seed(120); ++seed) {
        const auto tree = test::random_iso_tree(seed);
        const auto path = write(seed, tree);
        const auto rock_ridge = run({"isoinfo", "-R", "-f", "-i", path});
        EXPECT_EQ(difference(lines_without_slash(rock_ridge.out), tree.paths()), "")
            << "Rock Ridge, seed " << seed;
        const auto joliet = run({"isoinfo", "-J", "-f", "-i", path});
        EXPECT_EQ(difference(lines_without_slash(joliet.out), folded(tree.paths())), "")
            << "Joliet, seed " << seed;
        const auto verified = run({"isovfy", path});
        EXPECT_TRUE(verified.ok());
        EXPECT_THAT(verified.out, HasSubstr("No errors found")) << "seed " << seed;
        EXPECT_EQ(verified.out.find("rror:"), std::string::npos) << verified.out;
        if (!tree.files.empty()) {
            const auto& [name, data] = *tree.files.begin();
            EXPECT_EQ(run({"isoinfo", "-R", "-x", '/' + name, "-i", path}).out, data) << name;
        }
        std::filesystem::remove(path);
    }
}

TEST_F(IsoTools, XorrisoExtractsEveryByte) {
    for (auto seed = first_seed; seed < last_seed(60); ++seed) {
        const auto tree = test::random_iso_tree(seed);
        const auto path = write(seed, tree);
        const auto target = (temp_ / std::to_string(seed)).string();
        const auto output = run({"xorriso", "-osirrox", "on", "-abort_on", "WARNING", "-indev",
                                 path, "-check_media", "--", "-extract", "/", target});
        ASSERT_TRUE(output.ok()) << output.err;
        std::vector<std::string> found;
        for (const auto& item : std::filesystem::recursive_directory_iterator(target)) {
            const auto name = std::filesystem::relative(item.path(), target).string();
            found.push_back(name);
            if (item.is_directory()) continue;
            EXPECT_EQ(test::slurp(item.path()), tree.files.at(name)) << name;
        }
        EXPECT_EQ(difference(found, tree.paths()), "") << "seed " << seed;
        run({"chmod", "-R", "u+w", target});
        std::filesystem::remove_all(target);
    }
}

TEST_F(IsoTools, BlkidSeesTheLabel) {
    const auto path = write(1, test::random_iso_tree(1));
    const auto output = run({"blkid", "-p", "-o", "export", path});
    EXPECT_THAT(output.out, HasSubstr("\nLABEL=cidata\n"));
    EXPECT_THAT(output.out, HasSubstr("TYPE=iso9660"));
}

TEST_F(IsoTools, IsoinfoDescribesTheVolume) {
    const auto output = run({"isoinfo", "-d", "-i", write(2, test::random_iso_tree(2))});
    EXPECT_THAT(output.out, HasSubstr("Volume id: cidata\n"));
    EXPECT_THAT(output.out, HasSubstr("Joliet with UCS level 3 found"));
    EXPECT_THAT(output.out, HasSubstr("Rock Ridge signatures version 1 found"));
}

}  // namespace
}  // namespace noxsup::imaging::iso9660
