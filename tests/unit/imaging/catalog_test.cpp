#include "imaging/catalog.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "imaging/image.hpp"

namespace noxsup::imaging {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Catalog, DebianMeansTheNewest) {
    const Catalog catalog;
    const auto newest = catalog.find("debian", "arm64");
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->name, "debian-13-arm64");
    EXPECT_EQ(newest->codename, "trixie");
    EXPECT_EQ(
        newest->url(),
        "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-arm64.qcow2");
    EXPECT_EQ(newest->directory, "https://cloud.debian.org/images/cloud/trixie/latest/");
    EXPECT_EQ(newest->checksums, "SHA512SUMS");
    EXPECT_EQ(newest->title(), "Debian 13 (trixie) arm64");
    EXPECT_THAT(newest->names, ElementsAre("debian:13", "debian:trixie", "debian"));
    EXPECT_TRUE(newest->is_buildable());
}

TEST(Catalog, ReleasesGoByNumberAndByName) {
    const Catalog catalog;
    EXPECT_EQ(catalog.find("debian:12", "amd64")->name, "debian-12-amd64");
    EXPECT_EQ(catalog.find("debian:bookworm", "amd64")->image,
              "debian-12-genericcloud-amd64.qcow2");
    EXPECT_EQ(catalog.find("debian:13", "amd64")->codename, "trixie");
    EXPECT_EQ(catalog.find("ubuntu", "amd64")->name, "ubuntu-24.04-amd64");
    EXPECT_EQ(catalog.find("ubuntu:jammy", "arm64")->name, "ubuntu-22.04-arm64");
}

TEST(Catalog, WhatIsNotThereIsNamedWithWhatIs) {
    const Catalog catalog;
    for (const auto* os : {"slackware", "debian:11", "debian:", "Debian", "", "debian:12 ",
                           "alpine:", "fedora:rawhide"}) {
        const auto found = catalog.find(os, "arm64");
        ASSERT_FALSE(found) << os;
        EXPECT_EQ(found.error().code, ErrorCode::image_not_found);
        EXPECT_THAT(found.error().hint, HasSubstr("debian:13, debian:12, ubuntu:24.04"));
    }
    EXPECT_EQ(catalog.find("debian", "riscv64").error().code, ErrorCode::invalid_argument);
}

TEST(Catalog, ListsEverythingOrOneArchitecture) {
    const Catalog catalog;
    EXPECT_EQ(catalog.available().size(), 2 * catalog.available("arm64").size());
    EXPECT_TRUE(catalog.knows_name("debian-12-arm64"));
    EXPECT_TRUE(catalog.knows_name("opensuse-16.0-amd64"));
    EXPECT_FALSE(catalog.knows_name("debian-arm64"));
}

/// What the tables of vendors have in common, and what each of them says.
TEST(Catalog, BuiltInEntriesAreWhole) {
    for (const auto& image : Catalog().available()) {
        EXPECT_TRUE(is_image_name(image.name)) << image.name;
        EXPECT_TRUE(check_image_url(image.directory, false)) << image.directory;
        EXPECT_TRUE(image.directory.ends_with('/')) << image.directory;
        for (const auto& text :
             {image.directory, image.image, image.checksums, image.digest_name, image.signature}) {
            EXPECT_THAT(text, Not(HasSubstr("{arch}"))) << image.name;
        }
        EXPECT_EQ(image.signature.empty(), image.keyrings.empty()) << image.name;
        EXPECT_EQ(image.is_buildable(), image.os == "debian") << image.name;
    }
}

