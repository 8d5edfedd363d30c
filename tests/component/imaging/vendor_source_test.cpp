// The vendors' indexes as a server on loopback has them, and as no honest server would.
#include "imaging/vendor_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "supervisor/base/json.hpp"
#include "supervisor/base/process.hpp"
#include "tests/support/fault_http_server.hpp"
#include "tests/support/image_test.hpp"

namespace noxsup::imaging {
namespace {

using namespace std::chrono_literals;
using test::FaultHttpServer;
using test::HttpExchange;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string sha256(64, 'a');
const std::string sha512(128, 'b');
const std::string other256(64, 'c');

/// A web server's listing of a directory.
std::string listing(const std::vector<std::string>& names) {
    std::string html = "<html><body><h1>Index</h1><pre><a href=\"../\">../</a>\n";
    for (const auto& name : names)
        html += "<a href=\"" + name + "\">" + name + "</a>  01-Nov-2026 10:00  123\n";
    return html + "</pre></body></html>\n";
}

class VendorSourceTest : public test::ImageTest {
  protected:
    VendorSourceTest() {
        Mirror mirror;
        mirror.base_url = server_.url("/debian");
        for (const auto* os : {"ubuntu", "alpine", "fedora", "alma", "opensuse"})
            mirror.vendors[os] = server_.url("/" + std::string(os));
        catalog_ = Catalog(mirror, dir_ / "catalog.json");
    }
    void serve(const HttpExchange& exchange) {
        const std::lock_guard lock(mutex_);
        const auto found = files_.find(exchange.request().target);
        if (found == files_.end()) {
            exchange.respond(404, {"Content-Type: text/html"}, "<html>no</html>");
        } else {
            const bool page = found->first.ends_with('/');
            exchange.respond(200, {page ? "Content-Type: text/html" : "Content-Type: text/plain"},
                             found->second);
        }
    }
    void put(const std::string& path, const std::string& content) {
        const std::lock_guard lock(mutex_);
        files_[path] = content;
    }
    Result<VendorFile> newest(const std::string& os, const std::string& arch = "amd64") {
        auto image = catalog_.find(os, arch);
        if (!image) return std::move(image).error();
        FetchPatience patience;
        patience.retry_delay = 10ms;
        VendorSource source(catalog_, worker_, patience);
        return run(source.newest(*image, [this](const Progress& progress) {
            if (!progress.note.empty()) notes_.push_back(progress.note);
        }));
    }
    std::vector<std::string> asked() {
        std::vector<std::string> targets;
        for (const auto& request : server_.requests()) targets.push_back(request.target);
        return targets;
    }
    void expect_file(const Result<VendorFile>& found, const std::string& path,
                     const std::string& digest) {
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_EQ(found->url, server_.url(path));
        EXPECT_EQ(found->digest.text(), digest);
        EXPECT_EQ(found->signed_by, "");
    }

