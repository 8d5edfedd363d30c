#include "qmp/framer.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace noxsup::qmp {
namespace {

/// A buffer up to this size is kept between lines; a larger one is given back.
constexpr std::size_t keep_bytes = std::size_t{64} << 10;

Error too_long(std::size_t limit) {
    return {ErrorCode::protocol_error,
            "a line is longer than the limit of " + std::to_string(limit) + " bytes"};
}

}  // namespace

void Framer::feed(std::string_view bytes) {
    if (failed_) return;
    // Moving the rest costs less than what was consumed before it, so all moves together are
    // linear.
    if (head_ > buffer_.size() / 2) {
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(head_));
        scanned_ -= head_;
        head_ = 0;
    }
    const auto needed = buffer_.size() + bytes.size();
    if (needed > buffer_.capacity()) {
        const auto ceiling = std::max(needed, max_line_ + keep_bytes);
        buffer_.reserve(std::min(std::max(needed, 2 * buffer_.capacity()), ceiling));
    }
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<std::string_view>> Framer::next() {
    if (failed_) return too_long(max_line_);
    const auto* const start = buffer_.data() + scanned_;
    const auto left = buffer_.size() - scanned_;
    const auto* const end =
        left == 0 ? nullptr : static_cast<const char*>(std::memchr(start, '\n', left));
    if (end == nullptr) {
        scanned_ = buffer_.size();
        // One byte more may still be the CR of a line end.
        const auto length = pending();
        const bool may_end = length == max_line_ + 1 && buffer_.back() == '\r';
        if (length > max_line_ && !may_end) return fail();
        release();
        return std::optional<std::string_view>();
    }
    const auto* const begin = buffer_.data() + head_;
    std::string_view line(begin, static_cast<std::size_t>(end - begin));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > max_line_) return fail();
    head_ = scanned_ = static_cast<std::size_t>(end - buffer_.data()) + 1;
    return std::optional(line);
}

Error Framer::fail() {
    failed_ = true;
    head_ = scanned_ = 0;
    std::vector<char>().swap(buffer_);
    return too_long(max_line_);
}

void Framer::release() {
    const bool large = buffer_.capacity() > keep_bytes;
    if (head_ == 0) return;
    if (pending() == 0 && !large) {
        buffer_.clear();
    } else if (large && pending() < buffer_.capacity() / 4) {
        const auto rest = buffer_.begin() + static_cast<std::ptrdiff_t>(head_);
        std::vector<char>(rest, buffer_.end()).swap(buffer_);
    } else {
        return;
    }
    scanned_ -= head_;
    head_ = 0;
}

}  // namespace noxsup::qmp
