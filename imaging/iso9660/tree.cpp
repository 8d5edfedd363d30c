#include "imaging/iso9660/tree.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "imaging/iso9660/names.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

// ECMA-119 6.8.2.1: the root is level 1 and no directory is below level 8.
constexpr std::size_t max_levels = 8;
// ECMA-119 9.4.4: the parent's number in a path table has 16 bits.
constexpr std::size_t max_directories = 65535;

Error refused(std::string_view path, std::string_view problem, std::string hint = {}) {
    return {ErrorCode::invalid_argument,
            "ISO image: '" + escape_for_terminal(path) + "': " + std::string(problem),
            std::move(hint)};
}

class TreeBuilder {
  public:
    TreeBuilder() {
        Node root;
        root.directory = true;
        root.short_name = root.joliet_name = std::string(1, '\0');
        nodes_.push_back(std::move(root));
    }

    Result<> add(const Entry& entry);
    Result<std::vector<Node>> finish() &&;

  private:
    Result<std::size_t> child_of(std::size_t parent, std::string_view name, const Entry& entry);

    std::vector<Node> nodes_;
    std::map<std::pair<std::size_t, std::string>, std::size_t> index_;
    std::size_t directories_ = 1;
};

Result<> check_entry(const Entry& entry) {
    if (entry.path.empty()) return refused(entry.path, "the path is empty");
    if (entry.directory && !entry.data.empty())
        return refused(entry.path, "a directory has no data");
    // ECMA-119 9.1.4: the data length has 32 bits, and level 1 and 2 files have one extent.
    if (entry.data.size() > std::numeric_limits<std::uint32_t>::max()) {
        return refused(entry.path,
                       "the file has " + format_bytes(entry.data.size()) +
                           "; a file of an ISO image ends below 4 GiB",
                       "split the file, or put it on a disk image");
    }
    if (entry.mode > 07777) return refused(entry.path, "the mode has bits beyond the permissions");
    return {};
}

Result<std::size_t> TreeBuilder::child_of(std::size_t parent, std::string_view name,
                                          const Entry& entry) {
    const auto [found, added] = index_.try_emplace({parent, std::string(name)}, nodes_.size());
    if (!added) return found->second;
    auto joliet = joliet_name(name);
    if (!joliet) return refused(entry.path, joliet.error().message, joliet.error().hint);
    Node node;
    node.name = name;
    node.joliet_name = std::move(*joliet);
    node.parent = parent;
    nodes_.push_back(std::move(node));
    nodes_[parent].children.push_back(nodes_.size() - 1);
    return nodes_.size() - 1;
}

Result<> TreeBuilder::add(const Entry& entry) {
    NOXSUP_TRY(check_entry(entry));
    std::size_t node = 0;
    std::size_t level = 1;
    std::string_view rest = entry.path;
    while (true) {
        const auto slash = rest.find('/');
        const auto name = rest.substr(0, slash);
        const bool last = slash == std::string_view::npos;
        if (name.empty() || name == "." || name == "..") {
            return refused(entry.path, "every part of the path must be a name",
                           "give a relative path without empty, '.' or '..' parts");
        }
        const auto known = nodes_.size();
        NOXSUP_TRY_VALUE(node, child_of(node, name, entry));
        auto& reached = nodes_[node];
        const bool fresh = node == known;
        const bool directory = !last || entry.directory;
        if (!fresh && reached.directory != directory) {
            return refused(entry.path, "it would be a file and a directory at once");
        }
        if (fresh && directory) {
            reached.directory = true;
            ++nodes_[reached.parent].subdirectories;
            if (++directories_ > max_directories) {
                return refused(entry.path, "an ISO image holds at most 65,535 directories");
            }
        }
        if (directory && ++level > max_levels) {
            return refused(entry.path, "directories nest deeper than 8 levels",
                           "ECMA-119 allows 7 below the root");
        }
        if (last) break;
        rest.remove_prefix(slash + 1);
    }
    auto& leaf = nodes_[node];
    if (std::exchange(leaf.declared, true)) return refused(entry.path, "the path is there twice");
    leaf.data = entry.data;
    leaf.mode = entry.mode;
    return {};
}

Result<std::vector<Node>> TreeBuilder::finish() && {
    for (auto& node : nodes_) {
        std::ranges::sort(node.children, {},
                          [this](std::size_t i) -> const std::string& { return nodes_[i].name; });
        ShortNames names;
        for (const auto child : node.children) {
            nodes_[child].short_name = names.unique(nodes_[child].name, nodes_[child].directory);
        }
    }
    return std::move(nodes_);
}

}  // namespace

Result<std::vector<Node>> build_tree(const std::vector<Entry>& entries) {
    // Nodes are numbered as they come, and the numbers are in the image: so they come in one order.
    std::vector<const Entry*> sorted;
    sorted.reserve(entries.size());
    for (const auto& entry : entries) sorted.push_back(&entry);
    std::ranges::stable_sort(sorted, {},
                             [](const Entry* entry) -> const std::string& { return entry->path; });
    TreeBuilder builder;
    for (const auto* entry : sorted) NOXSUP_TRY(builder.add(*entry));
    return std::move(builder).finish();
}

}  // namespace noxsup::imaging::iso9660
