#include "supervisor/base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "supervisor/base/result.hpp"

namespace noxsup {
namespace {

TEST(ErrorCodes, TableIsInTheOrderOfTheEnumeration) {
    const auto& codes = all_error_codes();
    for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(static_cast<std::size_t>(codes[i]), i);
    EXPECT_EQ(codes.back(), ErrorCode::interrupted);
}

TEST(ErrorCodes, NamesAreUniqueAndReadBack) {
    std::set<std::string_view> names;
    for (const auto code : all_error_codes()) {
        EXPECT_TRUE(names.insert(error_code_name(code)).second) << error_code_name(code);
        EXPECT_EQ(error_code_from_name(error_code_name(code)), code);
    }
    EXPECT_EQ(error_code_from_name("from-a-newer-version"), ErrorCode::failed);
}

TEST(ErrorCodes, ExitCodesAreTheDocumentedOnes) {
    for (const auto code : all_error_codes()) {
        const auto exit = exit_code_of(code);
        EXPECT_TRUE((exit >= 1 && exit <= 8) || exit == 130) << error_code_name(code);
    }
    EXPECT_EQ(exit_code_of(ErrorCode::vm_not_found), 4);
    EXPECT_EQ(exit_code_of(ErrorCode::timeout), 6);
}

TEST(Error, ContextGoesBeforeTheMessage) {
    auto error = Error(ErrorCode::failed, "Device busy").context("attach tap nx3f to br0");
    EXPECT_EQ(error.message, "attach tap nx3f to br0: Device busy");
}

TEST(ErrnoError, TellsSpaceAndMemoryApart) {
    EXPECT_EQ(errno_error("write x", ENOSPC).code, ErrorCode::no_space);
    EXPECT_EQ(errno_error("write x", EDQUOT).code, ErrorCode::no_space);
    EXPECT_EQ(errno_error("fork", ENOMEM).code, ErrorCode::no_memory);
    EXPECT_EQ(errno_error("open x", EACCES, ErrorCode::unreadable_file).code,
              ErrorCode::unreadable_file);
    EXPECT_THAT(errno_error("open x", EACCES, ErrorCode::unreadable_file).hint,
                testing::HasSubstr("let this user read it"));
    EXPECT_THAT(errno_error("open x", ENOENT, ErrorCode::unreadable_file).hint,
                testing::HasSubstr("look at the path"));
    EXPECT_EQ(errno_error("open x", EACCES).message, "open x: Permission denied");
}

Result<int> half(int value) {
    if (value % 2 != 0) return Error{ErrorCode::invalid_argument, "odd"};
    return value / 2;
}

Result<int> quarter(int value) {
    NOXSUP_TRY_VALUE(const auto once, half(value));
    NOXSUP_TRY(half(once));
    return half(once);
}

TEST(Result, TryPassesTheErrorOn) {
    EXPECT_EQ(*quarter(8), 2);
    EXPECT_EQ(quarter(6).error().message, "odd");
    EXPECT_THROW(static_cast<void>(quarter(1).value()), std::logic_error);
}

}  // namespace
}  // namespace noxsup
