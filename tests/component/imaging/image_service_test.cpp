// From a mirror on loopback, a build script or a file into the store: right, or nothing at a final
// name.
#include "imaging/image_service.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <mutex>

#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "tests/support/fault_http_server.hpp"
#include "tests/support/hostile_images.hpp"
#include "tests/support/image_test.hpp"

namespace noxsup::imaging {
namespace {

using namespace std::chrono_literals;
using test::FaultHttpServer;
using test::HttpExchange;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr auto image_path = "/trixie/latest/debian-13-genericcloud-arm64.qcow2";

/// The service on a home of its own, with a mirror that serves `vendor_` and a build script of the
/// test.
class ImageServiceTest : public test::ImageTest {
  protected:
    ImageServiceTest()
        : vendor_(test::honest_qcow2()), sums_(test::sha512_of(vendor_)), store_(dir_ / "images") {
        make_script("qemu-img create -q -f qcow2 \"$out\" 64M");
        rebuild();
    }

    /// The script's last argument but the options is `--output FILE`.
    void make_script(const std::string& work) {
        dir_.write("build",
                   "#!/bin/sh\necho 'stage packages' >&2\necho 'progress packages 1 3' >&2\n"
                   "while [ $# -gt 0 ]; do [ \"$1\" = --output ] && out=$2; shift; done\n" +
                       work + "\n");
        std::filesystem::permissions(dir_ / "build", std::filesystem::perms::owner_all);
    }
    void rebuild() {
        mirror_.base_url = server_.url("");
        catalog_ = std::make_unique<Catalog>(mirror_);
        BuilderConfig builder;
        builder.script = dir_ / "build";
        builder_ = std::make_unique<ImageBuilder>(runner_, builder);
        ServiceConfig config;
        config.max_download_bytes = 10'000'000;
        config.max_image_bytes = std::uint64_t{4} << 30;
        config.connect_timeout = 2s;
        config.stall_timeout = 1s;
        config.retry_delay = 10ms;
        service_ = std::make_unique<ImageService>(store_, *catalog_, worker_, *builder_, config);
    }
    /// What a test has set is the server's from here on. @pre before each call that may ask it
    void publish() { const std::lock_guard lock(serving_); }
    void serve(const HttpExchange& exchange) {
        const auto [vendor, sums] = [this] {
            const std::lock_guard lock(serving_);
            return std::pair(vendor_, sums_);
        }();
        const auto& target = exchange.request().target;
        if (down_) {
            exchange.reset();
        } else if (target == "/trixie/latest/SHA512SUMS") {
            const auto text = sums + "  debian-13-genericcloud-arm64.qcow2\n" +
                              std::string(128, '0') + "  other\n";
            exchange.respond(200, {"Content-Type: text/plain"}, text);
        } else if (target == image_path) {
            exchange.serve(vendor, "\"" + std::to_string(std::hash<std::string>()(vendor)) + "\"");
        } else {
            exchange.respond(404, {}, "no");
        }
    }
    Result<Image> ensure(ImagePolicy policy) {
        publish();
        return run(service_->ensure("debian", "arm64", policy, progress()));
    }
    Result<Image> build(const std::string& mirror = {}) {
        return run(service_->build("debian", "arm64", mirror, progress()));
    }
    Result<PullResult> pull() {
        publish();
        return run(service_->pull("debian", "arm64", progress()));
    }
    ProgressCallback progress() {
        return [this](const Progress& p) {
            stages_.push_back(p.stage);
            if (!p.note.empty()) notes_.push_back(p.note);
        };
    }
    Result<Image> import_file(const std::filesystem::path& file, const std::string& name = "mine",
                              bool raw = false) {
        const auto fd = open_file(file, O_RDONLY | O_NONBLOCK);
        ImportRequest request;
        request.fd = fd->get();
        request.source = file.string();
        request.name = name;
        request.accept_raw = raw;
        return run(service_->import(request, progress()));
    }
    std::vector<std::string> names() { return test::names_in(store_.directory()); }
    std::string vendor_file() { return "sha256-" + test::sha256_of(vendor_) + ".qcow2"; }
    std::string vendor_metadata() { return "sha256-" + test::sha256_of(vendor_) + ".json"; }