    std::mutex mutex_;
    std::map<std::string, std::string> files_;
    FaultHttpServer server_{[this](const HttpExchange& exchange) { serve(exchange); }};
    Catalog catalog_;
    std::vector<std::string> notes_;
};

TEST_F(VendorSourceTest, DebianAndUbuntuAreListedUnderFixedNames) {
    put("/debian/trixie/latest/SHA512SUMS", sha512 + "  debian-13-genericcloud-amd64.qcow2\n" +
                                                std::string(128, '0') +
                                                "  debian-13-generic-amd64.qcow2\n");
    expect_file(newest("debian"), "/debian/trixie/latest/debian-13-genericcloud-amd64.qcow2",
                "sha512:" + sha512);
    EXPECT_THAT(notes_, IsEmpty()) << "there is no signature that was not checked";
    put("/ubuntu/24.04/release/SHA256SUMS",
        other256 + " *ubuntu-24.04-server-cloudimg-amd64.manifest\n" + sha256 +
            " *ubuntu-24.04-server-cloudimg-amd64.img\n");
    expect_file(newest("ubuntu"), "/ubuntu/24.04/release/ubuntu-24.04-server-cloudimg-amd64.img",
                "sha256:" + sha256);
    EXPECT_THAT(notes_, ElementsAre(AllOf(HasSubstr("Ubuntu 24.04 (noble) amd64"),
                                          HasSubstr("by digest over https alone"))));
}

TEST_F(VendorSourceTest, AlpineHasADigestBesideTheNewestPointRelease) {
    const std::string directory = "/alpine/v3.24/releases/cloud/";
    const std::string file = "nocloud_alpine-3.24.10-aarch64-uefi-cloudinit-r0.qcow2";
    put(directory,
        listing({"aws_alpine-3.24.11-aarch64-uefi-cloudinit-r0.vhd", file, file + ".asc",
                 file + ".sha512", "nocloud_alpine-3.24.9-aarch64-uefi-cloudinit-r3.qcow2",
                 "nocloud_alpine-3.24.11-aarch64-uefi-tiny-r0.qcow2",
                 "nocloud_alpine-3.24.11-x86_64-uefi-cloudinit-r0.qcow2"}));
    put(directory + file + ".sha512", sha512 + "\n");
    expect_file(newest("alpine", "arm64"), directory + file, "sha512:" + sha512);
    EXPECT_THAT(asked(), ElementsAre(directory, directory + file + ".sha512"));
}

TEST_F(VendorSourceTest, FedoraSignsAListWhoseNameVaries) {
    const std::string directory = "/fedora/releases/44/Cloud/x86_64/images/";
    const std::string file = "Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2";
    put(directory, listing({"Fedora-Cloud-44-1.7-x86_64-CHECKSUM", file,
                            "Fedora-Cloud-Base-GCE-44-1.7.x86_64.tar.gz"}));
    put(directory + "Fedora-Cloud-44-1.7-x86_64-CHECKSUM",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# " + file +
            ": 583729152 bytes\nSHA256 (" + file + ") = " + sha256 +
            "\n# Fedora-Cloud-Base-UEFI-UKI-44-1.7.x86_64.qcow2: 630784000 bytes\n"
            "SHA256 (Fedora-Cloud-Base-UEFI-UKI-44-1.7.x86_64.qcow2) = " +
            other256 +
            "\n-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=njUN\n"
            "-----END PGP SIGNATURE-----\n");
    expect_file(newest("fedora"), directory + file, "sha256:" + sha256);
    EXPECT_THAT(notes_, ElementsAre(HasSubstr("no keyring of its vendor is installed")));
    // What stands beside the signed text counts for nothing.
    put(directory + "Fedora-Cloud-44-1.7-x86_64-CHECKSUM",
        "SHA256 (" + file + ") = " + sha256 + "\n");
    const auto bare = newest("fedora");
    ASSERT_FALSE(bare);
    EXPECT_EQ(bare.error().code, ErrorCode::download_failed);
}

TEST_F(VendorSourceTest, AlmaHasOneListAndOpenSuseADigestThatNamesTheBuild) {
    const std::string alma = "/alma/10/cloud/x86_64/images/";
    put(alma + "CHECKSUM", other256 + "  AlmaLinux-10-GenericCloud-10.1-20251125.0.x86_64.qcow2\n" +
                               sha256 + "  AlmaLinux-10-GenericCloud-latest.x86_64.qcow2\n");
    expect_file(newest("alma"), alma + "AlmaLinux-10-GenericCloud-latest.x86_64.qcow2",
                "sha256:" + sha256);
    const std::string suse = "/opensuse/16.0/appliances/";
    const std::string file = "Leap-16.0-Minimal-VM.aarch64-Cloud.qcow2";
    put(suse + file + ".sha256", sha256 + "  Leap-16.0-Minimal-VM.aarch64-Cloud-Build18.7.qcow2\n");
    expect_file(newest("opensuse", "arm64"), suse + file, "sha256:" + sha256);
    put(suse + file + ".sha256", sha256 + "  Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2\n");
    EXPECT_EQ(newest("opensuse", "arm64").error().code, ErrorCode::download_failed);
}

TEST_F(VendorSourceTest, WhatAnIndexDoesNotHaveIsAnError) {
    EXPECT_EQ(newest("alpine").error().code, ErrorCode::vendor_unreachable);
    const std::string directory = "/alpine/v3.24/releases/cloud/";
    const std::string evil = "nocloud_alpine-3.24.1-x86_64-uefi-cloudinit-r0.qcow2";
    for (const auto& page :
         {std::string(), std::string("not a page"), listing({}), listing({"other.qcow2"}),
          listing({"../" + evil, "/" + evil, "https://evil.example/" + evil, "//evil/" + evil}),
          listing({evil}).substr(0, 90)}) {
        put(directory, page);
        const auto found = newest("alpine");
        ASSERT_FALSE(found) << page;
        EXPECT_EQ(found.error().code, ErrorCode::download_failed) << found.error().message;
        EXPECT_FALSE(found.error().hint.empty());
    }
    put(directory, listing({evil}) + std::string(5'000'000, ' '));
    EXPECT_THAT(newest("alpine").error().message, HasSubstr("more than"));
    // A page where the digest should be: the login of a network.
    put(directory, listing({evil}));
    put(directory + evil + ".sha512", "<html><body>log in</body></html>");
    EXPECT_EQ(newest("alpine").error().code, ErrorCode::download_failed);
    put(directory + evil + ".sha512", sha512.substr(1) + "\n");
    EXPECT_EQ(newest("alpine").error().code, ErrorCode::download_failed);
}

/// A vendor of the test's own, with a key of the test's own.
class SignedVendorTest : public VendorSourceTest {
  protected:
    void SetUp() override {
        if (!find_program("gpg") || !find_program("gpg-agent") || !find_program("gpgv"))
            GTEST_SKIP() << "gpg, gpg-agent and gpgv are not installed";
        make_key("vendor");
        tool(gpg("vendor", {"--output", at("vendor.gpg"), "--export"}));
    }
    void TearDown() override {
        for (const auto& name : homes_)
            tool({"gpgconf", "--homedir", at(name), "--kill", "gpg-agent"});
    }
    [[nodiscard]] std::string at(const std::string& name) const { return (dir_ / name).string(); }
    [[nodiscard]] std::vector<std::string> gpg(const std::string& home,
                                               std::vector<std::string> words) const {
        words.insert(words.begin(), {"gpg", "--homedir", at(home), "--batch", "--yes", "--quiet",
                                     "--pinentry-mode", "loopback", "--passphrase", ""});
        return words;
    }
    void make_key(const std::string& name) {
        std::filesystem::create_directory(dir_ / name);
        std::filesystem::permissions(dir_ / name, std::filesystem::perms::owner_all);
        homes_.push_back(name);
        tool(
            gpg(name, {"--quick-generate-key", name + "@example.org", "ed25519", "sign", "never"}));
    }
    std::string fingerprint(const std::string& name) {
        const auto lines = tool(gpg(name, {"--with-colons", "--list-keys"}));
        const auto line = lines.substr(lines.find("\nfpr:") + 1);
        return line.substr(line.find_first_not_of("fpr:"), 40);
    }
    std::string sign(const std::string& text, const std::string& how,
                     const std::string& name = "vendor") {
        dir_.write("list", text);
        tool(gpg(name, {"--output", at("list.signed"), how, at("list")}));
        return test::slurp(dir_ / "list.signed");
    }
    void write_catalog(const std::string& signature, const std::string& keyring) {
        const Json entry{{"os", "own"},
                         {"release", "1"},
                         {"url", server_.url("/own")},
                         {"arches", {{"amd64", "x86"}}},
                         {"image", "own-{arch}-*.qcow2"},
                         {"checksums", "SUMS"},
                         {"signature", signature},
                         {"keyrings", Json::array({at("absent.gpg"), at(keyring)})}};
        dir_.write("catalog.json", dump_json({{"version", 1}, {"images", Json::array({entry})}}));
        const auto loaded = catalog_.reload();
        ASSERT_TRUE(loaded) << loaded.error().message;
    }
    void expect_bad(const Result<VendorFile>& found, const std::string& why) {
        ASSERT_FALSE(found);
        EXPECT_EQ(found.error().code, ErrorCode::digest_mismatch) << found.error().message;
        EXPECT_THAT(found.error().message, HasSubstr(why));
        EXPECT_THAT(found.error().message, HasSubstr("SUMS"));
    }

