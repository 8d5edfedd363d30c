// The control protocol without I/O: lines cut from bytes, JSON-RPC 2.0 messages, errors both ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::control {

/// The longest line either side takes or sends, without its newline.
inline constexpr std::size_t max_line_bytes = std::size_t{1} << 20;
/// The most descriptors one message names.
inline constexpr std::size_t max_message_fds = 8;

/// Error codes of JSON-RPC 2.0 section 5.1, and the one for our own errors.
enum class RpcCode : int {
    parse_error = -32700,
    invalid_request = -32600,
    method_not_found = -32601,
    invalid_params = -32602,
    internal_error = -32603,
    noxsup_error = -32000,
};

/// A call's identifier as its caller chose it: an integer or a short text.
using CallId = Json;

/// One message. `fds` is our addition to the envelope: how many descriptors belong to the line;
/// they ride on its first byte and are named in the parameters by index.
///
/// ```
/// {"jsonrpc":"2.0","id":1,"method":"image.import","params":{"name":"x","fd":0},"fds":1}
/// {"jsonrpc":"2.0","method":"progress","params":{"call":1,"stage":"disk","done":1,"total":2,"unit":"bytes"}}
/// {"jsonrpc":"2.0","id":1,"result":{}}
/// {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"...","data":{"code":"vm-not-found",...}}}
/// ```
struct Request {
    CallId id;
    std::string method;
    Json params = Json::object();
    std::size_t fds = 0;
};
struct Notification {
    std::string method;
    Json params = Json::object();
};
struct Response {
    CallId id;
    Json result = Json::object();
    std::size_t fds = 0;
};
struct ErrorResponse {
    CallId id;  ///< null when the call could not be told
    RpcCode rpc_code = RpcCode::noxsup_error;
    Error error;
};
using Message = std::variant<Request, Notification, Response, ErrorResponse>;

/// Why a line is no message: what to answer, and the id to answer to (null when it has none).
struct Malformed {
    CallId id;
    RpcCode rpc_code = RpcCode::invalid_request;
    std::string problem;
};

/// Cuts a stream of bytes into lines.
class LineFramer {
  public:
    explicit LineFramer(std::size_t limit = max_line_bytes) : limit_(limit) {}

    /// Takes bytes in. Errors: protocol_error when a line grows beyond the limit; the stream is of
    /// no use from then on (every later call fails too).
    Result<> feed(std::string_view bytes);
    /// The next whole line without its newline (nor a CR before it), or nothing.
    std::optional<std::string> next();
    /// True while bytes of an unfinished line are held.
    [[nodiscard]] bool partial() const { return !rest_.empty(); }

  private:
    std::size_t limit_;
    bool broken_ = false;
    std::string rest_;
    std::deque<std::string> lines_;
};

/// One line to a message. Never throws, whatever the bytes are.
std::variant<Message, Malformed> parse_message(std::string_view line);

/// A message to its line, newline included. The caller checks the length against max_line_bytes.
std::string encode(const Request& request);
std::string encode(const Notification& notification);
std::string encode(const Response& response);
std::string encode(const ErrorResponse& response);

/// The `data` member of an error, and the `error` member of the command line's JSON:
/// {code, exit, stage, message, hint, evidence}.
Json error_to_json(const Error& error);
/// The inverse, for what another build may have sent: missing members are empty, an unknown code
/// becomes the general one of its exit code.
Error error_from_json(const Json& data);

}  // namespace noxsup::control
