// What the supervisor and noxsup-worker say to each other: one JSON request in, JSON lines out.
//
//   noxsup-worker fetch|digest|inspect|unpack|convert|boot|signature
//       the request on standard input; descriptors are passed under the numbers it names
//   {"progress": {"stage", "done", "total", "unit", "rate", "eta", "note"}}    any number of
//   {"result": {...}} or {"error": {"code", "message", "hint", "evidence"}}    one, the last line
//   Exit code: 0 with a result, 2 with an error.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "imaging/progress.hpp"
#include "imaging/worker.hpp"
#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// The longest line either side takes.
inline constexpr std::size_t worker_line_limit = std::size_t{64} << 10;

Json to_json(const FetchRequest& request);
Json to_json(const UnpackRequest& request);
Json to_json(const ConvertRequest& request);
Json to_json(const SignatureRequest& request);
Json to_json(const Progress& progress);
Json to_json(const Error& error);

Result<FetchRequest> fetch_request_from_json(const Json& json);
Result<UnpackRequest> unpack_request_from_json(const Json& json);
Result<ConvertRequest> convert_request_from_json(const Json& json);
Result<SignatureRequest> signature_request_from_json(const Json& json);
Result<Progress> progress_from_json(const Json& json);
/// Text is escaped for terminals: the worker may have fallen to what it parsed. A protocol_error
/// when the JSON is not of an error's shape.
Error error_from_json(const Json& json);

/// Puts the worker's output together from pieces and keeps its last word.
class WorkerAnswer {
  public:
    explicit WorkerAnswer(ProgressCallback progress);

    /// Takes bytes of standard output, cut anywhere.
    void feed(std::string_view piece);
    /// The result or the error that came; protocol_error when neither did or the output made no
    /// sense.
    Result<Json> take();

  private:
    void line(std::string_view text);

    ProgressCallback progress_;
    std::string pending_;
    std::optional<Result<Json>> last_;
    std::optional<Error> nonsense_;
};

}  // namespace noxsup::imaging
