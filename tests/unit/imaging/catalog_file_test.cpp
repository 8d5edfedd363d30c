#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imaging/catalog.hpp"
#include "supervisor/base/json.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Json arch_linux() {
    return Json::parse(R"({
        "os": "arch", "release": "rolling", "title": "Arch Linux",
        "arches": {"amd64": "x86_64"},
        "url": "https://geo.mirror.pkgbuild.com/images/latest/",
        "image": "Arch-Linux-{arch}-cloudimg-*.qcow2",
        "checksums": "{image}.SHA256",
        "signature": "{checksums}.sig", "keyrings": ["/usr/share/keyrings/arch.gpg"],
        "shell": "/bin/sh", "doas": true})");
}

std::string file_with(const Json& entry) {
    return dump_json({{"version", 1}, {"images", Json::array({entry})}});
}

Result<std::vector<CatalogEntry>> read(const std::string& text) {
    return read_catalog(text, "/etc/noxsup/catalog.json", false);
}

TEST(CatalogFile, ReadsEveryMember) {
    const auto entries = read(file_with(arch_linux()));
    ASSERT_TRUE(entries) << entries.error().message;
    ASSERT_EQ(entries->size(), 1U);
    const auto& entry = entries->front();
    EXPECT_EQ(entry.os, "arch");
    EXPECT_EQ(entry.label, "Arch Linux");
    EXPECT_EQ(entry.base_url, "https://geo.mirror.pkgbuild.com/images/latest");
    EXPECT_EQ(entry.arches.at("amd64"), "x86_64");
    EXPECT_EQ(entry.checksums, "{image}.SHA256");
    EXPECT_THAT(entry.keyrings, ElementsAre("/usr/share/keyrings/arch.gpg"));
    EXPECT_EQ(entry.shell, "/bin/sh");
    EXPECT_TRUE(entry.doas);
    EXPECT_TRUE(entry.own);
    EXPECT_TRUE(read(R"({"version":1,"images":[]})")->empty());
}

