#include "supervisor/cli/copy_paths.hpp"

#include <algorithm>

#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::cli {

CopyPath parse_copy_path(const std::string& word) {
    const auto colon = word.find(':');
    const bool remote = colon != std::string::npos && word.find('/') > colon &&
                        spec::check_vm_name(word.substr(0, colon)).has_value();
    if (!remote) return {"", word};
    return {word.substr(0, colon), word.substr(colon + 1)};
}

Result<std::vector<CopyPath>> parse_copy_paths(const std::vector<std::string>& words) {
    std::vector<CopyPath> paths;
    paths.reserve(words.size());
    for (const auto& word : words) paths.push_back(parse_copy_path(word));
    const bool any_remote =
        std::ranges::any_of(paths, [](const CopyPath& path) { return !path.vm.empty(); });
    if (!any_remote) {
        return Error{ErrorCode::invalid_argument, "no path is in a VM",
                     "write the VM's name before it: NAME:path"};
    }
    return paths;
}

std::string scp_word(const CopyPath& path) {
    if (!path.vm.empty()) return path.vm + ":" + path.path;
    return path.path.starts_with('/') ? path.path : "./" + path.path;
}

}  // namespace noxsup::cli
