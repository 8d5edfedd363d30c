// A model of a disk that loses its power: follows a program's calls on files, and makes the
// directory trees that may be found afterwards.
#pragma once

#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/support/file_calls.hpp"

namespace noxsup::test {

/// What POSIX allows, which is more than any one file system does: of a file that was not synced
/// any part may be there, none, or zeros in its place; of the changes of a directory since its last
/// fsync each may have come to the medium or not (a rename as a whole), in whatever order data and
/// names went.
class PowerCutDisk {
  public:
    /// An empty directory, as it is on the medium.
    explicit PowerCutDisk(std::filesystem::path root);

    /// Follows one call that has succeeded. Throws on what the model does not know (a rename from
    /// one directory to another, a write to a file that was there).
    void follow(const FileCall& call);

    /// Makes one of the trees that may be left if the power went now, below `into`, which is empty.
    void make_image(std::mt19937_64& random, const std::filesystem::path& into) const;

  private:
    using Names = std::map<std::string, int>;
    /// Names that change together; -1: the name goes.
    using Change = std::vector<std::pair<std::string, int>>;
    struct Node {
        bool is_directory = false;
        std::string synced, written;  ///< of a file
        Names on_medium, now;         ///< of a directory
        std::vector<Change> pending;  ///< of a directory
    };
    struct Place {
        int directory;
        std::string name;
    };

    [[nodiscard]] Place place_of(const std::string& path) const;
    [[nodiscard]] int node_at(const Place& place) const;
    int add_node(bool is_directory);
    void change(int directory, Change change);
    void follow_open(const FileCall& call);
    void follow_sync(int fd);
    void follow_rename(const FileCall& call);
    void make_node(std::mt19937_64& random, int node, const std::filesystem::path& at) const;
    [[nodiscard]] static Names names_left(std::mt19937_64& random, const Node& directory);
    [[nodiscard]] static std::string content_left(std::mt19937_64& random, const Node& file);

    std::filesystem::path root_;
    std::vector<Node> nodes_;
    std::map<int, int> open_;  ///< descriptor to node
};

}  // namespace noxsup::test
