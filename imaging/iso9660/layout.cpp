#include "imaging/iso9660/layout.hpp"

#include <algorithm>
#include <limits>

namespace noxsup::imaging::iso9660 {
namespace {

constexpr std::size_t max_record = 254;  // 9.1.1: LEN_DR is one byte, and a record's length is even
constexpr std::uint32_t links_of_a_directory = 2;

/// Adds up records as ECMA-119 6.8.1.1 wants them: each ends in the sector it begins in.
class RecordRun {
  public:
    void add(std::size_t size) {
        if (bytes_ % sector_size + size > sector_size) bytes_ = sectors_for(bytes_) * sector_size;
        bytes_ += size;
    }
    /// Where the next record would begin, or how much there is.
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  private:
    std::uint64_t bytes_ = 0;
};

/// Hands out whole sectors one after the other and notices when the volume is full.
class Sectors {
  public:
    explicit Sectors(std::uint64_t first) : next_(first) {}
    std::uint32_t take(std::uint64_t count) {
        const auto start = static_cast<std::uint32_t>(next_);
        next_ += count;
        return start;
    }
    [[nodiscard]] std::uint64_t next() const { return next_; }
    [[nodiscard]] bool overflowed() const {
        return next_ > std::numeric_limits<std::uint32_t>::max();
    }

  private:
    std::uint64_t next_;
};

/// Breadth first with sorted children is the order of 6.9.1: level, parent's number, identifier.
Hierarchy order(const std::vector<Node>& nodes, std::string Node::*identifier) {
    Hierarchy result;
    result.numbers.resize(nodes.size());
    result.children.resize(nodes.size());
    result.extents.resize(nodes.size());
    result.directories.push_back(0);
    for (std::size_t i = 0; i < result.directories.size(); ++i) {
        const auto directory = result.directories[i];
        result.numbers[directory] = static_cast<std::uint16_t>(i + 1);
        auto& children = result.children[directory];
        children = nodes[directory].children;
        std::ranges::sort(children, {}, [&](std::size_t child) -> const std::string& {
            return nodes[child].*identifier;
        });
        for (const auto child : children) {
            if (nodes[child].directory) result.directories.push_back(child);
        }
        result.path_table_bytes +=
            static_cast<std::uint32_t>(path_record_size((nodes[directory].*identifier).size()));
    }
    return result;
}

void place_path_tables(Hierarchy& hierarchy, Sectors& sectors) {
    const auto count = sectors_for(hierarchy.path_table_bytes);
    hierarchy.path_table_l = sectors.take(count);
    hierarchy.path_table_m = sectors.take(count);
}

/// `size_of(parent, node)` is the length of a record; node == parent for ".". `placed` may take
/// sectors behind each directory.
template <class SizeOf, class Placed>
Result<> place_directories(Hierarchy& hierarchy, Sectors& sectors, std::size_t dot_dot_size,
                           const SizeOf& size_of, const Placed& placed) {
    for (const auto directory : hierarchy.directories) {
        RecordRun run;
        run.add(size_of(directory, directory));
        run.add(dot_dot_size);
        for (const auto child : hierarchy.children[directory]) run.add(size_of(directory, child));
        const auto bytes = sectors_for(run.bytes()) * sector_size;
        if (bytes > std::numeric_limits<std::uint32_t>::max()) {
            return Error{ErrorCode::invalid_argument, "ISO image: a directory has too many entries",
                         "spread the files over more directories"};
        }
        hierarchy.extents[directory] = {sectors.take(bytes / sector_size),
                                        static_cast<std::uint32_t>(bytes)};
        placed(directory);
    }
    return {};
}

void plan_fields(const std::vector<Node>& nodes, Layout& layout) {
    layout.fields.reserve(nodes.size());
    layout.continuations.resize(nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto attributes = posix_attributes(nodes, i);
        const auto room = max_record - record_size(nodes[i].short_name.size(), 0);
        layout.fields.push_back(i == 0 ? root_fields(attributes)
                                       : named_fields(nodes[i].name, attributes, room));
    }
}

/// The continuations of the records in one directory, on the sectors behind it.
void place_continuations(Layout& layout, const std::vector<std::size_t>& records,
                         Sectors& sectors) {
    RecordRun area;
    for (const auto node : records) {
        const auto bytes = layout.fields[node].continued.size();
        if (bytes == 0) continue;
        area.add(bytes);
        const auto start = area.bytes() - bytes;
        layout.continuations[node] = {
            static_cast<std::uint32_t>(sectors.next() + start / sector_size),
            static_cast<std::uint32_t>(start % sector_size), static_cast<std::uint32_t>(bytes)};
    }
    sectors.take(sectors_for(area.bytes()));
}

void place_files(const std::vector<Node>& nodes, Layout& layout, Sectors& sectors) {
    layout.data_block = static_cast<std::uint32_t>(sectors.next());
    layout.files.resize(nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i].directory) continue;
        const auto bytes = nodes[i].data.size();
        if (bytes == 0) {
            layout.files[i] = {layout.data_block, 0};
            continue;
        }
        layout.files[i] = {sectors.take(sectors_for(bytes)), static_cast<std::uint32_t>(bytes)};
        layout.file_order.push_back(i);
    }
}

}  // namespace

std::vector<std::size_t> records_of(const Hierarchy& hierarchy, std::size_t directory) {
    auto records = hierarchy.children[directory];
    if (directory == 0) records.insert(records.begin(), 0);
    return records;
}

PosixAttributes posix_attributes(const std::vector<Node>& nodes, std::size_t node) {
    const auto& n = nodes[node];
    return {n.directory, n.mode, n.directory ? links_of_a_directory + n.subdirectories : 1,
            static_cast<std::uint32_t>(node + 1)};
}

Result<Layout> plan(const std::vector<Node>& nodes) {
    Layout layout;
    layout.primary = order(nodes, &Node::short_name);
    layout.joliet = order(nodes, &Node::joliet_name);
    plan_fields(nodes, layout);

    Sectors sectors(first_descriptor + 3);
    place_path_tables(layout.primary, sectors);
    place_path_tables(layout.joliet, sectors);
    const auto dot_size = record_size(1, dot_fields({}).size());
    const auto primary_size = [&](std::size_t parent, std::size_t node) {
        if (node == parent && node != 0) return dot_size;
        return record_size(nodes[node].short_name.size(), layout.fields[node].size());
    };
    const auto continue_fields = [&](std::size_t directory) {
        place_continuations(layout, records_of(layout.primary, directory), sectors);
    };
    NOXSUP_TRY(place_directories(layout.primary, sectors, dot_size, primary_size, continue_fields));
    const auto plain_size = record_size(1, 0);
    const auto joliet_size = [&](std::size_t parent, std::size_t node) {
        return node == parent ? plain_size : record_size(nodes[node].joliet_name.size(), 0);
    };
    const auto nothing = [](std::size_t) {};
    NOXSUP_TRY(place_directories(layout.joliet, sectors, plain_size, joliet_size, nothing));
    place_files(nodes, layout, sectors);
    if (sectors.overflowed()) {
        return Error{ErrorCode::invalid_argument, "ISO image: the files need more than 8 TiB",
                     "put fewer or smaller files into it"};
    }
    layout.volume_blocks = static_cast<std::uint32_t>(sectors.next());
    return layout;
}

}  // namespace noxsup::imaging::iso9660
