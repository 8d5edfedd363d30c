#include "imaging/partitions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace noxsup::imaging {
namespace {

using testing::ElementsAre;

/// The start of a disk of 1 MiB.
class Disk {
  public:
    static constexpr std::uint64_t bytes = std::uint64_t{1} << 20;

    Disk() : data_(bytes) {
        put(512, "EFI PART");
        number(512 + 72, 2, 8);
        number(512 + 80, 128, 4);
        number(512 + 84, 128, 4);
    }
    void put(std::size_t at, std::string_view text) {
        std::ranges::transform(text, data_.begin() + static_cast<std::ptrdiff_t>(at),
                               [](char c) { return static_cast<std::byte>(c); });
    }
    void number(std::size_t at, std::uint64_t value, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i)
            data_.at(at + i) = static_cast<std::byte>(value >> (8 * i));
    }
    void entry(std::size_t index, std::uint64_t first, std::uint64_t last) {
        const auto at = 1024 + index * 128;
        put(at, "type-of-16-bytes");
        number(at + 32, first, 8);
        number(at + 40, last, 8);
    }
    [[nodiscard]] Result<std::vector<Partition>> read(std::uint64_t disk_bytes = bytes) const {
        return read_partitions(
            [this](std::uint64_t offset, std::span<std::byte> out) -> Result<> {
                for (auto& byte : out)
                    byte = offset < data_.size() ? data_[offset] : std::byte{0}, ++offset;
                return {};
            },
            disk_bytes);
    }

  private:
    std::vector<std::byte> data_;
};

TEST(Partitions, AreGivenInTheTablesOrder) {
    Disk disk;
    disk.entry(0, 1000, 1999);
    disk.entry(14, 40, 99);
    const auto found = disk.read();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_THAT(*found,
                ElementsAre(Partition{1000 * 512, 1000 * 512}, Partition{40 * 512, 60 * 512}));
}

TEST(Partitions, OutsideTheDiskAreLeftOut) {
    Disk disk;
    disk.entry(0, 10, 9);
    disk.entry(1, 100, 5000);
    disk.entry(2, ~std::uint64_t{0} - 5, ~std::uint64_t{0});
    disk.entry(3, 40, 2047);
    const auto found = disk.read();
    ASSERT_TRUE(found);
    EXPECT_THAT(*found, ElementsAre(Partition{40 * 512, 2008 * 512}));
}

TEST(Partitions, OfATableThatCannotBeAreAnError) {
    const auto refuses = [](std::size_t at, std::uint64_t value, std::size_t size) {
        Disk disk;
        disk.number(at, value, size);
        const auto found = disk.read();
        return !found && found.error().code == ErrorCode::image_invalid;
    };
    EXPECT_TRUE(refuses(512, 0, 8));
    EXPECT_TRUE(refuses(512 + 72, ~std::uint64_t{0}, 8));
    EXPECT_TRUE(refuses(512 + 80, 0xffffffff, 4));
    EXPECT_TRUE(refuses(512 + 84, 1, 4));
    EXPECT_TRUE(refuses(512 + 84, 0xffffff80, 4));
}

}  // namespace
}  // namespace noxsup::imaging
