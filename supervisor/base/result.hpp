// Result<T>: a value or an Error, the return type of everything that can fail in the field.
#pragma once

#include <boost/system/result.hpp>
#include <stdexcept>
#include <utility>

#include "supervisor/base/error.hpp"

namespace noxsup {

/// A value of T, or the Error that kept it from being. `Result<>` carries no value.
template <class T = void>
using Result = boost::system::result<T, Error>;

/// Boost.System calls this when value() is asked of an error: a broken invariant of ours, so it
/// throws.
[[noreturn]] inline void throw_exception_from_error(const Error& error,
                                                    const boost::source_location& /*where*/) {
    throw std::logic_error("value() of a failed Result: " + error.message);
}

}  // namespace noxsup

/// Evaluates to nothing; returns the error from the enclosing function when `expr` holds one.
#define NOXSUP_TRY(expr)                                         \
    do {                                                         \
        if (auto noxsup_try_result = (expr); !noxsup_try_result) \
            return std::move(noxsup_try_result).error();         \
    } while (false)

#define NOXSUP_TRY_NAME_2(a, b) a##b
#define NOXSUP_TRY_NAME(a, b) NOXSUP_TRY_NAME_2(a, b)
/// `NOXSUP_TRY_VALUE(auto x, f());` declares x from f()'s value or returns its error.
#define NOXSUP_TRY_VALUE(decl, expr)                                         \
    auto NOXSUP_TRY_NAME(noxsup_result_, __LINE__) = (expr);                 \
    if (!NOXSUP_TRY_NAME(noxsup_result_, __LINE__))                          \
        return std::move(NOXSUP_TRY_NAME(noxsup_result_, __LINE__)).error(); \
    decl = std::move(*NOXSUP_TRY_NAME(noxsup_result_, __LINE__))

/// The same two inside a coroutine. `expr` may hold a co_await of a *named* operand.
#define NOXSUP_CO_TRY(expr)                                      \
    do {                                                         \
        if (auto noxsup_try_result = (expr); !noxsup_try_result) \
            co_return std::move(noxsup_try_result).error();      \
    } while (false)

#define NOXSUP_CO_TRY_VALUE(decl, expr)                                         \
    auto NOXSUP_TRY_NAME(noxsup_result_, __LINE__) = (expr);                    \
    if (!NOXSUP_TRY_NAME(noxsup_result_, __LINE__))                             \
        co_return std::move(NOXSUP_TRY_NAME(noxsup_result_, __LINE__)).error(); \
    decl = std::move(*NOXSUP_TRY_NAME(noxsup_result_, __LINE__))
