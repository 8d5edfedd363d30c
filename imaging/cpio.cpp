#include "imaging/cpio.hpp"

#include <array>
#include <cstdio>
#include <set>

namespace noxsup::imaging {
namespace {

constexpr unsigned directory_type = 0040000;
constexpr unsigned file_type = 0100000;

void pad(std::string& archive) {
    archive.resize((archive.size() + 3) / 4 * 4, '\0');
}

class Archive {
  public:
    void add(const std::string& path, unsigned mode, const std::string& content) {
        const unsigned links = (mode & directory_type) != 0 ? 2 : 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
        // namesize, check
        const std::array<std::size_t, 13> fields{
            ++inode_, mode, 0, 0, links, 0, content.size(), 0, 0, 0, 0, path.size() + 1, 0};
        bytes_ += "070701";
        for (const auto field : fields) {
            std::array<char, 9> digits{};
            std::snprintf(digits.data(), digits.size(), "%08X", static_cast<unsigned>(field));
            bytes_ += digits.data();
        }
        bytes_ += path;
        bytes_ += '\0';
        pad(bytes_);
        bytes_ += content;
        pad(bytes_);
    }

    void add_directories_above(const std::string& path) {
        for (auto end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
            const auto directory = path.substr(0, end);
            if (directories_.insert(directory).second) add(directory, directory_type | 0755U, "");
        }
    }

    std::string take() {
        inode_ = 0;
        add("TRAILER!!!", 0, "");
        return std::move(bytes_);
    }

  private:
    std::string bytes_;
    std::set<std::string> directories_;
    std::size_t inode_ = 0;
};

}  // namespace

std::string make_cpio(const std::vector<CpioFile>& files) {
    Archive archive;
    for (const auto& file : files) {
        archive.add_directories_above(file.path);
        archive.add(file.path, file_type | file.mode, file.content);
    }
    return archive.take();
}

}  // namespace noxsup::imaging