    std::mutex serving_;
    std::string vendor_;
    std::string sums_;
    std::atomic<bool> down_ = false;
    ImageStore store_;
    Mirror mirror_;
    FaultHttpServer server_{[this](const HttpExchange& exchange) { serve(exchange); }};
    std::unique_ptr<Catalog> catalog_;
    std::unique_ptr<ImageBuilder> builder_;
    std::unique_ptr<ImageService> service_;
    std::vector<std::string> stages_;
    std::vector<std::string> notes_;
};

TEST_F(ImageServiceTest, TheVendorsImageIsVerifiedAndKept) {
    const auto image = ensure(ImagePolicy::vendor_then_build);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->origin, ImageOrigin::vendor);
    EXPECT_EQ(image->digest, test::sha256_of(vendor_));
    EXPECT_EQ(image->vendor_sha512, test::sha512_of(vendor_));
    EXPECT_EQ(image->source, server_.url(image_path));
    EXPECT_EQ(image->virtual_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(image->release, "13");
    EXPECT_THAT(names(), ElementsAre("debian-13-arm64.qcow2", vendor_metadata(), vendor_file()));
    EXPECT_EQ(std::filesystem::read_symlink(store_.directory() / "debian-13-arm64.qcow2"),
              vendor_file());
    struct stat info {};
    ASSERT_EQ(::stat(image->path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0444U);
    EXPECT_EQ(info.st_uid, ::geteuid());
    EXPECT_TRUE(test::slurp(image->path) == vendor_);
    EXPECT_THAT(stages_, Contains("download"));
    EXPECT_THAT(stages_, Contains("verify"));
}

TEST_F(ImageServiceTest, WhatIsCachedCostsNoRequest) {
    ASSERT_TRUE(ensure(ImagePolicy::vendor_then_build));
    const auto before = server_.requests().size();
    for (const auto policy : {ImagePolicy::vendor_then_build, ImagePolicy::vendor_only,
                              ImagePolicy::build, ImagePolicy::cached_only}) {
        const auto again = ensure(policy);
        ASSERT_TRUE(again);
        EXPECT_EQ(again->digest, test::sha256_of(vendor_));
    }
    EXPECT_EQ(server_.requests().size(), before);
}

TEST_F(ImageServiceTest, CachedOnlyAsksNobody) {
    const auto image = ensure(ImagePolicy::cached_only);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::image_not_found);
    EXPECT_TRUE(server_.requests().empty());
}

TEST_F(ImageServiceTest, AWrongDigestLeavesNothing) {
    sums_ = std::string(128, 'a');
    const auto image = ensure(ImagePolicy::vendor_then_build);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::digest_mismatch);
    EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ImageServiceTest, ADamagedPartIsFetchedAgain) {
    ASSERT_TRUE(store_.prepare());
    const auto tag = "\"" + std::to_string(std::hash<std::string>()(vendor_)) + "\"";
    auto part = vendor_.substr(0, 100'000);
    part[70'000] = 'x';
    dir_.write("images/debian-13-arm64.part", part);
    Json state;
    state["url"] = server_.url(image_path);
    state["etag"] = tag;
    state["total"] = vendor_.size();
    dir_.write("images/debian-13-arm64.part.json", dump_json(state));
    const auto image = ensure(ImagePolicy::vendor_only);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_TRUE(test::slurp(image->path) == vendor_);
}

TEST_F(ImageServiceTest, AHostileVendorImageLeavesNothing) {
    test::put_be64(vendor_, 8, 1024);
    test::put_be32(vendor_, 16, 11);
    sums_ = test::sha512_of(vendor_);
    const auto image = ensure(ImagePolicy::vendor_then_build);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::image_hostile);
    EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ImageServiceTest, AnUnreachableVendorIsTypedOrBuilt) {
    down_ = true;
    const auto only = ensure(ImagePolicy::vendor_only);
    ASSERT_FALSE(only);
    EXPECT_EQ(only.error().code, ErrorCode::vendor_unreachable);
    EXPECT_THAT(only.error().hint, HasSubstr("noxsup image build debian"));
    EXPECT_THAT(names(), IsEmpty());

    const auto built = ensure(ImagePolicy::vendor_then_build);
    ASSERT_TRUE(built) << built.error().message;
    EXPECT_EQ(built->origin, ImageOrigin::built);
    EXPECT_EQ(built->virtual_bytes, std::uint64_t{64} << 20);
    EXPECT_THAT(stages_, Contains("build/packages"));
    EXPECT_THAT(notes_, Contains(HasSubstr("cannot be reached")));
}

TEST_F(ImageServiceTest, APullReplacesABuiltImageForNewVmsOnly) {
    const auto built = build();
    ASSERT_TRUE(built);
    const auto pulled = pull();
    ASSERT_TRUE(pulled) << pulled.error().message;
    EXPECT_TRUE(pulled->downloaded);
    EXPECT_EQ(pulled->replaced, built->digest);
    EXPECT_EQ(store_.find("debian-13-arm64")->origin, ImageOrigin::vendor);
    EXPECT_TRUE(std::filesystem::exists(built->path)) << "overlays may stand on it";
    const auto again = pull();
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->downloaded);
    EXPECT_EQ(again->replaced, std::nullopt);
}

TEST_F(ImageServiceTest, PullsSideBySideAreOne) {
    namespace asio = boost::asio;
    using asio::experimental::awaitable_operators::operator&&;
    const auto both = [this]() -> asio::awaitable<Result<>> {
        auto one = service_->ensure("debian", "arm64", ImagePolicy::vendor_only, progress());
        auto two = service_->ensure("debian", "arm64", ImagePolicy::vendor_only, progress());
        auto joined = std::move(one) && std::move(two);
        auto [first, second] = co_await std::move(joined);
        if (!first) co_return first.error();
        if (!second) co_return second.error();
        co_return Result<>();
    };
    const auto result = run(both());
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(server_.requests().size(), 2U) << "one SHA512SUMS, one image";
}

TEST_F(ImageServiceTest, ABuildTakesItsPackagesFromTheMirrorOfTheCall) {
    make_script("exit 2");
    dir_.write("build", "#!/bin/sh\necho \"error check: $*\" >&2\nexit 2\n");
    EXPECT_THAT(build("http://mirror.example/debian").error().message,
                HasSubstr("--mirror http://mirror.example/debian"));
    EXPECT_THAT(build().error().message, Not(HasSubstr("--mirror")));
    for (const auto* bad : {"/etc", "file:///etc", "http://a b/", "--help"}) {
        EXPECT_EQ(build(bad).error().code, ErrorCode::invalid_argument) << bad;
    }
}

TEST_F(ImageServiceTest, AFailedBuildTellsWhyAndLeavesNothing) {
    make_script(
        "echo x > \"$out.part.1\"; echo 'error check: no binfmt' >&2; echo 'hint apt install "
        "qemu-user' >&2; exit 8");
    const auto image = build();
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::host_lacks_tool);
    EXPECT_THAT(image.error().message, HasSubstr("no binfmt"));
    EXPECT_EQ(image.error().hint, "apt install qemu-user");
    EXPECT_THAT(names(), IsEmpty());
    make_script("exit 7");
    EXPECT_EQ(build().error().code, ErrorCode::no_space);
}

