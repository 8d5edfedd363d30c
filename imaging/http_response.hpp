// Judges the head of an HTTP answer to a download or its resumption; no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "supervisor/base/error.hpp"

namespace noxsup::imaging {

/// The head of one answer, collected line by line (RFC 9110, RFC 9112).
class ResponseHead {
  public:
    /// Takes a line with or without its CRLF; a status line starts a new head (1xx answers come
    /// before the real one). False when the head is longer than any honest one.
    bool add_line(std::string_view line);

    [[nodiscard]] int status() const { return status_; }
    [[nodiscard]] const std::string& etag() const { return etag_; }
    [[nodiscard]] const std::string& content_type() const { return content_type_; }
    [[nodiscard]] const std::string& content_encoding() const { return content_encoding_; }
    [[nodiscard]] const std::string& content_range() const { return content_range_; }
    [[nodiscard]] std::optional<std::uint64_t> content_length() const { return content_length_; }
    /// True for an ETag by which two parts may be put together (not W/..., RFC 9110 8.8.1).
    [[nodiscard]] bool has_strong_etag() const;

  private:
    std::size_t bytes_ = 0;
    int status_ = 0;
    std::string etag_;
    std::string content_type_;
    std::string content_encoding_;
    std::string content_range_;
    std::optional<std::uint64_t> content_length_;
};

/// "bytes 100-199/200" or "bytes */200".
struct ContentRange {
    std::optional<std::uint64_t> first;  ///< nothing for "*"
    std::uint64_t last = 0;
    std::uint64_t total = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view value);

/// What is there already, and what the request asked for.
struct ResumePoint {
    std::uint64_t offset = 0;  ///< 0: no range was asked
    std::string etag;
};

/// What to do with the body.
enum class BodyPlan {
    append,            ///< it continues what is there
    from_start,        ///< it is the whole thing: drop what is there
    again_from_start,  ///< drop body and what is there, ask again without a range
    complete,          ///< nothing is missing
    refuse,            ///< see the error
};

struct Judgement {
    BodyPlan plan = BodyPlan::refuse;
    std::optional<std::uint64_t> total;  ///< size of the whole thing
    Error error;                         ///< for refuse
    bool retry = false;                  ///< for refuse: another attempt may be luckier
};

/// @param max_bytes the most we take  @param page a web page is what was asked for
/// Not for 3xx: redirects are followed before.
Judgement judge_response(const ResponseHead& head, const ResumePoint& asked,
                         std::uint64_t max_bytes, bool page = false);

}  // namespace noxsup::imaging
