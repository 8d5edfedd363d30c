#include "supervisor/vm/usage.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace noxsup::vm {
namespace {

TEST(ParseCpuSeconds, AddsUserAndSystemTimeBehindAnyName) {
    const std::string rest = " S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0";
    EXPECT_EQ(parse_cpu_seconds("42 (qemu-system-aar)" + rest, 100), 4.0);
    EXPECT_EQ(parse_cpu_seconds("42 (a ) b) c)" + rest, 100), 4.0);
    EXPECT_EQ(parse_cpu_seconds("", 100), std::nullopt);
    EXPECT_EQ(parse_cpu_seconds("42 (short) S 1 2", 100), std::nullopt);
    EXPECT_EQ(parse_cpu_seconds("42 (x) S 1 2 3 4 5 6 7 8 9 10 a b", 100), std::nullopt);
    EXPECT_EQ(parse_cpu_seconds("42 (x)" + rest, 0), std::nullopt);
}

constexpr std::string_view smaps =
    "55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 12 /usr/bin/qemu-system-x86_64\n"
    "Size:               1024 kB\n"
    "Pss:                 500 kB\n"
    "Pss_Dirty:             3 kB\n"
    "7f0000000000-7f0008000000 rw-p 00000000 00:00 0\n"
    "Size:             131072 kB\n"
    "Pss:               90000 kB\n"
    "VmFlags: rd wr mr mw me ac\n"
    "7f0008001000-7f0008101000 rw-p 00000000 00:00 0 [heap]\n"
    "Pss:                  12 kB\n";

TEST(ParseMemory, TellsTheGuestsRamByItsSize) {
    const auto use = parse_memory(smaps, 128ULL << 20);
    EXPECT_EQ(use.bytes, 90512ULL * 1024);
    EXPECT_EQ(use.guest, 90000ULL * 1024);
}

TEST(ParseMemory, ClaimsNoRamWhereNoMappingIsIt) {
    EXPECT_EQ(parse_memory(smaps, 64ULL << 20).guest, std::nullopt);
    EXPECT_EQ(parse_memory("", 64ULL << 20), MemoryUse());
    EXPECT_EQ(parse_memory("Pss: x kB\n-\n7-\nzz-zz rw\n", 0), MemoryUse());
}

TEST(ParseDisk, TakesWhatReachedTheStorage) {
    EXPECT_EQ(parse_disk("rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 8192\n"
                         "cancelled_write_bytes: 5\n"),
              (Transferred{4096, 8192}));
    EXPECT_EQ(parse_disk("read_bytes: 4096\n"), std::nullopt);
    EXPECT_EQ(parse_disk(""), std::nullopt);
}

TEST(ReadUsage, LooksAtARealProcess) {
    const auto usage = read_usage({::getpid(), 1, {}});
    ASSERT_TRUE(usage) << usage.error().message;
    EXPECT_GT(usage->memory.bytes, 1U << 20);
    EXPECT_EQ(usage->network, std::nullopt);
    EXPECT_GT(read_usage({::getpid(), 1, {"lo", "no-such"}})->network.has_value(), 0);
    // Beyond any pid_max.
    EXPECT_FALSE(read_usage({1 << 30, 1, {}}));
}

TEST(UsageJson, LeavesOutWhatIsNotKnown) {
    Usage usage;
    usage.cpu_seconds = 1.5;
    usage.memory = {1000, 600};
    EXPECT_EQ(to_json(usage), (Json{{"cpu_seconds", 1.5},
                                    {"memory_bytes", 1000},
                                    {"guest_bytes", 600},
                                    {"overhead_bytes", 400}}));
    usage.memory.guest.reset();
    usage.disk = Transferred{1, 2};
    usage.network = Transferred{3, 4};
    EXPECT_EQ(to_json(usage), (Json{{"cpu_seconds", 1.5},
                                    {"memory_bytes", 1000},
                                    {"read_bytes", 1},
                                    {"written_bytes", 2},
                                    {"received_bytes", 3},
                                    {"sent_bytes", 4}}));
}

}  // namespace
}  // namespace noxsup::vm
