// A template's RAM: files of the kernel's and real QEMUs, paused.
#include "supervisor/launch/template_ram.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "supervisor/base/landlock.hpp"
#include "supervisor/launch/sealed_memory.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;

constexpr std::uint64_t ram_bytes = 64 * spec::mebibyte;

std::string bytes_at(int fd, off_t position, std::size_t count) {
    std::string bytes(count, '?');
    EXPECT_EQ(::pread(fd, bytes.data(), count, position), static_cast<ssize_t>(count));
    return bytes;
}

std::uint64_t allocated(int fd) {
    struct stat info {};
    EXPECT_EQ(::fstat(fd, &info), 0);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

TEST(TemplateRam, SurvivesTheDiskAndTakesWhatWasTouched) {
    const test::TempDir dir;
    const auto ram = make_template_ram(ram_bytes);
    ASSERT_TRUE(ram);
    const std::string word = "touched";
    constexpr off_t far_place = 40 * 1024 * 1024 + 17;
    ASSERT_EQ(::pwrite(ram->get(), word.data(), word.size(), far_place), 7);
    const std::string zeros(1 << 20, '\0');
    ASSERT_EQ(::pwrite(ram->get(), zeros.data(), zeros.size(), 0), 1 << 20);
    ASSERT_TRUE(seal_memory_file(ram->get()));
    ASSERT_TRUE(store_template_ram(ram->get(), dir / "ram"));

    struct stat info {};
    ASSERT_EQ(::stat((dir / "ram").c_str(), &info), 0);
    EXPECT_EQ(info.st_size, static_cast<off_t>(ram_bytes));
    EXPECT_EQ(info.st_mode & 07777, 0444U);
    EXPECT_LT(info.st_blocks * 512, 256 * 1024) << "pages of zeros are holes";
    const auto loading = begin_template_ram(dir / "ram", ram_bytes);
    ASSERT_TRUE(loading) << loading.error().message;
    EXPECT_EQ(allocated(loading->copy.get()), 0U);
    ASSERT_TRUE(fill_template_ram(*loading));
    EXPECT_EQ(bytes_at(loading->copy.get(), far_place, word.size()), word);
    EXPECT_LT(allocated(loading->copy.get()), 256U * 1024);
    EXPECT_EQ(::pwrite(loading->copy.get(), "x", 1, 0), -1) << "it is sealed";
}

TEST(TemplateRam, IsFilledByAllProcessorsWithEveryPageInItsPlace) {
    const test::TempDir dir;
    const auto ram = make_template_ram(ram_bytes + 4096);
    ASSERT_TRUE(ram);
    std::vector<std::uint32_t> words((ram_bytes + 4096) / sizeof(std::uint32_t));
    for (std::size_t i = 0; i < words.size(); ++i)
        words[i] = static_cast<std::uint32_t>(i % 5 == 0 ? 0 : i);
    const auto whole = static_cast<ssize_t>(words.size() * sizeof(std::uint32_t));
    ASSERT_EQ(::pwrite(ram->get(), words.data(), static_cast<std::size_t>(whole), 0), whole);
    ASSERT_TRUE(store_template_ram(ram->get(), dir / "ram"));
    const auto loading = begin_template_ram(dir / "ram", ram_bytes + 4096);
    ASSERT_TRUE(loading) << loading.error().message;
    ASSERT_TRUE(fill_template_ram(*loading));
    std::vector<std::uint32_t> copy(words.size());
    ASSERT_EQ(::pread(loading->copy.get(), copy.data(), static_cast<std::size_t>(whole), 0), whole);
    EXPECT_TRUE(copy == words);
}

TEST(TemplateRam, OfASealedOneOnlyCopiesOfPagesAreWritten) {
    const auto ram = make_template_ram(ram_bytes);
    ASSERT_TRUE(ram);
    ASSERT_TRUE(seal_memory_file(ram->get()));
    EXPECT_EQ(::pwrite(ram->get(), "x", 1, 0), -1);
    EXPECT_EQ(::ftruncate(ram->get(), 0), -1);
    EXPECT_EQ(::fallocate(ram->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ram->get(), 0), MAP_FAILED);
    // As a QEMU before 8.2 opens and maps it.
    const UniqueFd again(
        ::open(("/proc/self/fd/" + std::to_string(ram->get())).c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(again);
    auto* page = static_cast<char*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, again.get(), 0));
    ASSERT_NE(page, MAP_FAILED);
    page[0] = 'x';
    EXPECT_EQ(bytes_at(ram->get(), 0, 1)[0], '\0');
    ::munmap(page, 4096);
}

TEST(TemplateRam, IsNotSealedWhileItsMachineRuns) {
    const auto ram = make_template_ram(4096);
    ASSERT_TRUE(ram);
    auto* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ram->get(), 0);
    ASSERT_NE(page, MAP_FAILED);
    EXPECT_FALSE(seal_memory_file(ram->get()));
    ::munmap(page, 4096);
    EXPECT_TRUE(seal_memory_file(ram->get()));
}

