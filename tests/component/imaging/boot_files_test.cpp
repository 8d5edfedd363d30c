// Kernels taken out of disks as the vendors make them, with the real worker, qemu-img and mke2fs.
#include "imaging/boot_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "imaging/cpio.hpp"
#include "imaging/qcow2_disk.hpp"
#include "imaging/worker_client.hpp"
#include "supervisor/base/file.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t limit = std::size_t{64} << 20;

/// Begins as the kernels of an architecture do (offsets of their boot protocols).
std::string kernel_text(const std::string& arch, const std::string& rest) {
    std::string text(0x300, '\0');
    if (arch == "amd64") text.replace(0x202, 4, "HdrS");
    if (arch == "arm64") text.replace(0x38, 4, "ARM\x64");
    return text + rest;
}

class BootFilesTest : public testing::Test {
  protected:
    BootFilesTest() { fs::create_directories(tree()); }

    [[nodiscard]] fs::path tree() const { return dir_ / "tree"; }

    void put(const std::string& path, const std::string& text) const {
        fs::create_directories((tree() / path).parent_path());
        std::ofstream(tree() / path, std::ios::binary) << text;
    }
    void put_menu(const std::string& version) const {
        put("boot/grub/grub.cfg", "set default=\"0\"\nmenuentry 'a' {\n linux /boot/vmlinuz-" +
                                      version + " root=/dev/vda1 ro\n initrd /boot/initrd-" +
                                      version + "\n}\n");
    }
    /// What a Debian has.
    void put_system(const std::string& arch = "arm64") const {
        put_menu("1");
        put("boot/vmlinuz-1", kernel_text(arch, std::string(3 << 20, 'k')));
        put("boot/initrd-1", std::string(5'000'001, 'i'));
        put("usr/share/initramfs-tools/init", "");
        put("usr/lib/systemd/systemd", "");
    }
    std::string run(std::vector<std::string> argv) {
        Command command;
        command.argv = std::move(argv);
        const auto output = test::run_async(context_, runner_.run(std::move(command)));
        EXPECT_TRUE(output && output->status.exit_code == 0)
            << (output ? output->err : output.error().message);
        return output ? output->out : std::string();
    }
    /// A qcow2 of a disk with a partition table whose first partition is the tree.
    fs::path make_disk(const std::string& name, const std::string& options = "") {
        const auto raw = (dir_ / (name + ".raw")).string();
        const auto disk = dir_ / (name + ".qcow2");
        fs::remove(raw);
        run({"truncate", "-s", "64M", raw});
        run({"/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree().string(), "-E", "offset=2097152",
             "-F", raw, "60M"});
        // Last, for mke2fs wipes the start of the file.
        run({"/usr/sbin/sgdisk", "-n", "15:2048:+1M", "-t", "15:ef00", "-n", "1:4096:0", raw});
        std::vector<std::string> convert{"qemu-img", "convert", "-f", "raw", "-O", "qcow2"};
        if (!options.empty()) convert.push_back(options);
        convert.push_back(raw);
        convert.push_back(disk.string());
        run(convert);
        return disk;
    }
    /// An image in the store, "x", of such a disk.
    Image make_image() {
        EXPECT_TRUE(store_.prepare());
        fs::copy_file(make_disk("image"), store_.new_path("x"));
        Image image;
        image.digest = std::string(64, 'a');
        image.origin = ImageOrigin::import;
        const auto adopted = store_.adopt(store_.new_path("x"), image, "x");
        EXPECT_TRUE(adopted) << adopted.error().message;
        return *adopted;
    }
    BootQuery query(const fs::path& disk) const {
        BootQuery query;
        query.disk = disk;
        query.directory = dir_ / "boot";
        query.arch = "arm64";
        return query;
    }
    Result<BootLook> look(const BootQuery& query) {
        return test::run_async(context_, files_.of_disk(query));
    }
    std::string why_not(const BootQuery& query) {
        const auto found = look(query);
        if (!found) return "error: " + found.error().message;
        return found->direct ? "it is taken" : found->why_not;
    }
    std::string read(const fs::path& file) {
        const auto text = read_file(file, limit);
        EXPECT_TRUE(text) << text.error().message;
        return text ? *text : std::string();
    }

    test::TempDir dir_;
    boost::asio::io_context context_;
    ProcessRunner runner_;
    WorkerClient worker_{runner_};
    ImageStore store_{dir_ / "images"};
    const std::string extra_ = make_cpio({{"conf/conf.d/x", "echo\n"}, {"scripts/x", "a", 0755}});
    BootFiles files_{store_, worker_, extra_};
};

