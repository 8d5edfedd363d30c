#include "imaging/signature.hpp"

#include <algorithm>
#include <vector>

#include "imaging/base64.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::string_view message_begin = "-----BEGIN PGP SIGNED MESSAGE-----";
constexpr std::string_view signature_begin = "-----BEGIN PGP SIGNATURE-----";
constexpr std::string_view signature_end = "-----END PGP SIGNATURE-----";
constexpr std::string_view keys_begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
constexpr std::string_view keys_end = "-----END PGP PUBLIC KEY BLOCK-----";

Error no_message(const char* why) {
    return {ErrorCode::download_failed, std::string("it is no clear-signed text: ") + why};
}

/// Takes the next line, without its end and white space before that; false at the end of the text.
bool take_line(std::string_view& text, std::string_view& line) {
    if (text.empty()) return false;
    const auto end = text.find('\n');
    line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    while (line.ends_with('\r') || line.ends_with(' ') || line.ends_with('\t'))
        line.remove_suffix(1);
    return true;
}

/// The base64 lines of one armoured block, without its checksum.
Result<std::string> decode_block(std::string_view block) {
    const Error broken(ErrorCode::invalid_argument, "a block of keys is damaged");
    std::string_view line;
    // Headers ("Version: ...") end with an empty line.
    bool body = false;
    std::string digits;
    while (take_line(block, line)) {
        if (!body) {
            body = line.empty();
            continue;
        }
        // "=njUN" is the checksum of the block; a short last line has its padding at its end.
        if (line.starts_with('=')) break;
        digits += line;
    }
    auto bytes = base64_decode(digits);
    if (!bytes || bytes->empty()) return broken;
    return std::move(*bytes);
}

bool is_fingerprint(std::string_view text) {
    return text.size() >= 40 && text.size() <= 64 &&
           text.find_first_not_of("0123456789ABCDEFabcdef") == std::string_view::npos;
}

}  // namespace

Result<std::string> clear_signed_text(std::string_view message) {
    std::string_view line;
    if (!take_line(message, line) || line != message_begin)
        return no_message("it does not begin with one");
    while (true) {
        if (!take_line(message, line)) return no_message("it ends within its headers");
        if (line.empty()) break;
        if (!line.starts_with("Hash: ")) return no_message("it has an unknown header");
    }
    std::string text;
    while (true) {
        if (!take_line(message, line)) return no_message("it ends before its signature");
        if (line == signature_begin) break;
        if (line.starts_with("- ")) {
            line.remove_prefix(2);
        } else if (line.starts_with('-')) {
            return no_message("a line begins with a dash");
        }
        text += line;
        text += '\n';
    }
    while (true) {
        if (!take_line(message, line)) return no_message("its signature does not end");
        if (line == signature_end) break;
        if (line.starts_with("-----")) return no_message("its signature is broken");
    }
    if (!trim(message).empty()) return no_message("something follows it");
    return text;
}

Result<std::string> binary_keys(std::string_view keys) {
    // The highest bit of every OpenPGP packet is set; a keybox file has its mark at the ninth byte.
    const bool packets = !keys.empty() && (static_cast<unsigned char>(keys.front()) & 0x80U) != 0;
    const bool keybox = keys.size() > 12 && keys.substr(8, 4) == "KBXf";
    if (packets || keybox) return std::string(keys);
    std::string binary;
    for (auto at = keys.find(keys_begin); at != std::string_view::npos;
         at = keys.find(keys_begin, at)) {
        const auto line_end = keys.find('\n', at);
        const auto end = keys.find(keys_end, at);
        if (line_end == std::string_view::npos || end == std::string_view::npos || end < line_end)
            return Error{ErrorCode::invalid_argument, "a block of keys does not end"};
        NOXSUP_TRY_VALUE(const auto block,
                         decode_block(keys.substr(line_end + 1, end - line_end - 1)));
        binary += block;
        at = end;
    }
    if (binary.empty())
        return Error{ErrorCode::invalid_argument, "it holds no OpenPGP public keys"};
    return binary;
}

Result<std::string> judge_gpgv_status(std::string_view status) {
    constexpr std::string_view prefix = "[GNUPG:] ";
    std::string fingerprint;
    std::string why = "no signature was found";
    bool good = false;
    bool bad = false;
    std::string_view line;
    while (take_line(status, line)) {
        if (!line.starts_with(prefix)) continue;
        const auto words = split(line.substr(prefix.size()), ' ');
        const auto& word = words.front();
        if (word == "NEWSIG") {
            good = false;
        } else if (word == "GOODSIG") {
            good = true;
        } else if (word == "VALIDSIG" && good) {
            // The last word is the primary key, the second the key that signed.
            const auto& key = words.size() >= 11 ? words[10] : words.back();
            if (is_fingerprint(key) && fingerprint.empty()) fingerprint = key;
        } else if (word == "BADSIG") {
            bad = true;
            why = "the signature does not fit the file";
        } else if (word == "EXPSIG" || word == "EXPKEYSIG") {
            good = false;
            why = "the signature or its key has expired";
        } else if (word == "REVKEYSIG") {
            good = false;
            why = "its key was revoked";
        } else if (word == "NO_PUBKEY") {
            why = "it was made with the key " + escape_for_terminal(words.back()) +
                  ", which is not in the keyring";
        }
    }
    if (!bad && !fingerprint.empty()) return fingerprint;
    return Error{ErrorCode::digest_mismatch, "the vendor's signature is not good: " + why,
                 "the server may serve something else than the vendor made, or the keyring is too "
                 "old"};
}

}  // namespace noxsup::imaging