TEST(CatalogFile, ABrokenMemberIsNamed) {
    struct Case {
        const char* member;
        Json value;
    };
    for (const auto& [member, value] :
         std::vector<Case>{{"os", "Arch"},
                           {"os", ""},
                           {"os", "a/b"},
                           {"os", 7},
                           {"os", "a-name-that-is-longer-than-any"},
                           {"release", nullptr},
                           {"release", "1 2"},
                           {"release", "1:2"},
                           {"codename", "../x"},
                           {"title", "two\nlines"},
                           {"title", std::string(501, 'x')},
                           {"url", "http://plain.example/x"},
                           {"url", "ftp://host/x"},
                           {"url", "https://host/x?y"},
                           {"url", "/srv/images"},
                           {"image", "../x.qcow2"},
                           {"image", "*"},
                           {"image", "https://evil.example/x"},
                           {"image", "x y"},
                           {"image", "{image}"},
                           {"checksums", "{image}"},
                           {"checksums", "{image}/../x"},
                           {"checksums", "a/SHA256SUMS"},
                           {"digest_name", "a/b"},
                           {"signature", "/x"},
                           {"signature", "*.gpg"},
                           {"shell", "bash"},
                           {"doas", "yes"},
                           {"default", 1},
                           {"keyrings", "x"},
                           {"keyrings", Json::array({"relative.gpg"})},
                           {"arches", Json::array()},
                           {"arches", Json::object()}}) {
        auto entry = arch_linux();
        entry[member] = value;
        const auto entries = read(file_with(entry));
        ASSERT_FALSE(entries) << member << " " << value;
        EXPECT_EQ(entries.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(entries.error().message, AllOf(HasSubstr("/etc/noxsup/catalog.json"),
                                                   HasSubstr("images[0]." + std::string(member))));
        EXPECT_THAT(entries.error().hint, HasSubstr("mend the file"));
    }
}

TEST(CatalogFile, WhatIsMissingOrUnknownIsNamed) {
    for (const auto* needed : {"os", "release", "url", "image", "checksums", "arches"}) {
        auto entry = arch_linux();
        entry.erase(needed);
        EXPECT_THAT(read(file_with(entry)).error().message,
                    HasSubstr("images[0]." + std::string(needed) + " is missing"));
    }
    auto unknown = arch_linux();
    unknown["imgae"] = "x";
    EXPECT_THAT(read(file_with(unknown)).error().message,
                AllOf(HasSubstr("images[0].imgae is not known"), HasSubstr("image,")));
    auto other = arch_linux();
    other["arches"]["riscv64"] = "riscv64";
    EXPECT_THAT(read(file_with(other)).error().message, HasSubstr("images[0].arches.riscv64"));
    auto unsigned_list = arch_linux();
    unsigned_list.erase("signature");
    EXPECT_THAT(read(file_with(unsigned_list)).error().message, HasSubstr("images[0].keyrings"));
    const auto twice = Json::array({arch_linux(), arch_linux()});
    EXPECT_THAT(read(dump_json({{"version", 1}, {"images", twice}})).error().message,
                HasSubstr("images[1] is arch:rolling for the second time"));
}

TEST(CatalogFile, OtherFilesAreRefused) {
    for (const auto* text :
         {"", "[]", "{", "{}", "{\"version\":2,\"images\":[]}", "{\"version\":1}",
          "{\"version\":1,\"images\":{}}", "{\"version\":1,\"images\":[7]}",
          "{\"version\":1,\"images\":[],\"more\":1}"}) {
        EXPECT_FALSE(read(text)) << text;
    }
    EXPECT_TRUE(read_catalog(file_with(arch_linux()), "x", false));
    auto plain = arch_linux();
    plain["url"] = "http://mirror.example/x";
    EXPECT_TRUE(read_catalog(file_with(plain), "x", true));
}

class OwnCatalog : public testing::Test {
  protected:
    void own(const Json& entry) { dir_.write("catalog.json", file_with(entry)); }
    test::TempDir dir_;
    Catalog catalog_{Mirror(), dir_ / "catalog.json"};
};

TEST_F(OwnCatalog, AddsToOursAndFollowsTheFile) {
    EXPECT_TRUE(catalog_.reload()) << "no file is no error";
    const auto count = catalog_.available().size();
    own(arch_linux());
    ASSERT_TRUE(catalog_.reload());
    EXPECT_EQ(catalog_.available().size(), count + 1);
    const auto found = catalog_.find("arch", "amd64");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->image, "Arch-Linux-x86_64-cloudimg-*.qcow2");
    EXPECT_EQ(found->directory, "https://geo.mirror.pkgbuild.com/images/latest/");
    EXPECT_TRUE(found->own);
    EXPECT_FALSE(found->is_buildable());
    EXPECT_THAT(catalog_.find("arch", "arm64").error().message, HasSubstr("no arm64 image"));
    std::filesystem::remove(dir_ / "catalog.json");
    ASSERT_TRUE(catalog_.reload());
    EXPECT_FALSE(catalog_.find("arch", "amd64"));
}

TEST_F(OwnCatalog, ReplacesAnEntryOfTheSameName) {
    auto entry = arch_linux();
    entry["os"] = "debian";
    entry["release"] = "13";
    own(entry);
    ASSERT_TRUE(catalog_.reload());
    EXPECT_EQ(catalog_.find("debian", "amd64")->image, "Arch-Linux-x86_64-cloudimg-*.qcow2");
    EXPECT_EQ(catalog_.find("debian:12", "amd64")->release, "12");
}

TEST_F(OwnCatalog, AReleaseMoreIsTheDefaultOnlyIfItSaysSo) {
    auto entry = arch_linux();
    entry["os"] = "fedora";
    entry["release"] = "45";
    own(entry);
    ASSERT_TRUE(catalog_.reload());
    EXPECT_EQ(catalog_.find("fedora", "amd64")->release, "44");
    EXPECT_EQ(catalog_.find("fedora:45", "amd64")->release, "45");
    entry["default"] = true;
    own(entry);
    ASSERT_TRUE(catalog_.reload());
    EXPECT_EQ(catalog_.find("fedora", "amd64")->release, "45");
    EXPECT_EQ(catalog_.find("fedora:44", "amd64")->release, "44");
    EXPECT_THAT(catalog_.find("fedora:45", "amd64")->names, ElementsAre("fedora:45", "fedora"));
}

TEST_F(OwnCatalog, ABrokenFileIsAnErrorAndOursStay) {
    dir_.write("catalog.json", "{");
    const auto loaded = catalog_.reload();
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().message, HasSubstr("catalog.json"));
    EXPECT_TRUE(catalog_.find("debian", "amd64"));
}

}  // namespace
}  // namespace noxsup::imaging
