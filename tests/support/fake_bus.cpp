#include "tests/support/fake_bus.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "supervisor/base/unix_socket.hpp"

namespace noxsup::test {
namespace {

constexpr std::size_t alignment = 8;
constexpr std::uint8_t method_call = 1, method_return = 2, error = 3, signal = 4;
constexpr std::uint8_t member = 3, reply_serial = 5;

/// As many bytes; fewer where the client has gone.
std::string read_bytes(int client, std::size_t size) {
    std::string text(size, '\0');
    const auto got = ::recv(client, text.data(), size, MSG_WAITALL);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

void write_bytes(int client, const std::string& text) {
    EXPECT_EQ(::send(client, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
}

std::uint32_t number_at(const std::string& text, std::size_t at) {
    std::uint32_t number = 0;
    std::memcpy(&number, text.data() + at, sizeof number);
    return number;
}

std::string bytes_of(std::uint32_t number) {
    std::string text(sizeof number, '\0');
    std::memcpy(text.data(), &number, sizeof number);
    return text;
}

std::size_t padded(std::size_t size) {
    return (size + alignment - 1) / alignment * alignment;
}

/// @param fields a multiple of eight bytes
std::string message(std::uint8_t type, const std::string& fields, const std::string& body) {
    return std::string{'l', static_cast<char>(type), 1, 1} +
           bytes_of(static_cast<std::uint32_t>(body.size())) + bytes_of(1) +
           bytes_of(static_cast<std::uint32_t>(fields.size())) + fields + body;
}

/// The string in a field of a header: its code, a signature of one letter, a length, the bytes.
std::string string_field(const std::string& fields, std::uint8_t code) {
    std::size_t at = 0;
    while (at + alignment <= fields.size()) {
        const auto size = number_at(fields, at + 4);
        if (static_cast<std::uint8_t>(fields[at]) == code) return fields.substr(at + 8, size);
        at += padded(8 + size + 1);
    }
    return {};
}

}  // namespace

FakeBus::FakeBus(std::filesystem::path socket) : path_(std::move(socket)) {
    auto listening = listen_unix(path_, 0600);
    EXPECT_TRUE(listening);
    if (!listening) return;
    listening_ = *std::move(listening);
    thread_ = std::thread([this] { serve(); });
}

FakeBus::~FakeBus() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
}

void FakeBus::refuse(std::string name) {
    const std::lock_guard lock(mutex_);
    refused_ = std::move(name);
}

std::vector<std::string> FakeBus::called() {
    const std::lock_guard lock(mutex_);
    return called_;
}

void FakeBus::serve() {
    pollfd asked{listening_.get(), POLLIN, 0};
    ::poll(&asked, 1, -1);
    const UniqueFd client(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) return;
    const std::string greeting("\0AUTH EXTERNAL 30\r\n", 19);
    EXPECT_EQ(read_bytes(client.get(), greeting.size()), greeting);
    write_bytes(client.get(), "OK 0123456789abcdef0123456789abcdef\r\n");
    const std::string begin = "BEGIN\r\n";
    EXPECT_EQ(read_bytes(client.get(), begin.size()), begin);
    while (answer_call(client.get())) {
    }
}

bool FakeBus::answer_call(int client) {
    constexpr std::size_t header_size = 16;
    const auto header = read_bytes(client, header_size);
    if (header.size() < header_size) return false;
    EXPECT_EQ(header.substr(0, 4), (std::string{'l', method_call, 0, 1}));
    EXPECT_EQ(number_at(header, 4), 0U) << "no arguments";
    const auto size = number_at(header, 12);
    const auto fields = read_bytes(client, padded(size));
    const auto name = string_field(fields.substr(0, size), member);
    bool refused = false;
    {
        const std::lock_guard lock(mutex_);
        called_.push_back(name);
        refused = name == refused_;
    }
    // What nobody asked for comes between.
    write_bytes(client, message(signal, "", "news"));
    const auto serial = std::string{reply_serial, 1, 'u', 0} + bytes_of(number_at(header, 8));
    const std::string words = "not today";
    const auto size_of_words = bytes_of(static_cast<std::uint32_t>(words.size()));
    write_bytes(client, refused ? message(error, serial, size_of_words + words + '\0')
                                : message(method_return, serial, ""));
    return true;
}

}  // namespace noxsup::test
