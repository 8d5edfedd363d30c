#include "tests/support/power_cut_disk.hpp"

#include <fcntl.h>

#include <fstream>
#include <stdexcept>

namespace noxsup::test {
namespace {

constexpr int gone = -1;

std::size_t pick(std::mt19937_64& random, std::size_t below) {
    return std::uniform_int_distribution<std::size_t>(0, below - 1)(random);
}

}  // namespace

PowerCutDisk::PowerCutDisk(std::filesystem::path root) : root_(std::move(root)) {
    add_node(true);
}

int PowerCutDisk::add_node(bool is_directory) {
    nodes_.emplace_back().is_directory = is_directory;
    return static_cast<int>(nodes_.size()) - 1;
}

PowerCutDisk::Place PowerCutDisk::place_of(const std::string& path) const {
    int directory = 0;
    std::string last;
    for (const auto& part : std::filesystem::path(path).lexically_relative(root_)) {
        if (!last.empty()) directory = nodes_.at(static_cast<std::size_t>(directory)).now.at(last);
        last = part.string();
    }
    return {directory, last == "." ? "" : last};
}

int PowerCutDisk::node_at(const Place& place) const {
    if (place.name.empty()) return place.directory;
    const auto& names = nodes_.at(static_cast<std::size_t>(place.directory)).now;
    const auto found = names.find(place.name);
    return found == names.end() ? gone : found->second;
}

void PowerCutDisk::change(int directory, Change change) {
    auto& node = nodes_.at(static_cast<std::size_t>(directory));
    for (const auto& [name, target] : change) {
        if (target == gone)
            node.now.erase(name);
        else
            node.now[name] = target;
    }
    node.pending.push_back(std::move(change));
}

void PowerCutDisk::follow(const FileCall& call) {
    switch (call.kind) {
        case FileCall::Kind::open:
            return follow_open(call);
        case FileCall::Kind::write:
            nodes_.at(static_cast<std::size_t>(open_.at(call.fd))).written += call.data;
            return;
        case FileCall::Kind::sync:
            return follow_sync(call.fd);
        case FileCall::Kind::close:
            open_.erase(call.fd);
            return;
        case FileCall::Kind::rename:
            return follow_rename(call);
        case FileCall::Kind::link: {
            const auto to = place_of(call.target);
            return change(to.directory, {{to.name, node_at(place_of(call.path))}});
        }
        case FileCall::Kind::unlink: {
            const auto at = place_of(call.path);
            return change(at.directory, {{at.name, gone}});
        }
        case FileCall::Kind::make_directory: {
            const auto at = place_of(call.path);
            return change(at.directory, {{at.name, add_node(true)}});
        }
        case FileCall::Kind::read:
        case FileCall::Kind::change_mode:
            return;
        case FileCall::Kind::symlink:
            break;
    }
    throw std::logic_error("the model of the disk does not know " + call.describe());
}

void PowerCutDisk::follow_open(const FileCall& call) {
    const auto place = place_of(call.path);
    auto node = node_at(place);
    if (node == gone) {
        node = add_node(false);
        change(place.directory, {{place.name, node}});
    } else if ((call.flags & O_ACCMODE) != O_RDONLY) {
        throw std::logic_error("written where it is, with no old state left: " + call.path);
    }
    open_[call.fd] = node;
}

void PowerCutDisk::follow_sync(int fd) {
    auto& node = nodes_.at(static_cast<std::size_t>(open_.at(fd)));
    node.synced = node.written;
    node.on_medium = node.now;
    node.pending.clear();
}

void PowerCutDisk::follow_rename(const FileCall& call) {
    const auto from = place_of(call.path);
    const auto to = place_of(call.target);
    if (from.directory != to.directory)
        throw std::logic_error("the model knows renames within a directory only");
    const int node = node_at(from);
    // Onto another name of the same file it does nothing.
    if (node == node_at(to)) return;
    change(from.directory, {{from.name, gone}, {to.name, node}});
}

PowerCutDisk::Names PowerCutDisk::names_left(std::mt19937_64& random, const Node& directory) {
    auto names = directory.on_medium;
    // A journal keeps their order and loses the last ones; without one any may be missing.
    const bool ordered = pick(random, 2) == 0;
    const auto kept = pick(random, directory.pending.size() + 1);
    for (std::size_t i = 0; i < directory.pending.size(); ++i) {
        if (ordered ? i >= kept : pick(random, 2) == 0) continue;
        for (const auto& [name, target] : directory.pending[i]) {
            if (target == gone)
                names.erase(name);
            else
                names[name] = target;
        }
    }
    return names;
}

std::string PowerCutDisk::content_left(std::mt19937_64& random, const Node& file) {
    const auto& all = file.written;
    if (all == file.synced) return all;
    const auto cut = pick(random, all.size() + 1);
    switch (pick(random, 5)) {
        case 0:
            return file.synced;
        case 1:
            return all;
        case 2:
            return all.substr(0, cut);
        case 3:
            return std::string(all.size(), '\0');
        default:
            return all.substr(0, cut) + std::string(all.size() - cut, '\0');
    }
}

void PowerCutDisk::make_node(std::mt19937_64& random, int number,
                             const std::filesystem::path& at) const {
    const auto& node = nodes_.at(static_cast<std::size_t>(number));
    if (!node.is_directory) {
        std::ofstream(at, std::ios::binary) << content_left(random, node);
        return;
    }
    std::filesystem::create_directory(at);
    for (const auto& [name, child] : names_left(random, node)) make_node(random, child, at / name);
}

void PowerCutDisk::make_image(std::mt19937_64& random, const std::filesystem::path& into) const {
    make_node(random, 0, into);
}

}  // namespace noxsup::test
