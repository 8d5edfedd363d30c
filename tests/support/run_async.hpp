// Runs one coroutine to its end, or until something holds, with a limit after which the test fails.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

namespace noxsup::test {

/// The coroutine's value; throws when it has not completed within `limit`, and passes exceptions
/// on.
template <class T>
T run_async(boost::asio::io_context& context, boost::asio::awaitable<T> operation,
            std::chrono::seconds limit = std::chrono::seconds(30)) {
    std::optional<T> value;
    std::exception_ptr failure;
    boost::asio::co_spawn(context, std::move(operation), [&](std::exception_ptr e, T result) {
        failure = e;
        if (!e) value.emplace(std::move(result));
        context.stop();
    });
    context.restart();
    context.run_for(limit);
    if (failure) std::rethrow_exception(failure);
    if (!value) throw std::runtime_error("the coroutine did not complete in time");
    return std::move(*value);
}

/// Runs what is pending until the condition holds; whether it does within `limit`.
inline bool comes_true(boost::asio::io_context& context, const std::function<bool()>& condition,
                       std::chrono::steady_clock::duration limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < end) {
        context.restart();
        context.run_for(std::chrono::milliseconds(10));
    }
    return condition();
}

}  // namespace noxsup::test
