// Imports of files and addresses: two at once, names that are taken, content that is there already.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/image_service.hpp"
#include "supervisor/base/async.hpp"
#include "supervisor/base/file.hpp"
#include "tests/support/fault_http_server.hpp"
#include "tests/support/hostile_images.hpp"
#include "tests/support/image_test.hpp"

namespace noxsup::imaging {
namespace {

namespace asio = boost::asio;
using test::FaultHttpServer;
using test::HttpExchange;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

/// Names of the images with the sizes of their disks in MiB.
std::vector<std::string> images_of(const ImageStore& store) {
    std::vector<std::string> found;
    for (const auto& image : *store.list()) {
        const auto size = " " + std::to_string(image.virtual_bytes >> 20U);
        for (const auto& name : image.names) found.push_back(name + size);
    }
    return found;
}

class ImageImportTest : public test::ImageTest {
  protected:
    using Pair = std::pair<Result<Image>, Result<Image>>;

    ImageImportTest() : store_(dir_ / "images") {}

    /// A file with a disk of so many MiB, open to be imported.
    ImportRequest file(const std::string& file_name, std::uint64_t mebibytes) {
        const auto path = dir_.write(file_name, test::honest_qcow2(mebibytes << 20U));
        files_.push_back(*open_file(path, O_RDONLY));
        ImportRequest request;
        request.fd = files_.back().get();
        request.source = path.filename().string();
        return request;
    }
    Result<Image> import(ImportRequest request) {
        return run(service_.import(std::move(request), ProgressCallback()));
    }
    Result<Image> import_url(ImportUrlRequest request) {
        return run(service_.import_url(std::move(request), ProgressCallback()));
    }
    Pair both(asio::awaitable<Result<Image>> one, asio::awaitable<Result<Image>> two) {
        using asio::experimental::awaitable_operators::operator&&;
        const auto join = [&]() -> asio::awaitable<Result<Pair>> {
            auto joined = std::move(one) && std::move(two);
            auto [first, second] = co_await std::move(joined);
            Pair pair(std::move(first), std::move(second));
            co_return pair;
        };
        return *run(join());
    }
    void serve(const HttpExchange& exchange) {
        const bool large = exchange.request().target.starts_with("/large/");
        exchange.serve(test::honest_qcow2(std::uint64_t{large ? 96U : 64U} << 20U),
                       large ? "\"96\"" : "\"64\"");
    }

    ImageStore store_;
    Catalog catalog_;
    ImageBuilder builder_{runner_, BuilderConfig()};
    ImageService service_{store_, catalog_, worker_, builder_};
    FaultHttpServer server_{[this](const HttpExchange& exchange) { serve(exchange); }};
    std::vector<UniqueFd> files_;
};

TEST_F(ImageImportTest, TwoAtOnceDoNotGetOneName) {
    auto small = file("small.qcow2", 64);
    auto large = file("large.qcow2", 96);
    small.name = large.name = "mine";
    const auto [first, second] = both(service_.import(small, ProgressCallback()),
                                      service_.import(large, ProgressCallback()));
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::already_exists);
    EXPECT_THAT(images_of(store_), ElementsAre("mine 64"));
}

TEST_F(ImageImportTest, TwoAtOnceFromOneUrlAreOneDownload) {
    ImportUrlRequest request;
    request.url = server_.url("/disk.qcow2");
    const auto [first, second] = both(service_.import_url(request, ProgressCallback()),
                                      service_.import_url(request, ProgressCallback()));
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(first->digest, second->digest);
    EXPECT_EQ(server_.requests().size(), 1U);
}

TEST_F(ImageImportTest, WhenAnyNameWillDoTheSameContentIsOneImage) {
    auto request = file("Small Disk.qcow2", 64);
    request.any_name = true;
    const auto first = import(request);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->display_name(), "small-disk");
    auto copy = file("copy.qcow2", 64);
    copy.any_name = true;
    EXPECT_EQ(import(copy)->display_name(), "small-disk");

    auto other = file("other/small-disk.img", 96);
    other.any_name = true;
    const auto second = import(other);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->display_name(), "small-disk-2");
    EXPECT_THAT(images_of(store_), UnorderedElementsAre("small-disk 64", "small-disk-2 96"));
    EXPECT_THAT(test::names_in(store_.directory()), testing::SizeIs(6)) << "nothing half-made";
}

TEST_F(ImageImportTest, WhenAnyNameWillDoThereIsAlwaysOne) {
    dir_.write("images/theirs.qcow2", "a file of nox");
    const std::vector<std::pair<std::string, std::string>> cases{
        {"", "image"},
        {"....qcow2", "image-2"},
        {"theirs.qcow2", "theirs-2"},
        {"debian-13-arm64.qcow2", "debian-13-arm64-2"},
        {std::string(80, 'x'), std::string(63, 'x')},
        {std::string(81, 'x'), std::string(61, 'x') + "-2"},
    };
    std::uint64_t size = 64;
    for (const auto& [source, name] : cases) {
        auto request = file("disk", ++size);
        request.source = source;
        request.any_name = true;
        const auto image = import(request);
        ASSERT_TRUE(image) << image.error().message;
        EXPECT_EQ(image->display_name(), name) << source;
    }
    EXPECT_EQ(test::slurp(dir_ / "images/theirs.qcow2"), "a file of nox");
}

TEST_F(ImageImportTest, TwoAtOnceWithAnyNameShareOneImage) {
    auto one = file("disk.qcow2", 64);
    auto two = file("copy/disk.qcow2", 64);
    one.any_name = two.any_name = true;
    const auto [first, second] =
        both(service_.import(one, ProgressCallback()), service_.import(two, ProgressCallback()));
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_THAT(images_of(store_), ElementsAre("disk 64"));
}

TEST_F(ImageImportTest, UrlsWithOneFileNameGetNamesOfTheirOwn) {
    ImportUrlRequest request;
    request.any_name = true;
    for (const auto* path : {"/disk.qcow2", "/large/disk.qcow2", "/copy/disk.qcow2"}) {
        request.url = server_.url(path);
        const auto image = import_url(request);
        ASSERT_TRUE(image) << image.error().message;
    }
    EXPECT_THAT(images_of(store_), UnorderedElementsAre("disk 64", "disk-2 96"));
    request.any_name = false;
    request.url = server_.url("/new/disk.qcow2");
    EXPECT_EQ(import_url(request).error().code, ErrorCode::already_exists);
}

TEST_F(ImageImportTest, ALostSizeIsReadFromTheFile) {
    auto request = file("disk.qcow2", 64);
    request.name = "mine";
    const auto whole = import(request);
    ASSERT_TRUE(whole);
    std::filesystem::remove(std::filesystem::path(whole->path).replace_extension(".json"));
    const auto lost = store_.find("mine");
    ASSERT_TRUE(lost);
    EXPECT_EQ(lost->virtual_bytes, 0U);
    const auto found = run(service_.with_size(*lost));
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->virtual_bytes, std::uint64_t{64} << 20U);
    EXPECT_EQ(found->digest, whole->digest);
}

}  // namespace
}  // namespace noxsup::imaging
