#include "tests/support/temp_dir.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace noxsup::test {

namespace {

std::filesystem::path parent_in(TempDir::In where) {
    constexpr const char* memory = "/dev/shm";
    struct statfs info {};
    const bool there = where == TempDir::In::memory && ::statfs(memory, &info) == 0 &&
                       info.f_type == TMPFS_MAGIC && ::access(memory, W_OK) == 0;
    return there ? memory : std::filesystem::temp_directory_path();
}

}  // namespace

TempDir::TempDir(In where) {
    auto pattern = (parent_in(where) / "noxsup-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
}

TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TempDir::write(std::string_view name, std::string_view content) const {
    const auto path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
}

std::string slurp(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path.string());
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace noxsup::test