TEST_F(BootFilesTest, AreWhatTheMenuNames) {
    put_system();
    for (const auto* options : {"", "-c"}) {
        const auto disk = make_disk("disk", options);
        const auto found = look(query(disk));
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_TRUE(found->direct) << found->why_not;
        EXPECT_EQ(found->direct->kernel_name, "/boot/vmlinuz-1");
        EXPECT_EQ(found->direct->command_line, "root=/dev/vda1 ro console=ttyAMA0");
        EXPECT_EQ(read(dir_ / "boot/kernel"), kernel_text("arm64", std::string(3 << 20, 'k')));
        const auto initrd = read(dir_ / "boot/initrd");
        EXPECT_EQ(initrd, std::string(5'000'001, 'i') + std::string(3, '\0') + extra_);
        struct stat info {};
        ASSERT_EQ(::stat((dir_ / "boot/initrd").c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777, 0444U);
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(dir_ / "boot"))
            names.push_back(entry.path().filename());
        std::ranges::sort(names);
        EXPECT_THAT(names, ElementsAre("initrd", "kernel"));
    }
}

TEST_F(BootFilesTest, AreCopiedOnlyWhereTheDiskHasOthers) {
    put_system();
    auto wanted = query(make_disk("disk"));
    const auto first = look(wanted);
    ASSERT_TRUE(first && first->direct);
    wanted.known = first->direct->source;
    wanted.directory = dir_ / "again";
    const auto second = look(wanted);
    ASSERT_TRUE(second && second->direct);
    EXPECT_EQ(second->direct, first->direct);
    EXPECT_FALSE(fs::exists(dir_ / "again/kernel"));

    put_menu("2");
    put("boot/vmlinuz-2", kernel_text("arm64", "new"));
    put("boot/initrd-2", "new");
    wanted.disk = make_disk("other");
    const auto third = look(wanted);
    ASSERT_TRUE(third && third->direct);
    EXPECT_EQ(third->direct->kernel_name, "/boot/vmlinuz-2");
    EXPECT_NE(third->direct->source, first->direct->source);
    EXPECT_EQ(read(dir_ / "again/kernel"), kernel_text("arm64", "new"));
}

TEST_F(BootFilesTest, OfAnOverlayAreWhatItsGuestHasWritten) {
    put_system();
    const auto base = make_disk("base");
    put_menu("2");
    put("boot/vmlinuz-2", kernel_text("arm64", "new"));
    put("boot/initrd-2", "new");
    const auto changed = make_disk("changed");
    // The overlay that holds just what is different.
    const auto overlay = dir_ / "overlay.qcow2";
    run({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", changed.string(),
         overlay.string()});
    run({"qemu-img", "rebase", "-f", "qcow2", "-F", "qcow2", "-b", base.string(),
         overlay.string()});
    auto wanted = query(overlay);
    wanted.base = base;
    const auto found = look(wanted);
    ASSERT_TRUE(found && found->direct) << (found ? found->why_not : found.error().message);
    EXPECT_EQ(found->direct->kernel_name, "/boot/vmlinuz-2");
    EXPECT_EQ(read(dir_ / "boot/kernel"), kernel_text("arm64", "new"));
}

TEST_F(BootFilesTest, AreNotTakenWhereTheDiskDoesNotAllowIt) {
    put_system("amd64");
    EXPECT_THAT(why_not(query(make_disk("arch"))), HasSubstr("kernel is none that QEMU loads"));
    put_system();
    fs::remove_all(tree() / "usr/share/initramfs-tools");
    EXPECT_THAT(why_not(query(make_disk("tools"))), HasSubstr("initramfs-tools"));
    put_system();
    fs::remove(tree() / "boot/initrd-1");
    EXPECT_THAT(why_not(query(make_disk("initrd"))), HasSubstr("no readable /boot/initrd-1"));
    fs::create_symlink("initrd-1", tree() / "boot/initrd-1");
    EXPECT_THAT(why_not(query(make_disk("loop"))), HasSubstr("no readable /boot/initrd-1"));
    fs::remove_all(tree() / "boot");
    EXPECT_THAT(why_not(query(make_disk("menu"))), HasSubstr("no ext4 file system with"));
    run({"qemu-img", "create", "-q", "-f", "qcow2", (dir_ / "empty.qcow2").string(), "64M"});
    EXPECT_THAT(why_not(query(dir_ / "empty.qcow2")), HasSubstr("no GUID partition table"));
    EXPECT_FALSE(fs::exists(dir_ / "boot/kernel"));
}

TEST_F(BootFilesTest, OfADamagedDiskAreNoneAndNothingWorse) {
    put_system();
    const auto disk = make_disk("disk");
    const auto whole = read(disk);
    // Every table of the image and of the file system is hit somewhere.
    for (std::size_t at = 0; at < std::min<std::size_t>(whole.size(), 6 << 20); at += 61'001) {
        auto damaged = whole;
        for (std::size_t i = at; i < std::min(at + 512, damaged.size()); ++i)
            damaged[i] = static_cast<char>(~damaged[i]);
        std::ofstream(dir_ / "damaged.qcow2", std::ios::binary) << damaged;
        const auto found = look(query(dir_ / "damaged.qcow2"));
        ASSERT_TRUE(found) << "at " << at << ": " << found.error().message;
    }
}

