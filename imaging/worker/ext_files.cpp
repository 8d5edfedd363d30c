#include "imaging/worker/ext_files.hpp"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "imaging/qcow2_header.hpp"

namespace noxsup::imaging::worker {
namespace {

Error unreadable(std::string_view path) {
    return {ErrorCode::unreadable_file, "the guest's disk has no readable " + std::string(path)};
}

/// What the channel of a file system reads from. libext2fs gives a manager's open() a name alone,
/// so the one that is being opened stands here meanwhile.
struct Source {
    DiskRead read;
    std::uint64_t start = 0;
};
Source* opening = nullptr;

errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void* data) {
    const auto& source = *static_cast<const Source*>(channel->private_data);
    const auto size = static_cast<std::uint64_t>(channel->block_size);
    // A negative count is of bytes (ext2fs/ext2_io.h).
    const auto bytes = count < 0 ? static_cast<std::uint64_t>(-static_cast<std::int64_t>(count))
                                 : static_cast<std::uint64_t>(count) * size;
    if (size != 0 && block > (max_virtual_bytes / size)) return EXT2_ET_SHORT_READ;
    const auto done =
        source.read(source.start + block * size, std::span(static_cast<std::byte*>(data), bytes));
    return done ? 0 : EXT2_ET_SHORT_READ;
}

errcode_t open_channel(const char* name, int /*flags*/, io_channel* channel);

errcode_t close_channel(io_channel channel) {
    if (--channel->refcount > 0) return 0;
    ext2fs_free_mem(&channel->name);
    ext2fs_free_mem(&channel);
    return 0;
}

errcode_t set_block_size(io_channel channel, int size) {
    channel->block_size = size;
    return 0;
}

errcode_t flush(io_channel /*channel*/) {
    return 0;
}

io_manager make_manager() {
    static struct_io_manager manager = [] {
        struct_io_manager made{};
        made.magic = EXT2_ET_MAGIC_IO_MANAGER;
        made.name = "guest disk";
        made.open = open_channel;
        made.close = close_channel;
        made.set_blksize = set_block_size;
        made.read_blk = [](io_channel channel, unsigned long block, int count, void* data) {
            return read_blocks(channel, block, count, data);
        };
        made.read_blk64 = read_blocks;
        made.flush = flush;
        return made;
    }();
    return &manager;
}

errcode_t open_channel(const char* name, int /*flags*/, io_channel* channel) {
    io_channel made = nullptr;
    if (const auto failure = ext2fs_get_memzero(sizeof(struct_io_channel), &made)) return failure;
    const auto name_bytes = std::strlen(name) + 1;
    if (const auto failure = ext2fs_get_mem(name_bytes, &made->name)) {
        ext2fs_free_mem(&made);
        return failure;
    }
    std::memcpy(made->name, name, name_bytes);
    made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    made->manager = make_manager();
    made->block_size = 1024;
    made->refcount = 1;
    made->private_data = opening;
    *channel = made;
    return 0;
}

}  // namespace

struct ExtFileSystem::State {
    Source source;
    ext2_filsys fs = nullptr;

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        if (fs != nullptr) ext2fs_close_free(&fs);
    }

    [[nodiscard]] Result<ext2_ino_t> look_up(std::string_view path) const {
        ext2_ino_t inode = 0;
        if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, std::string(path).c_str(),
                                &inode) != 0) {
            return unreadable(path);
        }
        return inode;
    }
};

Result<ExtFileSystem> ExtFileSystem::open(DiskRead read, std::uint64_t start) {
    auto state = std::make_shared<State>();
    state->source = Source{std::move(read), start};
    opening = &state->source;
    const auto failure =
        ext2fs_open2("guest", nullptr, EXT2_FLAG_64BITS, 0, 0, make_manager(), &state->fs);
    opening = nullptr;
    if (failure != 0) {
        state->fs = nullptr;
        return Error{ErrorCode::image_invalid, "no ext4 file system"};
    }
    return ExtFileSystem(std::move(state));
}

std::string ExtFileSystem::uuid() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const auto byte : state_->fs->super->s_uuid) {
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

Result<ExtFile> ExtFileSystem::find(std::string_view path) const {
    NOXSUP_TRY_VALUE(const auto number, state_->look_up(path));
    ext2_inode_large inode{};
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the larger has the smaller first
    auto* const plain = reinterpret_cast<ext2_inode*>(&inode);
    if (ext2fs_read_inode_full(state_->fs, number, plain, sizeof inode) != 0)
        return unreadable(path);
    if (!LINUX_S_ISREG(inode.i_mode)) return unreadable(path);
    ExtFile file;
    file.inode = number;
    file.bytes = EXT2_I_SIZE(&inode);
    for (const std::uint64_t mark :
         {std::uint64_t{number}, std::uint64_t{inode.i_generation}, file.bytes,
          std::uint64_t{inode.i_mtime}, std::uint64_t{inode.i_mtime_extra},
          std::uint64_t{inode.i_ctime}, std::uint64_t{inode.i_ctime_extra}}) {
        file.marks += std::to_string(mark) + ' ';
    }
    return file;
}

bool ExtFileSystem::exists(std::string_view path) const {
    return state_->look_up(path).has_value();
}

Result<std::string> ExtFileSystem::read_text(std::string_view path, std::size_t limit) const {
    NOXSUP_TRY_VALUE(const auto file, find(path));
    if (file.bytes > limit) return unreadable(path);
    std::string text;
    NOXSUP_TRY(read(file, [&text](std::span<const std::byte> piece) {
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
        text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
        return Result<>();
    }));
    return text;
}

Result<> ExtFileSystem::read(
    const ExtFile& file, const std::function<Result<>(std::span<const std::byte>)>& take) const {
    ext2_file_t handle = nullptr;
    const Error failed(ErrorCode::unreadable_file, "a file on the guest's disk cannot be read");
    if (ext2fs_file_open(state_->fs, file.inode, 0, &handle) != 0) return failed;
    const std::unique_ptr<std::remove_pointer_t<ext2_file_t>, decltype(&ext2fs_file_close)> closer(
        handle, &ext2fs_file_close);
    std::vector<std::byte> chunk(std::size_t{256} << 10);
    for (std::uint64_t left = file.bytes; left > 0;) {
        const auto wanted = static_cast<unsigned>(std::min<std::uint64_t>(left, chunk.size()));
        unsigned got = 0;
        if (ext2fs_file_read(handle, chunk.data(), wanted, &got) != 0 || got == 0) return failed;
        NOXSUP_TRY(take(std::span<const std::byte>(chunk).first(got)));
        left -= got;
    }
    return {};
}

}  // namespace noxsup::imaging::worker
