#include "tests/support/fault_http_server.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>

#include "supervisor/base/text.hpp"

namespace noxsup::test {
namespace {

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// Reads one request head; nothing when the client went away.
std::optional<HttpRequest> read_request(int socket) {
    std::string head;
    std::array<char, 4096> chunk{};
    while (head.find("\r\n\r\n") == std::string::npos) {
        const auto got = ::recv(socket, chunk.data(), chunk.size(), 0);
        if (got <= 0 || head.size() > 65536) return std::nullopt;
        head.append(chunk.data(), static_cast<std::size_t>(got));
    }
    HttpRequest request;
    const auto lines = split(head.substr(0, head.find("\r\n\r\n")), '\n');
    const auto words = split(trim(lines.at(0)), ' ');
    request.method = words.at(0);
    request.target = words.at(1);
    for (std::size_t i = 1; i < lines.size(); ++i) {
        const auto colon = lines[i].find(':');
        if (colon == std::string::npos) continue;
        request.headers[lower(lines[i].substr(0, colon))] =
            std::string(trim(lines[i].substr(colon + 1)));
    }
    return request;
}

}  // namespace

std::optional<std::uint64_t> HttpRequest::range_start() const {
    const auto found = headers.find("range");
    if (found == headers.end() || !found->second.starts_with("bytes=")) return std::nullopt;
    std::uint64_t value = 0;
    const auto text = std::string_view(found->second).substr(6);
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

bool HttpExchange::send(std::string_view bytes) const {
    while (!bytes.empty() && !stopping_) {
        const auto put = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (put <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return bytes.empty();
}

bool HttpExchange::respond(int status, const std::vector<std::string>& headers,
                           std::string_view body) const {
    auto head = "HTTP/1.1 " + std::to_string(status) + " Answer\r\nConnection: close\r\n";
    bool has_length = false;
    for (const auto& header : headers) {
        const auto name = lower(header);
        has_length = has_length || name.starts_with("content-length:") ||
                     name.starts_with("transfer-encoding:");
        head += header + "\r\n";
    }
    if (!has_length) head += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return send(head + "\r\n") && send(body);
}

void HttpExchange::serve(std::string_view content, const std::string& etag) const {
    const auto start = request_.range_start();
    const auto condition = request_.headers.find("if-range");
    const bool same = condition == request_.headers.end() || condition->second == etag;
    if (!start || !same) {
        respond(200, {"ETag: " + etag, "Accept-Ranges: bytes"}, content);
        return;
    }
    const auto size = std::to_string(content.size());
    if (*start >= content.size()) {
        respond(416, {"ETag: " + etag, "Content-Range: bytes */" + size}, "no such range");
        return;
    }
    const auto range =
        std::to_string(*start) + "-" + std::to_string(content.size() - 1) + "/" + size;
    respond(206, {"ETag: " + etag, "Content-Range: bytes " + range}, content.substr(*start));
}

void HttpExchange::reset() const {
    const linger now{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

bool HttpExchange::wait(std::chrono::milliseconds time) const {
    const auto until = std::chrono::steady_clock::now() + time;
    while (!stopping_ && std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return !stopping_;
}

FaultHttpServer::FaultHttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (!listener_ || ::bind(listener_.get(), generic, length) != 0 ||
        ::listen(listener_.get(), 16) != 0 ||
        ::getsockname(listener_.get(), generic, &length) != 0) {
        throw std::runtime_error("cannot listen on loopback");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
}

FaultHttpServer::~FaultHttpServer() {
    stopping_ = true;
    acceptor_.join();
    for (auto& worker : workers_) worker.join();
}

void FaultHttpServer::accept_all() {
    while (!stopping_) {
        pollfd entry{listener_.get(), POLLIN, 0};
        if (::poll(&entry, 1, 20) != 1) continue;
        const int socket = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) continue;
        // A client that hangs must not hang the test.
        const timeval limit{10, 0};
        ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        workers_.emplace_back([this, socket] { handle(socket); });
    }
}

void FaultHttpServer::handle(int socket) {
    if (auto request = read_request(socket)) {
        {
            const std::lock_guard guard(mutex_);
            requests_.push_back(*request);
        }
        handler_(HttpExchange(socket, std::move(*request), stopping_));
    }
    // Closing with unread bytes would be a RST; the client has sent one request and waits.
    ::close(socket);
}

std::string FaultHttpServer::url(std::string_view path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
}

std::vector<HttpRequest> FaultHttpServer::requests() const {
    const std::lock_guard guard(mutex_);
    return requests_;
}

}  // namespace noxsup::test