TEST(TemplateRam, AFileThatIsInTheWayStaysAndOneOfAnotherSizeIsRefused) {
    const test::TempDir dir;
    const auto ram = make_template_ram(4096);
    ASSERT_TRUE(ram);
    const auto other = dir.write("ram", "other");
    EXPECT_FALSE(store_template_ram(ram->get(), other));
    EXPECT_EQ(test::slurp(other), "other");
    EXPECT_EQ(begin_template_ram(other, 4096).error().code, ErrorCode::unreadable_file);
    EXPECT_FALSE(begin_template_ram(dir / "absent", 4096));
}

/// Real QEMUs with all that confines them, under an own uid where this process is root.
class TemplateMachine : public test::QemuTest, public testing::WithParamInterface<Arch> {
  protected:
    StartRequest request(int ram, bool shared) {
        auto spec = test::sample_kernel_spec(GetParam());
        spec.memory_bytes = ram_bytes;
        spec.networks[0].ssh_port = 0;
        spec.networks[0].restricted = true;
        spec.warm_template = "3f2a9c41";
        auto request = make_request(spec);
        request.ram_file = {ram, shared};
        if (!shared) request.ram = Ram::incoming;
        auto plan = plan_confinement(spec, own_uid(), {});
        if (!plan) throw std::runtime_error(plan.error().message);
        request.confinement = *plan;
        request.confinement.landlock = landlock_abi();
        return request;
    }
    /// The word that the guest has at `place` of its RAM.
    static std::string word_of_guest(test::QmpPeer& qmp) {
        const std::uint64_t base = GetParam() == Arch::arm64 ? 0x40000000 : 0;
        return qmp.execute("human-monitor-command",
                           {{"command-line", "xp /1xw " + std::to_string(base + place)}});
    }
    static void leave_ram_out(test::QmpPeer& qmp) {
        const Json capability{{"capability", "x-ignore-shared"}, {"state", true}};
        qmp.execute("migrate-set-capabilities", {{"capabilities", Json::array({capability})}});
    }
    /// Beyond what QEMU loads for a boot.
    static constexpr std::uint64_t place = std::uint64_t{56} << 20;
};

INSTANTIATE_TEST_SUITE_P(Architectures, TemplateMachine, testing::Values(Arch::arm64, Arch::amd64),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST_P(TemplateMachine, HasTheFileForItsRam) {
    for (const bool shared : {true, false}) {
        const auto ram = make_template_ram(ram_bytes);
        ASSERT_TRUE(ram);
        ASSERT_EQ(::pwrite(ram->get(), "\x78\x56\x34\x12", 4, place), 4);
        if (!shared) {
            ASSERT_TRUE(seal_memory_file(ram->get()));
        }
        const auto wanted = request(ram->get(), shared);
        auto qemu = start(wanted);
        auto qmp = talk(qemu, wanted);
        ASSERT_TRUE(qmp) << qmp.error().message;
        leave_ram_out(**qmp);
        EXPECT_THAT(word_of_guest(**qmp), testing::HasSubstr("0x12345678"));
        EXPECT_THAT(qemu.last_words(), testing::IsEmpty());
        std::filesystem::remove_all(wanted.files.disk);
        std::filesystem::remove_all(wanted.files.base);
    }
}

/// KiB of its RAM that a process has pages of its own of.
std::uint64_t own_kib_of(pid_t pid, const std::string& file) {
    std::ifstream maps("/proc/" + std::to_string(pid) + "/smaps");
    std::uint64_t sum = 0;
    bool found = false;
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find('-') < line.find(' ') && line.find(':') > line.find(' ')) {
            inside = line.find(file) != line.npos;
            found = found || inside;
        }
        if (inside && line.starts_with("Anonymous:")) sum += std::stoull(line.substr(10));
    }
    EXPECT_TRUE(found);
    return sum;
}

TEST_P(TemplateMachine, TouchesNoneOfItBeforeItsStreamComes) {
    const auto ram = make_template_ram(ram_bytes);
    ASSERT_TRUE(ram);
    const auto wanted = request(ram->get(), false);
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    leave_ram_out(**qmp);
    EXPECT_EQ(own_kib_of(qemu.identity().pid, "memfd:noxsup-template"), 0U);
    // What comes into the file now is what its guest has.
    ASSERT_EQ(::pwrite(ram->get(), "\x78\x56\x34\x12", 4, place), 4);
    ASSERT_EQ(::pwrite(ram->get(), "\x78\x56\x34\x12", 4, 0), 4);
    ASSERT_TRUE(seal_memory_file(ram->get()));
    EXPECT_THAT(word_of_guest(**qmp), testing::HasSubstr("0x12345678"));
    EXPECT_EQ(own_kib_of(qemu.identity().pid, "memfd:noxsup-template"), 0U);
}

}  // namespace
}  // namespace noxsup::launch
