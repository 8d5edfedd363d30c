// What a peer that does not keep to the protocol gets from the server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "supervisor/base/unix_socket.hpp"
#include "supervisor/control/rpc.hpp"
#include "tests/component/supervisor/control/running_server.hpp"

namespace noxsup::control {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::string_view hello =
    R"({"jsonrpc":"2.0","id":0,"method":"hello","params":{"protocol":1,"client":"test"}})"
    "\n";

/// A bare socket to the server.
class HostileClient : public RunningServer {
  protected:
    HostileClient() { reconnect(); }

    void reconnect() {
        auto fd = connect_unix(socket_);
        if (!fd) throw std::runtime_error(fd.error().message);
        peer_ = std::move(*fd);
        framer_ = LineFramer(std::size_t{4} << 20);
        closed_ = false;
    }

    void send(std::string_view bytes, std::vector<int> fds = {}) {
        while (!bytes.empty()) {
            std::size_t sent = 0;
            const bool went = run_until([&] {
                const auto outcome = send_with_fds(peer_.get(), bytes, fds);
                if (!outcome) closed_ = true;
                sent = outcome ? *outcome : 0;
                return sent > 0 || closed_;
            });
            ASSERT_TRUE(went);
            if (closed_) return;
            fds.clear();
            bytes.remove_prefix(sent);
        }
    }

    /// The next line of the server, or null when it has closed.
    Json read() {
        std::optional<std::string> line;
        EXPECT_TRUE(run_until([&] {
            receive();
            line = framer_.next();
            return line.has_value() || closed_;
        }));
        if (!line) line = framer_.next();
        return line ? Json::parse(*line) : Json();
    }

    void receive() {
        std::array<char, 65536> buffer{};
        const auto got = receive_with_fds(peer_.get(), buffer);
        if (!got || got->closed) {
            closed_ = true;
        } else if (!got->would_block) {
            EXPECT_TRUE(framer_.feed({buffer.data(), got->bytes}));
        }
    }

    void greet() {
        send(hello);
        const auto answer = read();
        ASSERT_EQ(answer["result"]["protocol"], 1) << answer;
    }

    bool closed_by_server() {
        return run_until([&] {
            receive();
            return closed_;
        });
    }

