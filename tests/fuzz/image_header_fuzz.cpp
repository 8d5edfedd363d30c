// Whatever the bytes: no crash, and an image that is accepted keeps the limits the reader promises.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "imaging/image_probe.hpp"
#include "imaging/qcow2_header.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    using namespace noxsup::imaging;
    static_cast<void>(file_kind_title(identify_file(bytes, bytes.last(size < 512 ? size : 512))));
    const auto backing = qcow2_backing_name(bytes);
    if (backing && backing->size() > 1023) std::abort();
    // A file that is longer than what was read, as most are.
    for (const auto file_bytes :
         {std::uint64_t{size}, std::uint64_t{size} + (std::uint64_t{1} << 30U)}) {
        const auto header = parse_qcow2_header(bytes, file_bytes);
        if (!header) continue;
        const auto l1_bytes = std::uint64_t{header->l1_entries} * 8;
        if (header->virtual_bytes > max_virtual_bytes || header->l1_offset > file_bytes ||
            l1_bytes > file_bytes - header->l1_offset) {
            std::abort();
        }
        if (header->l1_offset + l1_bytes <= size) {
            static_cast<void>(
                check_l1_entries(bytes.subspan(header->l1_offset, l1_bytes), *header, file_bytes)
                    .has_value());
        }
    }
    return 0;
}
