// Passwords for guests: made once, shown once, kept only as a hash.
#pragma once

#include <string>

#include "supervisor/base/result.hpp"

namespace noxsup::daemon {

/// 16 characters without look-alikes: about 80 bits.
std::string random_password();

/// A crypt(5) hash (SHA-512, which every Linux guest reads). Errors: failed.
Result<std::string> hash_password(const std::string& password);

}  // namespace noxsup::daemon
