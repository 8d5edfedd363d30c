// The system calls on files that a test program makes, failed or written down on the way: linked
// into a program, this takes the place of the C library's open, write, fsync, rename and their
// like.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace noxsup::test {

/// One call on a file below the watched directory.
struct FileCall {
    enum class Kind {
        open,
        read,
        write,
        sync,
        close,
        rename,
        link,
        symlink,
        unlink,
        make_directory,
        change_mode
    };
    Kind kind = Kind::open;
    std::string path;       ///< absolute; the old name of a rename or link
    std::string target;     ///< the new name of a rename or link; what a symbolic link points to
    int fd = -1;            ///< of calls on descriptors; of open once it has succeeded
    int flags = 0;          ///< of open
    std::string_view data;  ///< of write: what is to be written, later what was
    /// "rename /tmp/a to /tmp/b", for messages.
    [[nodiscard]] std::string describe() const;
};

/// What becomes of a call: 0 it is made, above 0 it fails with this errno (a close closes all the
/// same), half_write writes one half.
inline constexpr int half_write = -1;

/// Watches this process's calls on files below a directory while it lives; one at a time, and for
/// one thread. Calls that the C library makes inside itself (opendir, stdio) are not seen.
class FileCalls {
  public:
    using Judge = std::function<int(const FileCall&)>;
    using Witness = std::function<void(const FileCall&)>;
    /// @param judge decides before the call; may be empty  @param witness told of each call that
    /// has succeeded; may be empty
    FileCalls(const std::filesystem::path& below, Judge judge, Witness witness);
    FileCalls(const FileCalls&) = delete;
    FileCalls& operator=(const FileCalls&) = delete;
    ~FileCalls();
};

/// Lets the nth call (from 1) fail in one way, and remembers which it was. Only writes can be
/// halved; other calls do not count then.
class FailNthCall {
  public:
    FailNthCall(const std::filesystem::path& below, int nth, int verdict);
    /// What failed, or empty: the operation made fewer calls than that.
    [[nodiscard]] const std::string& failed() const { return failed_; }
    [[nodiscard]] FileCall::Kind kind() const { return kind_; }

  private:
    int judge(const FileCall& call);

    int left_;
    int verdict_;
    std::string failed_;
    FileCall::Kind kind_ = FileCall::Kind::open;
    FileCalls calls_;
};

}  // namespace noxsup::test
