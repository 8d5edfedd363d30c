// Reconnecting without a gap: ask for the state first, then trust the events that came after the
// answer.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <memory>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/replies.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::qmp {

/// What a QEMU is doing right after a connection: events sent while nobody listened are lost for
/// good.
struct Snapshot {
    StatusInfo status;
    Version version;
    std::vector<BlockDevice> block_devices;
    MigrationInfo migration;
    /// Events of this connection that the status already reflects (their reasons may matter).
    std::vector<Event> earlier_events;
};

/// A client that is ready, and the state at its start.
struct Resynced {
    std::unique_ptr<Client> client;
    Snapshot snapshot;
};

/// Connects and asks query-status, query-version, query-block and query-migrate, all in one write
/// with the negotiation. Events that came after the status are held in the client until
/// set_event_handler(): apply the snapshot, then set the handler, and nothing is missed or applied
/// in the wrong order. Errors: as Client::connect and Client::execute.
boost::asio::awaitable<Result<Resynced>> connect_with_resync(std::filesystem::path path,
                                                             ClientOptions options = {});

}  // namespace noxsup::qmp
