// Bytes to lines: cuts a QMP or guest agent stream at LF or CRLF, whatever way the bytes were
// split.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// The longest line taken, in bytes without its end. QEMU's largest usual reply (query-qmp-schema)
/// has 205 KB.
inline constexpr std::size_t max_line_bytes = std::size_t{16} << 20;

/// Collects bytes and hands out complete lines; knows nothing of JSON and does no I/O.
///
/// Use: feed() what was read, then next() until it is empty, then feed() again. The buffer holds at
/// most one line of the limit and one feed; what a giant line took is given back once it is
/// consumed. Each byte is looked at once.
class Framer {
  public:
    explicit Framer(std::size_t max_line = max_line_bytes) : max_line_(max_line) {}

    /// Appends bytes. Invalidates the view that next() returned last.
    void feed(std::string_view bytes);

    /// The next complete line without its LF or CRLF (empty lines too), or nothing until more is
    /// fed. The view is good until the next call of feed() or next(). Errors: protocol_error when a
    /// line is longer than the limit; it stays, nothing can follow.
    Result<std::optional<std::string_view>> next();

    /// Bytes held that belong to no complete line handed out yet.
    [[nodiscard]] std::size_t pending() const { return buffer_.size() - head_; }
    /// Bytes of memory held.
    [[nodiscard]] std::size_t capacity() const { return buffer_.capacity(); }

  private:
    Error fail();
    void release();

    // Not a string: those double what reserve() asks for, and keep what assignment should give
    // back.
    std::vector<char> buffer_;
    std::size_t max_line_;
    std::size_t head_ = 0;     ///< where the first line not handed out begins
    std::size_t scanned_ = 0;  ///< no LF between head_ and here
    bool failed_ = false;
};

}  // namespace noxsup::qmp