TEST_F(ImageServiceTest, AFileOfNoxIsNeverTouched) {
    const auto file = dir_.write("images/debian-13-arm64.qcow2", "nox's own cache");
    const auto image = ensure(ImagePolicy::vendor_only);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->digest, test::sha256_of(vendor_));
    EXPECT_EQ(test::slurp(file), "nox's own cache");
    EXPECT_FALSE(std::filesystem::is_symlink(file));
    const auto requests = server_.requests().size();
    EXPECT_EQ(ensure(ImagePolicy::vendor_only)->digest, image->digest) << "found without its name";
    EXPECT_EQ(server_.requests().size(), requests);
    EXPECT_EQ(store_.remove("debian-13-arm64", {}).error().code, ErrorCode::wrong_state);
}

TEST_F(ImageServiceTest, AnInterruptedPullResumes) {
    vendor_ += std::string(3'000'000, 'z');
    sums_ = test::sha512_of(vendor_);
    std::atomic<bool> slow = true;
    const FaultHttpServer slow_server([&](const HttpExchange& exchange) {
        if (!slow || exchange.request().target != image_path) return serve(exchange);
        const auto tag = "ETag: \"" + std::to_string(std::hash<std::string>()(vendor_)) + "\"";
        exchange.respond(200, {tag, "Content-Length: " + std::to_string(vendor_.size())},
                         vendor_.substr(0, 2'000'000));
        static_cast<void>(exchange.wait(10s));
    });
    mirror_.base_url = slow_server.url("");
    catalog_ = std::make_unique<Catalog>(mirror_);
    ServiceConfig config;
    config.stall_timeout = 60s;
    service_ = std::make_unique<ImageService>(store_, *catalog_, worker_, *builder_, config);
    const auto attempt = [this]() -> boost::asio::awaitable<Result<Image>> {
        auto ensuring = service_->ensure("debian", "arm64", ImagePolicy::vendor_only, progress());
        Error late(ErrorCode::timeout, "cut off");
        auto limited = with_deadline(std::move(ensuring), 3s, late);
        co_return co_await std::move(limited);
    };
    EXPECT_EQ(run(attempt()).error().code, ErrorCode::timeout);
    EXPECT_THAT(names(), ElementsAre("debian-13-arm64.part", "debian-13-arm64.part.json"));
    EXPECT_EQ(std::filesystem::file_size(dir_ / "images/debian-13-arm64.part"), 2'000'000U);
    slow = false;
    const auto image = ensure(ImagePolicy::vendor_only);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(slow_server.requests().back().range_start(), 2'000'000U);
    EXPECT_TRUE(test::slurp(image->path) == vendor_);
}

