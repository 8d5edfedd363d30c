#include "imaging/signature.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace noxsup::imaging {
namespace {

using testing::HasSubstr;

const std::string head = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n";
const std::string tail =
    "-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=njUN\n-----END PGP SIGNATURE-----\n";

TEST(ClearSigned, GivesTheTextInside) {
    EXPECT_EQ(*clear_signed_text(head + "a\nb\n" + tail), "a\nb\n");
    EXPECT_EQ(*clear_signed_text(head + "- -----x\n- - y\n" + tail), "-----x\n- y\n");
    EXPECT_EQ(*clear_signed_text("-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\na\r\n" + tail), "a\n");
    EXPECT_EQ(*clear_signed_text(head + tail + "\n \n"), "");
}

TEST(ClearSigned, IsOneMessageAndNothingElse) {
    for (const auto& text :
         {std::string(), std::string("SHA256 (x) = 00\n"), "before\n" + head + "a\n" + tail,
          head + "a\n" + tail + "SHA256 (x) = 00\n", head + "a\n" + tail + head + "b\n" + tail,
          head + "a\n", head.substr(0, 40), head + "a\n" + tail.substr(0, 50), head + "-a\n" + tail,
          head + head + "a\n" + tail,
          "-----BEGIN PGP SIGNED MESSAGE-----\nSHA256 (x) = 00\n\na\n" + tail}) {
        const auto inner = clear_signed_text(text);
        ASSERT_FALSE(inner) << text;
        EXPECT_EQ(inner.error().code, ErrorCode::download_failed);
    }
}

TEST(Keyring, IsBinaryOrArmoured) {
    const std::string packets = "\x98\x33\x04 and so on";
    EXPECT_EQ(*binary_keys(packets), packets);
    EXPECT_EQ(*binary_keys("12345678KBXf0000"), "12345678KBXf0000");
    const std::string block =
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmDMEIGFu\nZA==\n=njUN\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n";
    EXPECT_EQ(*binary_keys("comment\n" + block), "\x98\x33\x04 and");
    EXPECT_EQ(*binary_keys(block + block), "\x98\x33\x04 and\x98\x33\x04 and");
}

TEST(Keyring, AnythingElseIsRefused) {
    for (const std::string text :
         {"", "text", "-----BEGIN PGP PUBLIC KEY BLOCK-----",
          "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n",
          "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n",
          "-----BEGIN PGP PUBLIC KEY BLOCK-----\nmDME\n-----END PGP PUBLIC KEY BLOCK-----\n",
          "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nmDME\n-----END PGP PRIVATE KEY BLOCK-----\n"}) {
        EXPECT_FALSE(binary_keys(text)) << text;
    }
}

const std::string fingerprint = "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81";
const std::string good =
    "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1A5D6C4C7DB87C81 A name\n[GNUPG:] "
    "VALIDSIG 0000000000000000000000000000000000000000 2026-01-01 1767225600 0 "
    "4 0 1 10 00 " +
    fingerprint + "\n";

TEST(GpgvStatus, AGoodSignatureByAValidKeyCounts) {
    EXPECT_EQ(*judge_gpgv_status(good), fingerprint);
    EXPECT_EQ(*judge_gpgv_status("[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG 1 1 10 00 1 9\n[GNUPG:] "
                                 "NO_PUBKEY 1111111111111111\n" +
                                 good),
              fingerprint)
        << "one of two by another key";
}

TEST(GpgvStatus, NothingElseDoes) {
    const auto valid = good.substr(good.find("[GNUPG:] VALIDSIG"));
    for (const auto& [status, why] : std::vector<std::pair<std::string, std::string>>{
             {"", "no signature"},
             {"gpgv: Good signature from \"A name\"\n", "no signature"},
             {valid, "no signature"},
             {"[GNUPG:] GOODSIG 1A5D6C4C7DB87C81 A name\n", "no signature"},
             {"[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 1A5D6C4C7DB87C81 A name\n", "does not fit"},
             {good + "[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 1A5D6C4C7DB87C81 A name\n", "does not fit"},
             {"[GNUPG:] NEWSIG\n[GNUPG:] EXPKEYSIG 1A5D6C4C7DB87C81 A name\n" + valid, "expired"},
             {"[GNUPG:] NEWSIG\n[GNUPG:] EXPSIG 1A5D6C4C7DB87C81 A name\n" + valid, "expired"},
             {"[GNUPG:] NEWSIG\n[GNUPG:] REVKEYSIG 1A5D6C4C7DB87C81 A name\n" + valid, "revoked"},
             {"[GNUPG:] NO_PUBKEY 1111111111111111\n", "1111111111111111"}}) {
        const auto key = judge_gpgv_status(status);
        ASSERT_FALSE(key) << status;
        EXPECT_EQ(key.error().code, ErrorCode::digest_mismatch);
        EXPECT_THAT(key.error().message, HasSubstr(why));
    }
}

}  // namespace
}  // namespace noxsup::imaging