    const std::string list_ = sha256 + "  own-x86-9.qcow2\n" + other256 + "  own-x86-8.qcow2\n";
    std::vector<std::string> homes_;
};

TEST_F(SignedVendorTest, ADetachedSignatureIsChecked) {
    write_catalog("{checksums}.gpg", "vendor.gpg");
    put("/own/SUMS", list_);
    for (const auto* how : {"--detach-sign", "--armor-detach-sign"}) {
        auto signature = sign(list_, "--detach-sign");
        if (how != std::string("--detach-sign")) {
            tool(gpg("vendor",
                     {"--output", at("list.asc"), "--armor", "--detach-sign", at("list")}));
            signature = test::slurp(dir_ / "list.asc");
        }
        put("/own/SUMS.gpg", signature);
        const auto found = newest("own");
        ASSERT_TRUE(found) << how << ": " << found.error().message;
        EXPECT_EQ(found->url, server_.url("/own/own-x86-9.qcow2"));
        EXPECT_EQ(found->signed_by, fingerprint("vendor"));
    }
    EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(SignedVendorTest, AnArmouredKeyringServesToo) {
    tool(gpg("vendor", {"--armor", "--output", at("vendor.asc"), "--export"}));
    write_catalog("{checksums}.gpg", "vendor.asc");
    put("/own/SUMS", list_);
    put("/own/SUMS.gpg", sign(list_, "--detach-sign"));
    const auto found = newest("own");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->signed_by, fingerprint("vendor"));
}

TEST_F(SignedVendorTest, OfAClearSignedListOnlyTheSignedPartCounts) {
    write_catalog("inline", "vendor.gpg");
    const auto message = sign(list_, "--clear-sign");
    put("/own/SUMS", message);
    const auto found = newest("own");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->digest.text(), "sha256:" + sha256);
    EXPECT_EQ(found->signed_by, fingerprint("vendor"));
    const auto newer = std::string(64, 'd') + "  own-x86-99.qcow2\n";
    for (const auto& around : {newer + message, message + newer}) {
        put("/own/SUMS", around);
        const auto outside = newest("own");
        if (outside) {
            EXPECT_EQ(outside->url, found->url);
        }
    }
    put("/own/SUMS", list_);
    expect_bad(newest("own"), "no signature");
}

TEST_F(SignedVendorTest, ABadSignatureIsRefused) {
    write_catalog("{checksums}.gpg", "vendor.gpg");
    put("/own/SUMS", list_ + "changed\n");
    put("/own/SUMS.gpg", sign(list_, "--detach-sign"));
    expect_bad(newest("own"), "does not fit");
    put("/own/SUMS", list_);
    for (const auto& nonsense : {std::string("x"), std::string(100'000, '\xff'), list_}) {
        put("/own/SUMS.gpg", nonsense);
        expect_bad(newest("own"), "no signature");
    }
    make_key("stranger");
    put("/own/SUMS.gpg", sign(list_, "--detach-sign", "stranger"));
    expect_bad(newest("own"), "not in the keyring");
}

TEST_F(SignedVendorTest, AMissingSignatureOrABrokenKeyringIsNoReasonToGoOn) {
    write_catalog("{checksums}.gpg", "vendor.gpg");
    put("/own/SUMS", list_);
    EXPECT_EQ(newest("own").error().code, ErrorCode::download_failed);
    dir_.write("broken.gpg", "no keys");
    write_catalog("{checksums}.gpg", "broken.gpg");
    put("/own/SUMS.gpg", sign(list_, "--detach-sign"));
    const auto broken = newest("own");
    ASSERT_FALSE(broken);
    EXPECT_EQ(broken.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(broken.error().message, HasSubstr("broken.gpg"));
}

TEST_F(SignedVendorTest, WithoutAKeyringALineSaysSo) {
    write_catalog("{checksums}.gpg", "not-there.gpg");
    put("/own/SUMS", list_);
    const auto found = newest("own");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->signed_by, "");
    EXPECT_THAT(notes_, ElementsAre(HasSubstr("not-there.gpg")));
    EXPECT_THAT(asked(), ElementsAre("/own/SUMS"));
}

}  // namespace
}  // namespace noxsup::imaging
