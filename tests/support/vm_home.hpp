// A home with what its VMs share, for tests of the supervisor's parts.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include "supervisor/vm/vm.hpp"
#include "tests/support/fake_kernel_network.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// The boot of the host is "boot" and there is no QEMU, unless the test says otherwise.
class VmHome : public testing::Test {
  protected:
    VmHome() { EXPECT_TRUE(home_.prepare()); }

    TempDir dir_{TempDir::In::memory};
    state::Home home_{dir_ / "home", state::Scope::user};
    state::VmStore store_{home_};
    boost::asio::io_context context_;
    boost::asio::thread_pool pool_{1};
    ProcessRunner runner_;
    FakeKernelNetwork kernel_;
    vm::Environment environment_{
        context_.get_executor(), home_, store_, runner_, kernel_, {}, "boot", pool_};
};

}  // namespace noxsup::test