TEST_F(ImageServiceTest, ImportsQcow2AndRawDisks) {
    const auto raw = dir_.write("disk.img", test::small_raw_disk());
    const auto image = import_file(raw);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->origin, ImageOrigin::import);
    EXPECT_EQ(image->virtual_bytes, std::uint64_t{2} << 20);
    EXPECT_THAT(image->names, ElementsAre("mine"));
    EXPECT_EQ(image->source, "disk.img");
    struct stat info {};
    ASSERT_EQ(::stat(image->path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0444U);
    EXPECT_EQ(info.st_uid, ::geteuid());
    tool({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image->path, dir_ / "back.img"});
    EXPECT_TRUE(test::slurp(dir_ / "back.img") == test::small_raw_disk());

    tool({"qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd",
          raw, dir_ / "z.qcow2"});
    const auto second = import_file(dir_ / "z.qcow2", "");
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_THAT(second->names, Contains("z"));
    EXPECT_EQ(second->digest, image->digest) << "the same disk is the same image";
    EXPECT_TRUE(run(service_->verify(*second, progress())));
}

TEST_F(ImageServiceTest, ImportsPackedImages) {
    dir_.write("disk.img", test::small_raw_disk());
    const auto disk = (dir_ / "disk.img").string();
    tool({"xz", "-k", "-0", disk});
    tool({"gzip", "-k", "-1", disk});
    tool({"zstd", "-q", "-k", disk});
    tool({"tar", "-C", dir_.path().string(), "-cJf", dir_ / "disk.tar.xz", "disk.img"});
    std::string digest;
    for (const auto* file : {"disk.img.xz", "disk.img.gz", "disk.img.zst", "disk.tar.xz"}) {
        const auto image =
            import_file(dir_ / file, "packed-" + std::to_string(file[9]) + std::to_string(file[5]));
        ASSERT_TRUE(image) << file << ": " << image.error().message;
        if (digest.empty()) digest = image->digest;
        EXPECT_EQ(image->digest, digest) << file;
    }
}

TEST_F(ImageServiceTest, ArchivesWithTricksAreRefused) {
    dir_.write("one/disk.img", test::small_raw_disk());
    dir_.write("one/readme", "text");
    tool({"tar", "-C", dir_ / "one", "-cf", dir_ / "two-files.tar", "disk.img", "readme"});
    std::filesystem::create_symlink("/etc/passwd", dir_ / "link.img");
    tool({"tar", "-C", dir_.path().string(), "-cf", dir_ / "link.tar", "link.img"});
    tool({"tar", "-C", dir_.path().string(), "-cf", dir_ / "empty.tar", "-T", "/dev/null"});
    dir_.write("cut.xz", std::string("\xfd"
                                     "7zXZ\0",
                                     6) +
                             "garbage");
    tool({"truncate", "-s", "1200M", dir_ / "zeros"});
    tool({"zstd", "-q", "--fast", dir_ / "zeros"});
    for (const auto* file : {"two-files.tar", "link.tar", "empty.tar", "cut.xz", "zeros.zst"}) {
        const auto image = import_file(dir_ / file);
        ASSERT_FALSE(image) << file;
        EXPECT_THAT(image.error().code,
                    testing::AnyOf(ErrorCode::image_invalid, ErrorCode::image_hostile))
            << file;
        EXPECT_THAT(names(), IsEmpty()) << file;
    }
}

