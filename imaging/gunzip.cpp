#include "imaging/gunzip.hpp"

#include <zlib.h>

#include <array>
#include <limits>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

// Window bits 15, plus 16 for the gzip format alone (zlib.h, inflateInit2).
constexpr int gzip_window = 15 + 16;

class Inflater {
  public:
    Inflater() : ready_(inflateInit2(&stream_, gzip_window) == Z_OK) {}
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
    ~Inflater() {
        if (ready_) inflateEnd(&stream_);
    }
    [[nodiscard]] bool ready() const { return ready_; }
    z_stream& stream() { return stream_; }

  private:
    z_stream stream_{};
    bool ready_;
};

Error damaged(std::string_view how) {
    return {ErrorCode::invalid_cloud_init, "the gzip data " + std::string(how)};
}

}  // namespace

bool is_gzip(std::string_view data) {
    return data.starts_with("\x1f\x8b");
}

Result<std::string> gunzip(std::string_view data, std::size_t limit) {
    Inflater inflater;
    if (!inflater.ready()) return Error{ErrorCode::no_memory, "gzip: out of memory"};
    if (data.size() > std::numeric_limits<uInt>::max()) return damaged("is too large");
    auto& stream = inflater.stream();
    std::string input(data);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): zlib's bytes are unsigned
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    std::string result;
    std::array<char, 16384> piece{};
    while (true) {
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): as above
        stream.next_out = reinterpret_cast<Bytef*>(piece.data());
        stream.avail_out = piece.size();
        const int status = inflate(&stream, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END) {
            return damaged(status == Z_BUF_ERROR ? "ends early" : "is damaged");
        }
        result.append(piece.data(), piece.size() - stream.avail_out);
        if (result.size() > limit) return damaged("holds more than " + format_bytes(limit));
        if (status != Z_STREAM_END) continue;
        if (stream.avail_in == 0) return result;
        if (inflateReset(&stream) != Z_OK) return damaged("is damaged");
    }
}

}  // namespace noxsup::imaging
