#include "imaging/catalog.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "imaging/checksums.hpp"
#include "imaging/image.hpp"

namespace noxsup::imaging {
namespace {

using testing::HasSubstr;

TEST(Catalog, DebianMeansTheNewest) {
    const Catalog catalog;
    const auto newest = catalog.find("debian", "arm64");
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->name, "debian-13-arm64");
    EXPECT_EQ(newest->codename, "trixie");
    EXPECT_EQ(
        newest->image_url,
        "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-arm64.qcow2");
    EXPECT_EQ(newest->checksums_url,
              "https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS");
    EXPECT_EQ(newest->title(), "Debian 13 (trixie) arm64");
}

TEST(Catalog, ReleasesGoByNumberAndByName) {
    const Catalog catalog;
    EXPECT_EQ(catalog.find("debian:12", "amd64")->name, "debian-12-amd64");
    EXPECT_EQ(catalog.find("debian:bookworm", "amd64")->file_name,
              "debian-12-genericcloud-amd64.qcow2");
    EXPECT_EQ(catalog.find("debian:13", "amd64")->codename, "trixie");
}

TEST(Catalog, WhatIsNotThereIsNamedWithWhatIs) {
    const Catalog catalog;
    for (const auto* os : {"ubuntu", "debian:11", "debian:", "Debian", "", "debian:12 "}) {
        const auto found = catalog.find(os, "arm64");
        ASSERT_FALSE(found) << os;
        EXPECT_EQ(found.error().code, ErrorCode::image_not_found);
        EXPECT_THAT(found.error().hint, HasSubstr("debian:13, debian:12"));
    }
    EXPECT_EQ(catalog.find("debian", "riscv64").error().code, ErrorCode::invalid_argument);
}

TEST(Catalog, ListsEverythingOrOneArchitecture) {
    const Catalog catalog;
    EXPECT_EQ(catalog.available().size(), 4U);
    EXPECT_EQ(catalog.available("arm64").size(), 2U);
    EXPECT_TRUE(catalog.knows_name("debian-12-arm64"));
    EXPECT_FALSE(catalog.knows_name("debian-arm64"));
}

TEST(ImageUrl, OnlyHttpsOrLoopbackOrAllowed) {
    for (const auto* good : {"https://cloud.debian.org/images", "http://127.0.0.1:8080/x",
                             "http://[::1]:80/", "http://localhost/x", "https://user@host/x"}) {
        EXPECT_TRUE(check_image_url(good, false)) << good;
    }
    for (const auto* bad :
         {"http://cloud.debian.org/x", "ftp://host/x", "file:///etc/passwd", "https://", "nonsense",
          "http://127.0.0.1.evil.example/x", "http://127.0.0.1@evil.example/", "https://a b/",
          "https://host/\n", "HTTPS://host/x", "http://[::1/x@evil.example/"}) {
        EXPECT_FALSE(check_image_url(bad, false)) << bad;
    }
    EXPECT_TRUE(check_image_url("http://mirror.example/x", true));
}

class MirrorEnvironment : public testing::Test {
  protected:
    ~MirrorEnvironment() override {
        for (const auto* name :
             {"NOXSUP_IMAGE_MIRROR", "NOXSUP_IMAGE_CA_FILE", "NOXSUP_IMAGE_ALLOW_HTTP"}) {
            ::unsetenv(name);
        }
    }
};

TEST_F(MirrorEnvironment, GoesOverTheConfiguration) {
    Mirror configured;
    configured.base_url = "https://mirror.example/cloud/";
    EXPECT_EQ(mirror_from_environment(configured)->base_url, "https://mirror.example/cloud");
    ::setenv("NOXSUP_IMAGE_MIRROR", "http://127.0.0.1:99/", 1);
    ::setenv("NOXSUP_IMAGE_CA_FILE", "/some/ca.pem", 1);
    const auto mirror = mirror_from_environment(configured);
    ASSERT_TRUE(mirror);
    EXPECT_EQ(Catalog(*mirror).find("debian", "amd64")->checksums_url,
              "http://127.0.0.1:99/trixie/latest/SHA512SUMS");
    EXPECT_EQ(mirror->ca_file, "/some/ca.pem");
}

TEST_F(MirrorEnvironment, PlainHttpNeedsAWord) {
    ::setenv("NOXSUP_IMAGE_MIRROR", "http://mirror.example", 1);
    EXPECT_EQ(mirror_from_environment().error().code, ErrorCode::invalid_argument);
    ::setenv("NOXSUP_IMAGE_ALLOW_HTTP", "1", 1);
    EXPECT_TRUE(mirror_from_environment());
}

const std::string digest_a(128, 'a');
const std::string digest_b(128, 'b');

TEST(Checksums, FindsTheExactFile) {
    const auto text = digest_a + "  debian-13.qcow2.sig\n" + digest_b + "  debian-13.qcow2\n" +
                      digest_a + " *x.raw\n";
    EXPECT_EQ(*find_sha512(text, "debian-13.qcow2"), digest_b);
    EXPECT_EQ(*find_sha512(text, "x.raw"), digest_a);
    EXPECT_EQ(*find_sha512(std::string(128, 'A') + "  y\r\n", "y"), digest_a);
}

TEST(Checksums, RefusesEverythingElse) {
    for (const auto& text :
         {std::string(), std::string("<html>login</html>"), digest_a + "  other\n",
          digest_a + " debian\n", digest_a.substr(1) + "  debian\n",
          std::string(128, 'g') + "  debian\n",
          digest_a + "  debian\n" + digest_b + "  debian\n"}) {
        EXPECT_FALSE(find_sha512(text, "debian")) << text;
    }
}

TEST(Checksums, ReadsWhatUsersWrite) {
    EXPECT_EQ(parse_expected_digest("sha512:" + digest_a)->hex, digest_a);
    EXPECT_EQ(parse_expected_digest("sha256:" + std::string(64, 'F'))->hex, std::string(64, 'f'));
    for (const auto& bad : {digest_a, "md5:" + digest_a, "sha256:" + digest_a,
                            std::string("sha256:"), std::string()}) {
        EXPECT_FALSE(parse_expected_digest(bad)) << bad;
    }
}

TEST(ImageName, LooksLikeNoFileOfTheStore) {
    for (const auto* good : {"debian-13-arm64", "a", "my_image.v2", "0"})
        EXPECT_TRUE(is_image_name(good)) << good;
    for (const auto* bad : {"", "-a", ".a", "A", "a/b", "a b", "a.qcow2", "a.part", "a.json",
                            "a.new", "sha256-abc", "ä", "..", "a\n"}) {
        EXPECT_FALSE(is_image_name(bad)) << bad;
    }
    EXPECT_FALSE(is_image_name(std::string(64, 'a')));
}

TEST(ImageMetadata, ReadsBackWhatItWrote) {
    Image image;
    image.digest = std::string(64, '0');
    image.origin = ImageOrigin::built;
    image.os = "debian";
    image.release = "13";
    image.arch = "arm64";
    image.source = "build-debian \"trixie\"\n";
    image.created_at = "2026-01-02T03:04:05Z";
    image.virtual_bytes = 3221225472;
    const auto read = image_from_json(image_to_json(image));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(image_to_json(*read), image_to_json(image));
    EXPECT_EQ(read->origin, ImageOrigin::built);
    EXPECT_EQ(read->source, image.source);
}

TEST(ImageMetadata, DamageIsAnError) {
    for (const auto* text :
         {"", "{}", "[]", "{\"version\":2}", "{\"version\":1,\"sha256\":\"x\"}"}) {
        EXPECT_FALSE(image_from_json(text)) << text;
    }
}

}  // namespace
}  // namespace noxsup::imaging
