#include "qmp/base64.hpp"

#include <gtest/gtest.h>

namespace noxsup::qmp {
namespace {

TEST(Base64, TheVectorsOfTheRfc) {
    for (const auto& [bytes, text] : {std::pair{"", ""},
                                      {"f", "Zg=="},
                                      {"fo", "Zm8="},
                                      {"foo", "Zm9v"},
                                      {"foob", "Zm9vYg=="},
                                      {"fooba", "Zm9vYmE="},
                                      {"foobar", "Zm9vYmFy"}}) {
        EXPECT_EQ(encode_base64(bytes), text);
        EXPECT_EQ(decode_base64(text), bytes);
    }
}

TEST(Base64, CarriesEveryByte) {
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    for (std::size_t size = 0; size <= all.size(); ++size) {
        EXPECT_EQ(decode_base64(encode_base64(all.substr(0, size))), all.substr(0, size));
    }
}

TEST(Base64, RefusesWhatIsNotCanonical) {
    for (const auto* text : {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "=Zg=", "Z===",
                             "Zg==Zg==", "Zm 9", "Zm9\n", "Zm-_", "Zg=a"}) {
        EXPECT_FALSE(decode_base64(text)) << text;
    }
}

}  // namespace
}  // namespace noxsup::qmp
