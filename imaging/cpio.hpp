// A cpio archive of the kind that Linux unpacks as an initial RAM file system (Documentation/
// driver-api/early-userspace/buffer-format.rst: "newc").
#pragma once

#include <string>
#include <vector>

namespace noxsup::imaging {

struct CpioFile {
    std::string path;  ///< relative, "conf/conf.d/x"
    std::string content;
    unsigned mode = 0644;  ///< permission bits
};

/// The files and the directories above them, all of root's. To be put behind another archive at a
/// multiple of 4 bytes. The same files make the same bytes.
std::string make_cpio(const std::vector<CpioFile>& files);

}  // namespace noxsup::imaging
