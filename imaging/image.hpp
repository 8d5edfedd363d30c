// What is known of one base image in the store, and its JSON form beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// Where an image came from. `unknown`: its metadata is lost; `foreign`: a file of nox, not ours.
enum class ImageOrigin { vendor, built, import, unknown, foreign };

std::string_view origin_name(ImageOrigin origin);
ImageOrigin origin_from_name(std::string_view name);

/// One image. Its identity is the SHA-256 of the file: content never changes under a digest.
struct Image {
    std::string
        digest;  ///< SHA-256 of the stored file, 64 lower-case hex digits; empty when foreign
    std::vector<std::string> names;  ///< the links to it: "debian-13-arm64"; sorted
    ImageOrigin origin = ImageOrigin::unknown;
    std::string os;             ///< "debian", or empty when not known
    std::string release;        ///< "13"
    std::string arch;           ///< "arm64", "amd64" or empty
    std::string vendor_sha512;  ///< SHA-512 of the file as it was published
    std::string signed_by;   ///< fingerprint of the vendor's key, where its signature was checked
    std::string source;      ///< URL, "build-debian trixie" or the name of the imported file
    std::string created_at;  ///< RFC 3339, UTC: when it came into the store
    std::uint64_t virtual_bytes = 0;
    std::uint64_t file_bytes = 0;
    std::filesystem::path path;  ///< the file itself, below the store

    /// The first name, else "sha256:" and 12 digits: what messages call it.
    [[nodiscard]] std::string display_name() const;
};

/// The file beside an image: its members without names, path and file_bytes.
std::string image_to_json(const Image& image);
/// Reads that file back. Errors: protocol_error.
Result<Image> image_from_json(std::string_view text);

/// True for 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

/// True for a name an image may have: [a-z0-9][a-z0-9._-]{0,62}, not like one of our own file
/// names.
bool is_image_name(std::string_view name);

}  // namespace noxsup::imaging
