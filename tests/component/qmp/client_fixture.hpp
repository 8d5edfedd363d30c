// The fixture of the client's tests: a context, and clients that are patient with busy machines.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <utility>

#include "qmp/client.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/scripted_qmp_peer.hpp"

namespace noxsup::qmp {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using test::ScriptedQmpPeer;

/// For machines that compile at the same time; a test that wants a timeout asks for one.
inline ClientOptions patient() {
    ClientOptions options;
    options.greeting_deadline = 60s;
    options.command_deadline = 60s;
    return options;
}

struct QmpClient : ::testing::Test {
    asio::io_context context;

    std::unique_ptr<Client> connect(const ScriptedQmpPeer& peer,
                                    ClientOptions options = patient()) {
        auto client = run(Client::connect(peer.path(), options));
        if (!client) throw std::runtime_error(client.error().message);
        return std::move(*client);
    }
    std::unique_ptr<Client> open(const ScriptedQmpPeer& peer, ClientOptions options = patient()) {
        auto client = Client::open(context.get_executor(), peer.path(), options);
        if (!client) throw std::runtime_error(client.error().message);
        return std::move(*client);
    }
    template <class T>
    T run(asio::awaitable<T> operation) {
        return test::run_async(context, std::move(operation), 120s);
    }
};

}  // namespace noxsup::qmp
