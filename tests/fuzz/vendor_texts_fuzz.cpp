// What vendors and users write around images: listings, signed lists, keys, what gpgv says, catalog
// files. No crash, and no name that leaves its directory.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "imaging/catalog_entry.hpp"
#include "imaging/signature.hpp"
#include "imaging/vendor_index.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace noxsup::imaging;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto names = names_in_listing(text);
    for (const auto& name : names) {
        if (!is_plain_file_name(name) || name.find('/') != std::string::npos) std::abort();
    }
    const auto newest = newest_match(names, "a*-{arch}*.qcow2");
    if (newest && !matches_pattern("a*-{arch}*.qcow2", *newest)) std::abort();
    const auto half = text.substr(0, size / 2);
    const auto rest = text.substr(size / 2);
    if (compare_versions(half, rest) != -compare_versions(rest, half)) std::abort();
    static_cast<void>(matches_pattern(half.substr(0, 100), rest.substr(0, 1000)));
    static_cast<void>(clear_signed_text(text).has_value());
    static_cast<void>(binary_keys(text).has_value());
    const auto key = judge_gpgv_status(text);
    if (key && text.find("VALIDSIG") == std::string_view::npos) std::abort();
    if (const auto entries = read_catalog(text, "catalog.json", false)) {
        for (const auto& entry : *entries) {
            if (entry.image.find('/') != std::string::npos) std::abort();
            if (!entry.base_url.starts_with("https://") && !entry.base_url.starts_with("http://"))
                std::abort();
        }
    }
    return 0;
}