TEST_F(BootFilesTest, OfADiskThatEndsTheWorkerAreNone) {
    put_system();
    std::ofstream(dir_ / "worker") << "#!/bin/sh\nkill -SEGV $$\n";
    fs::permissions(dir_ / "worker", fs::perms::owner_all);
    WorkerClient fallen(runner_, dir_ / "worker");
    BootFiles files(store_, fallen, "");
    const auto found = test::run_async(context_, files.of_disk(query(make_disk("disk"))));
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_FALSE(found->direct);
    EXPECT_THAT(found->why_not, HasSubstr("signal"));
}

TEST_F(BootFilesTest, OfAnImageAreMadeOnceAndGoWithIt) {
    put_system();
    const auto image = make_image();
    const auto of_image = [&](BootFiles& files) {
        return test::run_async(context_, files.of_image(image, "arm64"));
    };
    const auto first = of_image(files_);
    ASSERT_TRUE(first && first->direct) << (first ? first->why_not : first.error().message);
    const auto directory = files_.image_directory(image.digest);
    const auto made = fs::last_write_time(directory / "boot.json");
    ASSERT_TRUE(of_image(files_));
    EXPECT_EQ(fs::last_write_time(directory / "boot.json"), made);

    // Another version of what is put behind the RAM disk, or files that are gone: made anew.
    BootFiles newer(store_, worker_, make_cpio({{"y", ""}}));
    ASSERT_TRUE(of_image(newer));
    EXPECT_THAT(read(directory / "initrd"), testing::Not(HasSubstr("conf/conf.d/x")));
    fs::remove(directory / "kernel");
    const auto again = of_image(newer);
    ASSERT_TRUE(again && again->direct);
    EXPECT_TRUE(fs::exists(directory / "kernel"));

    ASSERT_TRUE(store_.remove("x", {}));
    EXPECT_FALSE(fs::exists(directory));
}

TEST_F(BootFilesTest, ThatAnImageHasNoneIsKeptToo) {
    put("etc/hostname", "a");
    const auto image = make_image();
    for (int i = 0; i < 2; ++i) {
        const auto found = test::run_async(context_, files_.of_image(image, "arm64"));
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_FALSE(found->direct);
        EXPECT_THAT(found->why_not, HasSubstr("no ext4 file system with"));
    }
}

TEST_F(BootFilesTest, TheExtraArchiveIsOneThatCpioReads) {
    std::ofstream(dir_ / "extra.cpio", std::ios::binary) << extra_;
    const auto listed = run({"sh", "-c", "cpio --quiet -tv <" + (dir_ / "extra.cpio").string()});
    EXPECT_THAT(listed, HasSubstr("drwxr-xr-x   2 root     root            0"));
    EXPECT_THAT(listed, HasSubstr("conf/conf.d/x"));
    EXPECT_THAT(listed, HasSubstr("-rwxr-xr-x   1 root     root            1"));
}

TEST_F(BootFilesTest, AQcow2IsReadAsQemuImgReadsIt) {
    const auto base = (dir_ / "base.qcow2").string();
    const auto packed = (dir_ / "packed.qcow2").string();
    const auto disk = (dir_ / "disk.qcow2").string();
    run({"qemu-img", "create", "-q", "-f", "qcow2", base, "8M"});
    run({"qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 3M", "-c", "write -q -P 2 3100k 7k",
         base});
    run({"qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-c", base, packed});
    run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-F", "qcow2", "-b",
         packed, disk, "12M"});
    run({"qemu-io", "-f", "qcow2", "-c", "write -q -P 3 100k 9k", "-c", "write -q -z 1M 64k", "-c",
         "write -q -P 4 11M 1M", disk});
    run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, (dir_ / "raw").string()});
    const auto top = open_file(disk, O_RDONLY);
    const auto below = open_file(packed, O_RDONLY);
    ASSERT_TRUE(top && below);
    const std::vector<int> chain{top->get(), below->get()};
    auto opened = Qcow2Disk::open(chain);
    ASSERT_TRUE(opened) << opened.error().message;
    ASSERT_EQ(opened->size(), std::uint64_t{12} << 20);
    std::string mine(opened->size(), '?');
    for (std::size_t at = 0; at < mine.size(); at += 100'003) {
        const auto piece =
            std::span(mine).subspan(at, std::min<std::size_t>(100'003, mine.size() - at));
        const auto done = opened->read(at, std::as_writable_bytes(piece));
        ASSERT_TRUE(done) << done.error().message;
    }
    EXPECT_TRUE(mine == read(dir_ / "raw"));
}

}  // namespace
}  // namespace noxsup::imaging
