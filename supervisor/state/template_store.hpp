// The templates of a home on disk: what each is of, and the RAM and devices of its guest.
//
//   templates/ID/template.json   {"noxsup_template": 1, "checksum": ..., "body": {spec, key, ...}}
//   templates/ID/ram             the guest's RAM, 0444, never changed; holes where it was untouched
//   templates/ID/devices         QEMU's migration stream without the RAM
//   templates/.new-ID/           one that is being made
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/result.hpp"
#include "supervisor/spec/vm_spec.hpp"
#include "supervisor/state/home.hpp"

namespace noxsup::state {

/// One template. Its disk is an image without a name in images/.
struct Template {
    std::string id;                ///< 8 hex digits: the short id of the VM that became it
    spec::VmSpec spec;             ///< of that VM; its disk's base is the image that it booted
    std::vector<std::string> key;  ///< launch::template_key() of whoever may begin with it
    std::string disk_digest;       ///< of the image that its disk became
    std::string created_at;        ///< RFC 3339
    bool operator==(const Template&) const = default;
};

/// What is found below templates/: those that can be read, and why others cannot.
struct TemplateList {
    std::vector<Template> templates;    ///< oldest first
    std::vector<std::string> problems;  ///< "templates/3f2a9c41: its checksum does not match"
};

/// The file's text, and back. Errors: protocol_error with what is wrong.
std::string to_text(const Template& made);
Result<Template> parse_template(std::string_view text);

/// Reads and writes templates/. A template is there with all its files or not at all.
class TemplateStore {
  public:
    explicit TemplateStore(const Home& home) : home_(home) {}

    /// Errors: io_error when the directory itself cannot be read.
    [[nodiscard]] Result<TemplateList> list() const;

    /// A fresh directory for one that is being made, mode 0700. Errors: io_error, no_space.
    [[nodiscard]] Result<std::filesystem::path> begin(std::string_view id) const;
    /// It is a template from here on. @pre its RAM and devices are on the medium
    /// Errors: io_error, no_space; it is none then.
    [[nodiscard]] Result<> finish(const std::filesystem::path& directory,
                                  const Template& made) const;
    /// Out of sight first, then file by file. Errors: io_error.
    [[nodiscard]] Result<> remove(std::string_view id) const;
    /// Removes what a crash left of some that were being made or removed.
    [[nodiscard]] Result<> sweep() const;

    [[nodiscard]] std::filesystem::path directory(std::string_view id) const {
        return home_.templates() / id;
    }

  private:
    const Home& home_;
};

/// Below a template's directory.
inline constexpr auto template_ram_file = "ram";
inline constexpr auto template_devices_file = "devices";

}  // namespace noxsup::state
