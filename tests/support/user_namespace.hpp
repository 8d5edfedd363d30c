// A user namespace, for tests that run as another user than root and make namespaces.
#pragma once

namespace noxsup::test {

/// Makes this (single-threaded) process root in a user namespace of its own, which it stays in.
/// False, with errno, where that is not allowed.
bool become_root_inside();

}  // namespace noxsup::test
