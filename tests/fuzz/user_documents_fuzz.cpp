// Fuzzes the reader of users' cloud-init documents: what it lets through stays free of our keys and
// types.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "imaging/nocloud_documents.hpp"
#include "imaging/nocloud_mime.hpp"

namespace {

using namespace noxsup::imaging;

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    const auto read = read_documents({{"fuzz", text}});
    if (!read) {
        require(read.error().code == noxsup::ErrorCode::invalid_cloud_init);
        return 0;
    }
    for (const auto& part : read->parts) {
        require(part.merge_type.empty());
        require(part.content_type != "text/cloud-config-archive");
        require(!part.content_type.starts_with("multipart/"));
    }
    // What goes to the guest says what was checked, part by part.
    const auto again = parse_mime(make_multipart(read->parts));
    require(read->parts.empty() || again.has_value());
    for (std::size_t i = 0; i < read->parts.size(); ++i) {
        require((*again)[i].content_type == read->parts[i].content_type);
        require((*again)[i].content == read->parts[i].content);
    }
    return 0;
}
