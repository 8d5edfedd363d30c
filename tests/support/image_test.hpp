// What the image tests share: the real worker on an io_context of the test's own, disks to import.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "imaging/worker_client.hpp"
#include "supervisor/base/command.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::test {

/// The names in a directory, without the locks; sorted.
std::vector<std::string> names_in(const std::filesystem::path& directory);

/// A raw disk with an MBR and one partition: `megabytes` of a repeating pattern, sparse in part.
std::string small_raw_disk(std::size_t megabytes = 2);

/// Hexadecimal digests by libcrypto, independent of the worker's own way.
std::string sha256_of(std::string_view data);
std::string sha512_of(std::string_view data);

/// A fixture with the real worker and a temporary directory.
class ImageTest : public testing::Test {
  protected:
    template <class T>
    T run(boost::asio::awaitable<T> operation) {
        return run_async(context_, std::move(operation), std::chrono::seconds(60));
    }
    /// Runs a program to its end and returns its output; a failure fails the test.
    std::string tool(std::vector<std::string> argv);

    TempDir dir_;
    boost::asio::io_context context_;
    ProcessRunner runner_;
    imaging::WorkerClient worker_{runner_};
};

}  // namespace noxsup::test
