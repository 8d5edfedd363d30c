// Disks of our own VMs in front of qemu-img: said explicitly, and looked at first.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "supervisor/base/json.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// Whether a disk of ours still holds its own data (check_own_qcow2): its guest has had the file in
/// its hands, by way of QEMU. Errors: unreadable_file, image_invalid, image_hostile.
Result<> check_own_disk(const std::filesystem::path& path);

/// The qcow2 in words that leave nothing to what it says of itself: format, file, and what it
/// stands on. @param base a qcow2 that stands on nothing; none: what is below is not opened
/// Returns "json:{...}" for qemu-img.
std::string describe_disk(const std::filesystem::path& path,
                          const std::optional<std::filesystem::path>& base = {});

/// qemu-img's words as one of our codes: no_space, image_in_use, disk_too_small.
Error typed_qemu_img_error(Error error);

}  // namespace noxsup::imaging
