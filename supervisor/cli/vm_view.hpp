// A VM's JSON as the supervisor tells it, as a row of `list` and as the page of `status`.
#pragma once

#include <string>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/cli/output.hpp"

namespace noxsup::cli {

/// A member's text by its path ("disk.virtual_bytes"); numbers as they are, booleans as yes and no,
/// empty when it is missing or null. Never fails: it shows what another build may have sent.
std::string text_at(const Json& object, std::string_view path);

/// The items of a list by its path, as text_at() has them, with ", " between.
std::string list_text_at(const Json& object, std::string_view path);

/// The columns of `list`: NAME STATE OS CPUS RAM DISK AUTOSTART IP. For programs (csv) bytes stay
/// integers.
Table vm_table(const Json& vms, bool for_people);

/// The page of `status` for one VM.
std::string vm_page(const Json& vm);

/// The address to reach it at: the guest's own, else where its ssh answers ("127.0.0.1:40022").
std::string vm_address(const Json& vm);

/// What start, stop, status, ... give back: {vms: [...]}, its table and its names.
Document vm_document(Json vms);

/// "image 0.1 s, disk 0.0 s, ..." of a VM's `stages`; empty without any.
std::string stages_text(const Json& vm);

}  // namespace noxsup::cli
