// A VM's disk as one file that stands on nothing: what clones are made of.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <optional>
#include <string>

#include "supervisor/base/command.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

struct FlattenSpec {
    std::filesystem::path disk;                 ///< absolute; a qcow2 of ours that nobody writes
    std::optional<std::filesystem::path> base;  ///< absolute; the image that it stands on
    std::string snapshot;          ///< tag of the internal snapshot that is meant; empty: the disk
    std::filesystem::path output;  ///< absolute; must not exist
};

/// Copies what the disk shows, base and all, without its snapshots. While it runs no QEMU can have
/// the disk open for writing. The output (0600) is on the medium when it is done; on an error, or
/// when it is cancelled, there is none. Errors: image_in_use, image_hostile, unreadable_file,
/// no_space, command_failed, host_lacks_tool.
boost::asio::awaitable<Result<>> flatten_disk(CommandRunner& runner, FlattenSpec spec);

}  // namespace noxsup::imaging
