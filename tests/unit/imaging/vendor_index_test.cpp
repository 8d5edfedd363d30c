#include "imaging/vendor_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/checksums.hpp"

namespace noxsup::imaging {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(VendorFileName, IsAFileOfItsDirectory) {
    for (const auto* good : {"SHA256SUMS", "a", "Fedora-Cloud-44-1.7-x86_64-CHECKSUM",
                             "ubuntu_24.04~rc+1.img", "x.qcow2"}) {
        EXPECT_TRUE(is_plain_file_name(good)) << good;
    }
    for (const auto* bad : {"",
                            ".",
                            "..",
                            ".hidden",
                            "../x.qcow2",
                            "a/b",
                            "/etc/passwd",
                            "-rf",
                            "https://evil.example/x.qcow2",
                            "//evil.example/x",
                            "x?y",
                            "x#y",
                            "x%2e%2e",
                            "a b",
                            "a\\b",
                            "x\n",
                            "x\x1b[31m",
                            "\xc3\xa4",
                            "x:y",
                            "user@host"}) {
        EXPECT_FALSE(is_plain_file_name(bad)) << bad;
    }
    EXPECT_TRUE(is_plain_file_name(std::string(max_vendor_name, 'a')));
    EXPECT_FALSE(is_plain_file_name(std::string(max_vendor_name + 1, 'a')));
    EXPECT_FALSE(is_plain_file_name(std::string_view("a\0b", 3)));
}

TEST(VendorPattern, StarsStandForAnything) {
    EXPECT_TRUE(matches_pattern("a*c", "abc"));
    EXPECT_TRUE(matches_pattern("a*c", "ac"));
    EXPECT_TRUE(matches_pattern("a*c*", "abcbcx"));
    EXPECT_TRUE(matches_pattern("abc", "abc"));
    EXPECT_FALSE(matches_pattern("abc", "abcd"));
    EXPECT_FALSE(matches_pattern("a*c", "abcd"));
    EXPECT_FALSE(matches_pattern("", "a"));
    EXPECT_TRUE(matches_pattern("*", ""));
    const std::string pattern = "nocloud_alpine-3.24.*-x86_64-uefi-cloudinit-r*.qcow2";
    EXPECT_TRUE(matches_pattern(pattern, "nocloud_alpine-3.24.1-x86_64-uefi-cloudinit-r0.qcow2"));
    for (const auto* other : {"nocloud_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2",
                              "nocloud_alpine-3.24.1-aarch64-uefi-cloudinit-r0.qcow2",
                              "nocloud_alpine-3.24.1-x86_64-uefi-tiny-r0.qcow2",
                              "nocloud_alpine-3.24.1-x86_64-uefi-cloudinit-metal-r0.qcow2",
                              "nocloud_alpine-3.24.1-x86_64-uefi-cloudinit-r0.qcow2.sha512",
                              "nocloud_alpine-3.23.9-x86_64-uefi-cloudinit-r0.qcow2"}) {
        EXPECT_FALSE(matches_pattern(pattern, other)) << other;
    }
    // Many stars take no more than the product of both lengths.
    std::string stars;
    for (int i = 0; i < 50; ++i) stars += "a*";
    EXPECT_FALSE(matches_pattern(stars + "b", std::string(200, 'a')));
}

TEST(VendorVersion, NumbersCountAsNumbers) {
    EXPECT_LT(compare_versions("3.9", "3.10"), 0);
    EXPECT_LT(compare_versions("x-1.6.img", "x-1.10.img"), 0);
    EXPECT_LT(compare_versions("Build16.2", "Build18.7"), 0);
    EXPECT_LT(compare_versions("Build18.7", "Build18.68"), 0);
    EXPECT_LT(compare_versions("r0", "r1"), 0);
    EXPECT_EQ(compare_versions("007", "7"), 0);
    EXPECT_EQ(compare_versions("", ""), 0);
    EXPECT_LT(compare_versions("a", "ab"), 0);
    EXPECT_GT(compare_versions("b", "ab"), 0);
    const std::string huge(500, '9');
    EXPECT_LT(compare_versions(huge, "1" + huge), 0);
}

TEST(VendorListing, TakesTheFilesOfTheDirectoryAlone) {
    const auto names = names_in_listing(
        "<html><head><title>Index of /x/</title></head><body><pre>"
        "<a href=\"../\">../</a>\n<a href=\"?C=N;O=D\">Name</a>\n"
        "<a href=\"a-1.img\">a-1.img</a> 2026\n<A HREF='a-2.img'>a-2</A>\n"
        "<a class=x href = a-3.img>a-3</a><a href=\"./a-4.img\">a-4</a>"
        "<a href=\"a-1.img\">again</a><a href=\"sub/\">sub</a>"
        "<a href=\"https://evil.example/a-9.img\">a-9.img</a>"
        "<a href=\"/root/a-9.img\">a-9.img</a><a href=\"../a-9.img\">a-9.img</a>"
        "<a href=\"a-9.img%00\">x</a><a data-href=\"a-9.img\">x</a></pre></body></html>");
    EXPECT_THAT(names, ElementsAre("a-1.img", "a-2.img", "a-3.img", "a-4.img"));
}

TEST(VendorListing, CutAndBrokenPagesGiveNoFalseNames) {
    EXPECT_THAT(names_in_listing(""), IsEmpty());
    EXPECT_THAT(names_in_listing("<a href"), IsEmpty());
    EXPECT_THAT(names_in_listing("<a href="), IsEmpty());
    EXPECT_THAT(names_in_listing("<a href=\"a-1.im"), IsEmpty());
    EXPECT_THAT(names_in_listing("<a href=a-1.im"), IsEmpty());
    EXPECT_THAT(names_in_listing("<a href=\"x\" href=\"y\">"), ElementsAre("x", "y"));
    std::string huge;
    for (int i = 0; i < 50'000; ++i) huge += "<a href=\"same.img\">";
    EXPECT_THAT(names_in_listing(huge), ElementsAre("same.img"));
}

TEST(VendorNewest, IsByVersionAndOnlyOfWhatMatches) {
    const std::vector<std::string> names{"x-3.9.img", "x-3.10.img", "x-3.11.img.sha512",
                                         "../x-3.99.img", "y-9.img"};
    EXPECT_EQ(newest_match(names, "x-*.img"), "x-3.10.img");
    EXPECT_EQ(newest_match(names, "z-*.img"), std::nullopt);
}

const std::string digest_a(128, 'a');
const std::string digest_b(128, 'b');
const std::string short_a(64, 'a');
const std::string short_b(64, 'b');

Result<ExpectedDigest> find(const std::string& text, const char* name) {
    return find_digest(parse_checksums(text), name, "LIST");
}

TEST(Checksums, FindsTheExactFile) {
    const auto text = digest_a + "  debian-13.qcow2.sig\n" + digest_b + "  debian-13.qcow2\n" +
                      digest_a + " *x.raw\n" + short_b + "  ./dotted\n";
    EXPECT_EQ(find(text, "debian-13.qcow2")->text(), "sha512:" + digest_b);
    EXPECT_EQ(find(text, "x.raw")->hex, digest_a);
    EXPECT_EQ(find(text, "dotted")->text(), "sha256:" + short_b);
    EXPECT_EQ(find(std::string(128, 'A') + "  y\r\n", "y")->hex, digest_a);
}

TEST(Checksums, ReadsTheBsdStyle) {
    const auto text = "# x.qcow2: 583729152 bytes\nSHA256 (x.qcow2) = " + short_a +
                      "\nSHA512 (z.qcow2) = " + digest_b + "\nMD5 (y) = " + std::string(32, 'a') +
                      "\nSHA256 (y) = " + digest_a + "\nSHA512 (y) = " + short_a + "\n";
    EXPECT_EQ(find(text, "x.qcow2")->text(), "sha256:" + short_a);
    EXPECT_EQ(find(text, "z.qcow2")->text(), "sha512:" + digest_b);
    EXPECT_FALSE(find(text, "y")) << "lengths must fit their algorithms";
    const auto both = "SHA256 (x) = " + short_a + "\nSHA512 (x) = " + digest_a + "\n";
    EXPECT_EQ(find(both, "x")->algorithm, "sha512");
}

TEST(Checksums, RefusesEverythingElse) {
    for (const auto& text :
         {std::string(), std::string("<html>login</html>"), digest_a + "  other\n",
          digest_a + " debian\n", digest_a.substr(1) + "  debian\n", digest_a + "a  debian\n",
          std::string(128, 'g') + "  debian\n", digest_a + "  ../debian\n",
          digest_a + "  https://evil.example/debian\n", "SHA256 (../debian) = " + short_a + "\n",
          "SHA256 (debian) = " + short_a.substr(1), "SHA256(debian) = " + short_a,
          digest_a + "  debian\n" + digest_b + "  debian\n"}) {
        const auto found = find(text, "debian");
        ASSERT_FALSE(found) << text;
        EXPECT_EQ(found.error().code, ErrorCode::download_failed);
        EXPECT_THAT(found.error().message, HasSubstr("LIST"));
    }
    EXPECT_TRUE(find(digest_a + "  debian\n" + digest_a + "  debian\n", "debian"));
    EXPECT_THAT(parse_checksums(std::string(1'000'000, '\n')), IsEmpty());
    EXPECT_THAT(parse_checksums(std::string(1'000'000, 'a')), IsEmpty());
}

TEST(Checksums, AFileBesideTheImageMayLeaveTheNameOut) {
    const auto only = [](const std::string& text, const char* pattern) {
        return find_only_digest(parse_checksums(text), pattern, "x.sha512");
    };
    EXPECT_EQ(only(digest_a + "\n", "x")->hex, digest_a);
    EXPECT_EQ(only(digest_a + "  x\n", "x")->hex, digest_a);
    EXPECT_EQ(only(short_a + "  x-Build18.7.qcow2\n", "x-*.qcow2")->hex, short_a);
    EXPECT_FALSE(only(digest_a + "  y\n", "x"));
    EXPECT_FALSE(only(digest_a + "\n" + digest_b + "\n", "x"));
    EXPECT_FALSE(only("", "x"));
}

TEST(Checksums, ReadsWhatUsersWrite) {
    EXPECT_EQ(parse_expected_digest("sha512:" + digest_a)->hex, digest_a);
    EXPECT_EQ(parse_expected_digest("sha256:" + std::string(64, 'F'))->hex, std::string(64, 'f'));
    for (const auto& bad : {digest_a, "md5:" + digest_a, "sha256:" + digest_a,
                            std::string("sha256:"), std::string()}) {
        EXPECT_FALSE(parse_expected_digest(bad)) << bad;
    }
}

}  // namespace
}  // namespace noxsup::imaging
