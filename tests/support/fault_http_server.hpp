// A small HTTP server on loopback whose every answer a test decides, faults included.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "supervisor/base/unique_fd.hpp"

namespace noxsup::test {

struct HttpRequest {
    std::string method;
    std::string target;
    std::map<std::string, std::string> headers;  ///< names in lower case
    /// Start of "Range: bytes=N-", or nothing.
    [[nodiscard]] std::optional<std::uint64_t> range_start() const;
};

/// One request and the means to answer it, well or badly.
class HttpExchange {
  public:
    HttpExchange(int socket, HttpRequest request, const std::atomic<bool>& stopping)
        : socket_(socket), request_(std::move(request)), stopping_(stopping) {}

    [[nodiscard]] const HttpRequest& request() const { return request_; }
    /// Bytes as they are; false when the client has gone or the server stops.
    bool send(std::string_view bytes) const;
    /// A head with Connection: close, then the body. Content-Length is added unless a header names
    /// it.
    bool respond(int status, const std::vector<std::string>& headers, std::string_view body) const;
    /// A good server's answer: ranges, If-Range, ETag.
    void serve(std::string_view content, const std::string& etag) const;
    /// Ends the connection with a RST.
    void reset() const;
    /// Waits; returns early, false, when the server stops.
    [[nodiscard]] bool wait(std::chrono::milliseconds time) const;

  private:
    int socket_;
    HttpRequest request_;
    const std::atomic<bool>& stopping_;
};

/// Listens on 127.0.0.1 until it is destroyed; a thread a connection, one request each.
class FaultHttpServer {
  public:
    using Handler = std::function<void(const HttpExchange&)>;
    explicit FaultHttpServer(Handler handler);
    FaultHttpServer(const FaultHttpServer&) = delete;
    FaultHttpServer& operator=(const FaultHttpServer&) = delete;
    ~FaultHttpServer();

    [[nodiscard]] std::string url(std::string_view path) const;
    [[nodiscard]] std::vector<HttpRequest> requests() const;

  private:
    void accept_all();
    void handle(int socket);

    Handler handler_;
    UniqueFd listener_;
    std::uint16_t port_ = 0;
    std::atomic<bool> stopping_ = false;
    mutable std::mutex mutex_;
    std::vector<HttpRequest> requests_;
    std::vector<std::thread> workers_;
    std::thread acceptor_;
};

}  // namespace noxsup::test