TEST_F(ImageServiceTest, HostileImagesAreRefused) {
    const auto images = test::hostile_images();
    EXPECT_GE(images.size(), 60U);
    for (const auto& hostile : images) {
        const auto file = dir_.write("hostile", hostile.bytes);
        const auto fd = *open_file(file, O_RDONLY);
        const auto facts = inspect_image(fd.get(), false);
        ASSERT_FALSE(facts) << hostile.name;
        EXPECT_THAT(facts.error().code,
                    testing::AnyOf(ErrorCode::image_invalid, ErrorCode::image_hostile));
        EXPECT_THAT(facts.error().message, testing::Not(HasSubstr("\x1b")));
    }
    for (const auto& hostile : images) {
        dir_.write("hostile", hostile.bytes);
        EXPECT_FALSE(import_file(dir_ / "hostile")) << hostile.name;
        EXPECT_THAT(names(), IsEmpty()) << hostile.name;
    }
}

TEST_F(ImageServiceTest, ADiskThatHoldsAnotherImageIsRefused) {
    auto disk = test::small_raw_disk();
    disk.replace(0, 72, test::honest_qcow2().substr(0, 72));
    dir_.write("inner.raw", disk);
    tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", dir_ / "inner.raw",
          dir_ / "outer.qcow2"});
    const auto image = import_file(dir_ / "outer.qcow2");
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::image_hostile);
    EXPECT_THAT(image.error().message, HasSubstr("another disk image"));
    EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ImageServiceTest, RawWithoutAPartitionTableNeedsAWord) {
    dir_.write("fs.img", std::string(1 << 20U, '\x11'));
    EXPECT_EQ(import_file(dir_ / "fs.img").error().code, ErrorCode::image_invalid);
    EXPECT_TRUE(import_file(dir_ / "fs.img", "mine", true));
}

TEST_F(ImageServiceTest, OnlyRegularFilesAreImported) {
    ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
    for (const auto& path : {std::filesystem::path("/dev/zero"), dir_.path(), dir_ / "pipe"}) {
        const auto image = import_file(path);
        ASSERT_FALSE(image) << path;
        EXPECT_EQ(image.error().code, ErrorCode::unreadable_file) << path;
    }
}

TEST_F(ImageServiceTest, ImportsHaveNamesOfTheirOwn) {
    dir_.write("disk.img", test::small_raw_disk());
    ASSERT_TRUE(import_file(dir_ / "disk.img"));
    EXPECT_EQ(import_file(dir_ / "disk.img").error().code, ErrorCode::already_exists);
    EXPECT_EQ(import_file(dir_ / "disk.img", "Bad Name").error().code, ErrorCode::invalid_name);
}

TEST_F(ImageServiceTest, AnImportMayStandForAnOs) {
    dir_.write("disk.img", test::small_raw_disk());
    const auto fd = *open_file(dir_ / "disk.img", O_RDONLY);
    ImportRequest request;
    request.fd = fd.get();
    request.source = "disk.img";
    request.os = "debian";
    request.arch = "arm64";
    const auto image = run(service_->import(request, progress()));
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(ensure(ImagePolicy::cached_only)->digest, image->digest);
    EXPECT_EQ(image->origin, ImageOrigin::import);
}

TEST_F(ImageServiceTest, ImportsFromAUrlOnce) {
    ImportUrlRequest request;
    request.url = server_.url(image_path);
    request.name = "theirs";
    request.digest = "sha512:" + std::string(128, 'e');
    EXPECT_EQ(run(service_->import_url(request, progress())).error().code,
              ErrorCode::digest_mismatch);
    EXPECT_THAT(names(), IsEmpty());
    request.digest = "sha512:" + test::sha512_of(vendor_);
    const auto image = run(service_->import_url(request, progress()));
    ASSERT_TRUE(image) << image.error().message;
    const auto requests = server_.requests().size();
    EXPECT_EQ(run(service_->import_url(request, progress()))->digest, image->digest);
    EXPECT_EQ(server_.requests().size(), requests);
    down_ = true;
    request.name = "new";
    EXPECT_EQ(run(service_->import_url(request, progress())).error().code,
              ErrorCode::download_failed);
}

TEST_F(ImageServiceTest, AChangedImageIsFoundOut) {
    const auto image = ensure(ImagePolicy::vendor_only);
    ASSERT_TRUE(image);
    EXPECT_TRUE(run(service_->verify(*image, progress())));
    std::filesystem::permissions(image->path, std::filesystem::perms::owner_all);
    const auto fd = *open_file(image->path, O_WRONLY);
    ASSERT_EQ(::pwrite(fd.get(), "x", 1, 70'000), 1);
    EXPECT_EQ(run(service_->verify(*image, progress())).error().code, ErrorCode::digest_mismatch);
}

}  // namespace
}  // namespace noxsup::imaging