    UniqueFd peer_;
    LineFramer framer_;
    bool closed_ = false;
};

TEST_F(HostileClient, AnotherVersionIsToldTheFix) {
    send(R"({"jsonrpc":"2.0","id":0,"method":"hello","params":{"protocol":2}})"
         "\n");
    const auto answer = read();
    EXPECT_EQ(answer["error"]["data"]["code"], "protocol-mismatch");
    EXPECT_EQ(answer["error"]["data"]["exit"], 3);
    EXPECT_THAT(answer["error"]["data"]["hint"].get<std::string>(),
                HasSubstr(std::to_string(::getpid())));
    EXPECT_TRUE(closed_by_server());
}

TEST_F(HostileClient, TheFirstCallMustBeHello) {
    send(R"({"jsonrpc":"2.0","id":5,"method":"echo"})"
         "\n");
    const auto answer = read();
    EXPECT_EQ(answer["id"], 5);
    EXPECT_EQ(answer["error"]["code"], -32600);
    EXPECT_TRUE(closed_by_server());
    reconnect();
    send(R"({"jsonrpc":"2.0","method":"cancel","params":{"call":1}})"
         "\n");
    EXPECT_TRUE(closed_by_server());
    reconnect();
    send(R"({"jsonrpc":"2.0","id":5,"method":"hello","params":{"protocol":"1"}})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32602);
    EXPECT_TRUE(closed_by_server());
}

TEST_F(HostileClient, NoHelloInTimeEndsTheConnection) {
    ServerOptions options;
    options.hello_timeout = 50ms;
    restart(std::move(options));
    reconnect();
    send("{\"json");
    EXPECT_TRUE(closed_by_server());
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
}

TEST_F(HostileClient, EveryCutOfACallIsTheSameCall) {
    greet();
    const std::string line = R"({"jsonrpc":"2.0","id":"x","method":"echo","params":{"t":"\u00e4"}})"
                             "\n";
    for (std::size_t cut = 0; cut < line.size(); ++cut) {
        send(line.substr(0, cut));
        // The server sees the first part alone.
        run(sleep_for(100us));
        send(line.substr(cut));
        const auto answer = read();
        ASSERT_EQ(answer["id"], "x");
        ASSERT_EQ(answer["result"]["t"], "\xc3\xa4");
    }
}

TEST_F(HostileClient, CallsThatCannotBeReadAreAnsweredAndTheRestGoesOn) {
    greet();
    send(R"({"jsonrpc":"2.0","id":1,"method":7})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32600);
    send(R"({"jsonrpc":"2.0","id":2,"method":"echo","params":[]})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32602);
    send(R"({"jsonrpc":"2.0","id":3,"method":"no.such"})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32601);
    send(R"({"jsonrpc":"2.0","id":4,"method":"echo"})"
         "\n");
    EXPECT_EQ(read()["result"], Json::object());
}

TEST_F(HostileClient, NonsenseEndsTheConnection) {
    for (const std::string_view line : {"GET / HTTP/1.1\r\n", "\n", "{}\n", "\xff\xff\n",
                                        R"({"jsonrpc":"2.0","id":1,"result":{}})"
                                        "\n"}) {
        reconnect();
        greet();
        send(line);
        EXPECT_TRUE(closed_by_server()) << line;
    }
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
}

TEST_F(HostileClient, AGiantLineIsCutOffAndNotKept) {
    greet();
    const std::string piece(std::size_t{64} << 10, 'x');
    for (int i = 0; i < 64 && !closed_; ++i) send(piece);
    EXPECT_EQ(read()["error"]["code"], -32600);
    EXPECT_TRUE(closed_by_server());
}

TEST_F(HostileClient, TwoCallsOfOneIdAreRefused) {
    greet();
    send(R"({"jsonrpc":"2.0","id":1,"method":"sleep"})"
         "\n");
    ASSERT_TRUE(run_until([&] { return sleeping_ == 1; }));
    send(R"({"jsonrpc":"2.0","id":1,"method":"echo"})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32600);
    send(R"({"jsonrpc":"2.0","id":2,"method":"cancel","params":{"call":1}})"
         "\n");
    EXPECT_EQ(read()["id"], 2);
    const auto answer = read();
    EXPECT_EQ(answer["id"], 1);
    EXPECT_EQ(answer["error"]["data"]["code"], "interrupted");
    EXPECT_EQ(answer["error"]["data"]["exit"], 130);
}

TEST_F(HostileClient, CancellingWhatIsNotThereIsNoError) {
    greet();
    for (const std::string_view params : {R"({"call":77})", R"({"call":[]})", "{}"}) {
        send(R"({"jsonrpc":"2.0","id":1,"method":"cancel","params":)" + std::string(params) +
             "}\n");
        EXPECT_EQ(read()["result"], Json::object()) << params;
    }
}

TEST_F(HostileClient, DescriptorsNobodyClaimsAreClosedWithTheConnection) {
    greet();
    const auto before = open_fds();
    const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (int round = 0; round < 20; ++round) {
        reconnect();
        greet();
        send(R"({"jsonrpc":"2.0","id":1,"method":"echo"})"
             "\n",
             {file.get(), file.get()});
        EXPECT_TRUE(closed_by_server());
    }
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(open_fds(), before);  // ours: the file and the peer, then the peer alone and the file
}

TEST_F(HostileClient, DescriptorsNamedButNotBroughtEndTheConnection) {
    greet();
    send(R"({"jsonrpc":"2.0","id":1,"method":"read-file","fds":1})"
         "\n");
    EXPECT_EQ(read()["error"]["code"], -32600);
    EXPECT_TRUE(closed_by_server());
}

TEST_F(HostileClient, ManyDescriptorsOnABeginningLineEndTheConnection) {
    greet();
    const auto before = open_fds();
    const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const std::vector<int> eight(8, file.get());
    for (int i = 0; i < 4; ++i) {
        send("x", eight);
        run(sleep_for(1ms));
    }
    EXPECT_TRUE(closed_by_server());
    ASSERT_TRUE(run_until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(open_fds(), before);  // the file came, the server's end went
}

TEST_F(HostileClient, DescriptorsStayWithTheirLineWhenLinesAreGlued) {
    greet();
    const auto path = directory_.write("image", "the content");
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    // Three lines in the socket before the server runs: the descriptor belongs to the second.
    ASSERT_TRUE(send_with_fds(peer_.get(),
                              R"({"jsonrpc":"2.0","id":1,"method":"echo"})"
                              "\n",
                              {}));
    const std::vector<int> fds{file.get()};
    ASSERT_TRUE(send_with_fds(peer_.get(),
                              R"({"jsonrpc":"2.0","id":2,"method":"read-file","fds":1})"
                              "\n",
                              fds));
    ASSERT_TRUE(send_with_fds(peer_.get(),
                              R"({"jsonrpc":"2.0","id":3,"method":"echo"})"
                              "\n",
                              {}));
    std::map<int, Json> answers;
    for (int i = 0; i < 3; ++i) {
        const auto answer = read();
        answers[answer["id"]] = answer;
    }
    EXPECT_EQ(answers[2]["result"]["text"], "the content") << answers[2];
    EXPECT_EQ(answers[1]["result"], Json::object());
    EXPECT_EQ(answers[3]["result"], Json::object());
}

TEST_F(HostileClient, ASlowReaderCostsLittleAndIsServedWhenItReads) {
    greet();
    send(R"({"jsonrpc":"2.0","id":1,"method":"flood"})"
         "\n");
    ASSERT_TRUE(run_until([&] { return flooded_ > 5000; }));
    EXPECT_EQ(server_->connections(), 1U);
    send(R"({"jsonrpc":"2.0","id":2,"method":"cancel","params":{"call":1}})"
         "\n");
    std::size_t bytes = 0;
    Json line;
    do {
        line = read();
        bytes += dump_json(line).size();
    } while (!line.is_null() && line.value("id", 0) != 1);
    EXPECT_EQ(line["result"], Json::object());
    EXPECT_LT(bytes, std::size_t{1} << 20) << "of more than 5 MB of notes";
}

TEST_F(HostileClient, WhoNeverReadsAnswersIsDropped) {
    ServerOptions options;
    options.max_unsent_bytes = std::size_t{1} << 20;
    restart(std::move(options));
    reconnect();
    greet();
    const auto call = R"({"jsonrpc":"2.0","id":1,"method":"echo","params":{"t":")" +
                      std::string(100000, 'x') + "\"}}\n";
    for (int i = 0; i < 40 && !closed_; ++i) send(call);
    EXPECT_TRUE(run_until([&] { return server_->connections() == 0; }));
}

TEST_F(HostileClient, AConnectionThatClosesMidLineLeavesNothing) {
    const auto before = open_fds();
    for (int round = 0; round < 50; ++round) {
        reconnect();
        send(hello);
        send("{\"jsonrpc\":\"2.0\",\"id\":1,\"me");
    }
    reconnect();
    ASSERT_TRUE(run_until([&] { return server_->connections() == 1; }));
    EXPECT_LE(open_fds(), before + 1);
}

}  // namespace
}  // namespace noxsup::control
