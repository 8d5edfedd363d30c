// Something to do on every way out of a scope.
#pragma once

#include <utility>

namespace noxsup {

/// Calls its function when it goes out of scope, also by an exception or when a coroutine is
/// destroyed. The function must not throw.
template <class F>
class ScopeExit {
  public:
    explicit ScopeExit(F function) : function_(std::move(function)) {}
    ScopeExit(const ScopeExit&) = delete;
    ScopeExit& operator=(const ScopeExit&) = delete;
    ~ScopeExit() { function_(); }

  private:
    F function_;
};

}  // namespace noxsup
