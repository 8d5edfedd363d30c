// The rights of a real QEMU as the kernel tells them: in each thread, and by its limits.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <map>
#include <sstream>

#include "supervisor/base/text.hpp"
#include "tests/component/supervisor/launch/qemu_fixture.hpp"

namespace noxsup::launch {
namespace {

using spec::Arch;
using testing::HasSubstr;
using testing::IsEmpty;

/// "Key:\tvalue" lines; blanks inside a value become one space.
std::map<std::string, std::string> read_status(const std::filesystem::path& path) {
    std::map<std::string, std::string> status;
    for (const auto& line : split(test::slurp(path), '\n')) {
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        std::istringstream words(line.substr(colon + 1));
        std::string value;
        for (std::string word; words >> word;) value += (value.empty() ? "" : " ") + word;
        status[line.substr(0, colon)] = value;
    }
    return status;
}

class ConfinementTest : public test::QemuTest, public testing::WithParamInterface<Arch> {
  protected:
    StartRequest request() {
        auto spec = test::sample_kernel_spec(GetParam());
        spec.memory_bytes = 128 * spec::mebibyte;
        spec.networks[0].ssh_port = 0;
        return make_request(spec);
    }
};

INSTANTIATE_TEST_SUITE_P(Architectures, ConfinementTest, testing::Values(Arch::arm64, Arch::amd64),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST_P(ConfinementTest, EveryThreadIsWithoutRights) {
    const auto wanted = request();
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    (*qmp)->execute("cont");
    const auto tasks = "/proc/" + std::to_string(qemu.identity().pid) + "/task";
    int threads = 0;
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
        auto status = read_status(task.path() / "status");
        SCOPED_TRACE(status["Name"]);
        EXPECT_EQ(status["NoNewPrivs"], "1");
        EXPECT_EQ(status["Seccomp"], "2");
        const std::string none(16, '0');
        for (const auto* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
            EXPECT_EQ(status[set], none) << set;
        }
        if (own_uid()) {
            const auto uid = std::to_string(*own_uid());
            const auto four = uid + " " + uid + " " + uid + " " + uid;
            EXPECT_EQ(status["CapBnd"], none);
            EXPECT_EQ(status["Uid"], four);
            EXPECT_EQ(status["Gid"], four);
            EXPECT_EQ(status["Groups"], "");
        }
        ++threads;
    }
    EXPECT_GE(threads, 3) << "the main loop, RCU and a vCPU at the least";
}

TEST_P(ConfinementTest, ItsLimitsAreThePlans) {
    const auto wanted = request();
    auto qemu = start(wanted);
    ASSERT_TRUE(talk(qemu, wanted));
    std::map<std::string, std::string> limits;
    const auto text = test::slurp("/proc/" + std::to_string(qemu.identity().pid) + "/limits");
    for (const auto& line : split(text, '\n')) {
        if (line.size() > 26) limits[std::string(trim(line.substr(0, 26)))] = line.substr(26);
    }
    const auto hard_and_soft = [](std::uint64_t value) {
        std::ostringstream columns;
        columns.width(21);
        columns << std::left << value;
        return columns.str() + std::to_string(value);
    };
    const auto& plan = wanted.confinement;
    EXPECT_THAT(limits["Max core file size"], testing::StartsWith(hard_and_soft(0)));
    EXPECT_THAT(limits["Max open files"], testing::StartsWith(hard_and_soft(*plan.max_open_files)));
    EXPECT_THAT(limits["Max file size"], testing::StartsWith(hard_and_soft(*plan.max_file_bytes)));
    if (own_uid()) {
        EXPECT_THAT(limits["Max processes"], testing::StartsWith(hard_and_soft(*plan.max_tasks)));
    }
}

TEST_P(ConfinementTest, AKernelThatOnlyRootReadsIsLoaded) {
    const auto wanted = request();
    for (const auto& path : {wanted.files.kernel, wanted.files.initrd}) {
        ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    }
    auto qemu = start(wanted);
    auto qmp = talk(qemu, wanted);
    ASSERT_TRUE(qmp) << qmp.error().message;
    EXPECT_THAT(qemu.last_words(), IsEmpty());
}

TEST(FileLimitTest, AFullDiskFitsWithItsTables) {
    const test::TempDir dir;
    auto spec = test::sample_spec();
    spec.disk.virtual_bytes = std::uint64_t{16} << 30;
    const auto disk = dir / "full.qcow2";
    const auto made = std::system(
        ("qemu-img create -q -f qcow2 -o preallocation=metadata " + disk.string() + " 16G")
            .c_str());
    ASSERT_EQ(made, 0);
    const auto plan = plan_confinement(spec, std::nullopt, std::nullopt);
    const auto full = std::filesystem::file_size(disk);
    EXPECT_GT(full, spec.disk.virtual_bytes);
    EXPECT_GT(*plan->max_file_bytes - spec.memory_bytes, full);
}

}  // namespace
}  // namespace noxsup::launch
