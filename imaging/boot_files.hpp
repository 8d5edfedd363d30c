// What a machine loads instead of firmware: the kernel and the initial RAM disk that a guest's own
// disk boots, taken out of it by the worker.
//
//   images/boot/DIGEST/kernel, initrd   of a base image, 0444, made once
//   images/boot/DIGEST/boot.json        what they are, or why there are none
//   DIRECTORY/kernel, initrd            of one VM's disk, which its guest has changed
#pragma once

#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <optional>
#include <string>

#include "imaging/image_store.hpp"
#include "imaging/worker.hpp"

namespace noxsup::imaging {

/// One that can be loaded. The files lie where the call that made it says.
struct DirectBoot {
    std::string source;        ///< BootReport::source
    std::string kernel_name;   ///< as the guest has it: "/boot/vmlinuz-6.12.57"
    std::string command_line;  ///< with the guest's serial console in it
    bool operator==(const DirectBoot&) const = default;
};

/// What a look at a disk has found.
struct BootLook {
    std::optional<DirectBoot> direct;
    std::string why_not;  ///< for people, where there is none
};

/// A disk to look at. Files are opened here, never through what they say of each other.
struct BootQuery {
    std::filesystem::path disk;
    std::filesystem::path base;       ///< empty: the disk stands on nothing
    std::filesystem::path directory;  ///< gets `kernel` and `initrd`, made when missing
    std::string arch;                 ///< "arm64", "amd64"
    std::string known;                ///< a source whose files are there already, or empty
};

/// Makes them, one at a time a directory; what is there is replaced by a rename.
class BootFiles {
  public:
    /// Both outlive this object. @param extra a cpio archive that is put behind each initial RAM
    /// disk (make_cpio)
    BootFiles(const ImageStore& store, ImageWorker& worker, std::string extra);

    /// Of a base image; looked at once. Errors: of the worker, but for the image's own faults,
    /// which are a reason why not; no_space, io_error.
    boost::asio::awaitable<Result<BootLook>> of_image(Image image, std::string arch);

    /// Of a VM's disk that nobody writes to. Nothing is copied where it is the known one. Errors as
    /// above.
    boost::asio::awaitable<Result<BootLook>> of_disk(BootQuery query);

    /// Where of_image() puts them: below the images.
    [[nodiscard]] std::filesystem::path image_directory(const std::string& digest) const;

  private:
    boost::asio::awaitable<Result<BootLook>> look(BootQuery query);

    const ImageStore& store_;
    ImageWorker& worker_;
    std::string extra_;
};

}  // namespace noxsup::imaging