TEST(Catalog, VendorsPublishInTheirOwnWays) {
    const Catalog catalog;
    const auto alpine = *catalog.find("alpine", "arm64");
    EXPECT_EQ(alpine.url(), "https://dl-cdn.alpinelinux.org/alpine/v3.24/releases/cloud/");
    EXPECT_EQ(alpine.image, "nocloud_alpine-3.24.*-aarch64-uefi-cloudinit-r*.qcow2");
    EXPECT_EQ(alpine.checksums, "{image}.sha512");
    EXPECT_EQ(alpine.shell, "/bin/sh");
    EXPECT_TRUE(alpine.doas);
    const auto fedora = *catalog.find("fedora:43", "amd64");
    EXPECT_EQ(fedora.directory,
              "https://dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images/");
    EXPECT_EQ(fedora.image, "Fedora-Cloud-Base-Generic-43-*.x86_64.qcow2");
    EXPECT_EQ(fedora.checksums, "Fedora-Cloud-43-*-x86_64-CHECKSUM");
    EXPECT_EQ(fedora.signature, "inline");
    const auto suse = *catalog.find("opensuse:15.6", "arm64");
    EXPECT_EQ(suse.url(),
              "https://download.opensuse.org/distribution/leap/15.6/appliances/"
              "openSUSE-Leap-15.6-Minimal-VM.aarch64-Cloud.qcow2");
    EXPECT_EQ(suse.title(), "openSUSE Leap 15.6 arm64");
    const auto ubuntu = *catalog.find("ubuntu", "amd64");
    EXPECT_EQ(ubuntu.url(),
              "https://cloud-images.ubuntu.com/releases/24.04/release/"
              "ubuntu-24.04-server-cloudimg-amd64.img");
    EXPECT_EQ(ubuntu.signature, "{checksums}.gpg");
    const auto alma = *catalog.find("alma:9", "amd64");
    EXPECT_EQ(alma.url(),
              "https://repo.almalinux.org/almalinux/9/cloud/x86_64/images/"
              "AlmaLinux-9-GenericCloud-latest.x86_64.qcow2");
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
    EXPECT_EQ(Catalog(*mirror).find("debian", "amd64")->directory,
              "http://127.0.0.1:99/trixie/latest/");
    EXPECT_THAT(Catalog(*mirror).find("fedora", "amd64")->directory,
                StartsWith("https://dl.fedoraproject.org/"));
    EXPECT_EQ(mirror->ca_file, "/some/ca.pem");
}

TEST_F(MirrorEnvironment, EveryVendorMayHaveOne) {
    Mirror configured;
    configured.vendors = {{"alpine", "https://mirror.example/alpine//"}};
    const auto mirror = mirror_from_environment(configured);
    ASSERT_TRUE(mirror);
    EXPECT_EQ(Catalog(*mirror).find("alpine:3.23", "arm64")->directory,
              "https://mirror.example/alpine/v3.23/releases/cloud/");
    configured.vendors = {{"alpine", "http://mirror.example/alpine"}};
    const auto plain = mirror_from_environment(configured);
    ASSERT_FALSE(plain);
    EXPECT_THAT(plain.error().message, HasSubstr("image mirror of alpine"));
}

TEST_F(MirrorEnvironment, PlainHttpNeedsAWord) {
    ::setenv("NOXSUP_IMAGE_MIRROR", "http://mirror.example", 1);
    EXPECT_EQ(mirror_from_environment().error().code, ErrorCode::invalid_argument);
    ::setenv("NOXSUP_IMAGE_ALLOW_HTTP", "1", 1);
    EXPECT_TRUE(mirror_from_environment());
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
    image.signed_by = std::string(40, 'A');
    image.source = "build-debian \"trixie\"\n";
    image.created_at = "2026-01-02T03:04:05Z";
    image.virtual_bytes = 3221225472;
    const auto read = image_from_json(image_to_json(image));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(image_to_json(*read), image_to_json(image));
    EXPECT_EQ(read->origin, ImageOrigin::built);
    EXPECT_EQ(read->source, image.source);
    EXPECT_EQ(read->signed_by, image.signed_by);
}

TEST(ImageMetadata, DamageIsAnError) {
    for (const auto* text :
         {"", "{}", "[]", "{\"version\":2}", "{\"version\":1,\"sha256\":\"x\"}"}) {
        EXPECT_FALSE(image_from_json(text)) << text;
    }
}

}  // namespace
}  // namespace noxsup::imaging
