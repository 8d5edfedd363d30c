#include "imaging/iso9660/writer.hpp"

#include <algorithm>
#include <functional>

#include "imaging/iso9660/layout.hpp"
#include "imaging/iso9660/records.hpp"
#include "imaging/iso9660/rock_ridge.hpp"
#include "imaging/iso9660/tree.hpp"
#include "supervisor/base/file.hpp"

namespace noxsup::imaging::iso9660 {
namespace {

constexpr std::string_view self_identifier("\0", 1);
constexpr std::string_view parent_identifier("\1", 1);
constexpr std::size_t max_volume_id = 16;  // Joliet's 32 bytes

/// Turns the plan into bytes: everything before the files' data.
class Encoder {
  public:
    Encoder(const std::vector<Node>& nodes, const Layout& layout, const Options& options)
        : nodes_(nodes), layout_(layout), options_(options) {}

    std::string encode() {
        out_.reserve(std::size_t{layout_.data_block} * sector_size);
        out_.assign(std::size_t{first_descriptor} * sector_size, '\0');
        put_descriptor(layout_.primary, false);
        put_descriptor(layout_.joliet, true);
        put_set_terminator(out_);
        put_path_tables(layout_.primary, &Node::short_name);
        put_path_tables(layout_.joliet, &Node::joliet_name);
        for (const auto directory : layout_.primary.directories) {
            put_primary_directory(directory);
            put_continuations(directory);
        }
        for (const auto directory : layout_.joliet.directories) put_joliet_directory(directory);
        return std::move(out_);
    }

  private:
    void put_descriptor(const Hierarchy& hierarchy, bool joliet) {
        put_volume_descriptor(
            out_,
            {joliet, options_.volume_id, layout_.volume_blocks, hierarchy.path_table_bytes,
             hierarchy.path_table_l, hierarchy.path_table_m, hierarchy.extents[0]},
            options_.timestamp);
    }

    void put_path_tables(const Hierarchy& hierarchy, std::string Node::*identifier) {
        for (const auto put : {put_path_record_l, put_path_record_m}) {
            for (const auto directory : hierarchy.directories) {
                const auto& node = nodes_[directory];
                put(out_, {node.*identifier, hierarchy.extents[directory].block,
                           hierarchy.numbers[node.parent]});
            }
            pad_to_sector(out_);
        }
    }

    /// 6.8.1.1: a record that does not fit into the rest of a sector begins the next one.
    void put_record(const DirectoryRecord& record) {
        const auto size = record_size(record.identifier.size(), record.system_use.size());
        if (out_.size() % sector_size + size > sector_size) pad_to_sector(out_);
        put_directory_record(out_, record, options_.timestamp);
    }

    [[nodiscard]] Extent extent(const Hierarchy& hierarchy, std::size_t node) const {
        return nodes_[node].directory ? hierarchy.extents[node] : layout_.files[node];
    }

    [[nodiscard]] std::string system_use(std::size_t node) const {
        const auto& continuation = layout_.continuations[node];
        auto result = layout_.fields[node].inside;
        if (continuation.bytes != 0) {
            result += ce_field(continuation.block, continuation.offset, continuation.bytes);
        }
        return result;
    }

    [[nodiscard]] std::string dot_system_use(std::size_t node) const {
        return dot_fields(posix_attributes(nodes_, node)).inside;
    }

    void put_primary_directory(std::size_t directory) {
        const auto& hierarchy = layout_.primary;
        const auto parent = nodes_[directory].parent;
        put_record({self_identifier, hierarchy.extents[directory], true,
                    directory == 0 ? system_use(0) : dot_system_use(directory)});
        put_record({parent_identifier, hierarchy.extents[parent], true, dot_system_use(parent)});
        for (const auto child : hierarchy.children[directory]) {
            put_record({nodes_[child].short_name, extent(hierarchy, child), nodes_[child].directory,
                        system_use(child)});
        }
        pad_to_sector(out_);
    }

    void put_joliet_directory(std::size_t directory) {
        const auto& hierarchy = layout_.joliet;
        const auto parent = nodes_[directory].parent;
        put_record({self_identifier, hierarchy.extents[directory], true, {}});
        put_record({parent_identifier, hierarchy.extents[parent], true, {}});
        for (const auto child : hierarchy.children[directory]) {
            put_record(
                {nodes_[child].joliet_name, extent(hierarchy, child), nodes_[child].directory, {}});
        }
        pad_to_sector(out_);
    }

    void put_continuations(std::size_t directory) {
        for (const auto node : records_of(layout_.primary, directory)) {
            const auto& continuation = layout_.continuations[node];
            if (continuation.bytes == 0) continue;
            out_.resize(continuation.block * sector_size + continuation.offset, '\0');
            out_ += layout_.fields[node].continued;
        }
        pad_to_sector(out_);
    }

    const std::vector<Node>& nodes_;
    const Layout& layout_;
    const Options& options_;
    std::string out_;
};

Result<> check_options(const Options& options) {
    const auto& id = options.volume_id;
    const bool printable = std::ranges::all_of(id, [](char c) { return c >= ' ' && c <= '~'; });
    if (id.empty() || id.size() > max_volume_id || !printable) {
        return Error{ErrorCode::invalid_argument,
                     "ISO image: the volume id must have 1 to 16 printable ASCII characters"};
    }
    using namespace std::chrono;
    const auto year = year_month_day{floor<days>(options.timestamp)}.year();
    if (year < std::chrono::year{1970} || year > std::chrono::year{2155}) {
        return Error{ErrorCode::invalid_argument,
                     "ISO image: its dates can be of the years 1970 to 2155 only"};
    }
    return {};
}

using Sink = std::function<Result<>(std::string_view)>;

/// Plans, then hands the image piece by piece to the sink; `start` hears the whole size first.
Result<> emit(const std::vector<Entry>& entries, const Options& options,
              const std::function<void(std::size_t)>& start, const Sink& sink) {
    NOXSUP_TRY(check_options(options));
    NOXSUP_TRY_VALUE(const auto nodes, build_tree(entries));
    NOXSUP_TRY_VALUE(const auto layout, plan(nodes));
    start(std::size_t{layout.volume_blocks} * sector_size);
    NOXSUP_TRY(sink(Encoder(nodes, layout, options).encode()));
    static constexpr char zeros[sector_size] = {};
    for (const auto file : layout.file_order) {
        const auto data = nodes[file].data;
        NOXSUP_TRY(sink(data));
        const auto rest = data.size() % sector_size;
        if (rest != 0) NOXSUP_TRY(sink({zeros, sector_size - rest}));
    }
    return {};
}

}  // namespace

Result<std::string> make_image(const std::vector<Entry>& entries, const Options& options) {
    std::string image;
    NOXSUP_TRY(emit(
        entries, options, [&](std::size_t size) { image.reserve(size); },
        [&](std::string_view piece) -> Result<> {
            image += piece;
            return {};
        }));
    return image;
}

Result<> write_image(int fd, const std::vector<Entry>& entries, const Options& options,
                     std::string_view what) {
    return emit(
        entries, options, [](std::size_t) {},
        [&](std::string_view piece) { return write_all(fd, piece, what); });
}

}  // namespace noxsup::imaging::iso9660
