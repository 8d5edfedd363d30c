// Texts around OpenPGP signatures: clear-signed lists, armoured keys, what gpgv says; no I/O.
#pragma once

#include <string>
#include <string_view>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The text inside a clear-signed message (RFC 4880 section 7), its dashes unescaped; the signature
/// is not checked. Errors: download_failed unless the whole is one such message and nothing else.
Result<std::string> clear_signed_text(std::string_view message);

/// Keys as gpgv reads them: binary ones as they are, the blocks of an armoured file decoded and put
/// together. Errors: invalid_argument when it is neither.
Result<std::string> binary_keys(std::string_view keys);

/// Judges the lines of `gpgv --status-fd`. Returns the fingerprint (hexadecimal) of the key of a
/// good signature. Errors: digest_mismatch when there is none by a valid key, or a bad one beside
/// it.
Result<std::string> judge_gpgv_status(std::string_view status);

}  // namespace noxsup::imaging
