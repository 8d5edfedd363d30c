// A host in memory for the set-up of bridges: files and the managers' commands, failing where a
// test wants it.
#pragma once

#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "netbridge/setup/host.hpp"

namespace noxsup::test {

/// Thrown in the middle of a change: what follows is what a kill leaves.
struct Killed : std::runtime_error {
    Killed() : std::runtime_error("killed") {}
};

/// Counts what changes the host (write, remove, run, wait_for_port); reads are free.
class FakeSetupHost final : public netbridge::setup::Host {
  public:
    std::map<std::string, netbridge::setup::FileImage> files;
    std::map<std::string, std::string> answers;  ///< of commands, by their words
    std::set<std::string> unreadable;            ///< paths
    std::vector<std::string> log;                ///< what was changed, in order
    std::size_t fail_at = 0;                     ///< the call that fails, from 1
    std::size_t kill_at = 0;                     ///< the call before which all ends

    void add(const std::string& path, const std::string& bytes, unsigned mode = 0644) {
        files[path] = {bytes, mode, 0, 0};
    }

    Result<std::optional<netbridge::setup::FileImage>> read(const std::string& path) override {
        if (unreadable.contains(path))
            return Error{ErrorCode::unreadable_file, "open " + path + ": Permission denied"};
        const auto found = files.find(path);
        if (found == files.end()) return std::optional<netbridge::setup::FileImage>();
        return std::optional(found->second);
    }
    std::vector<std::string> list(const std::string& directory) override {
        std::vector<std::string> names;
        for (const auto& [path, image] : files) {
            const auto slash = path.rfind('/');
            if (path.substr(0, slash) == directory) names.push_back(path.substr(slash + 1));
        }
        return names;
    }
    Result<> write(const std::string& path, const netbridge::setup::FileImage& image) override {
        auto outcome = step("write " + path);
        if (outcome) files[path] = image;
        return outcome;
    }
    Result<> remove(const std::string& path) override {
        auto outcome = step("remove " + path);
        if (outcome) files.erase(path);
        return outcome;
    }
    Result<std::string> run(const std::vector<std::string>& argv) override {
        std::string words;
        for (const auto& word : argv) words += (words.empty() ? "" : " ") + word;
        if (const auto answer = answers.find(words); answer != answers.end()) return answer->second;
        if (argv[0] == "networkctl" && argv[1].starts_with("--json")) return no_tool(argv[0]);
        if (argv[0] == "ifquery" || (argv[0] == "nmcli" && argv[1] == "--terse"))
            return no_tool(argv[0]);
        if (auto outcome = step(words); !outcome) return std::move(outcome).error();
        return std::string();
    }
    Result<> wait_for_port(const std::string& card, const std::string& bridge) override {
        return step("wait for " + card + " on " + bridge);
    }

  private:
    static Error no_tool(const std::string& name) {
        return {ErrorCode::host_lacks_tool, name + " is not installed"};
    }
    Result<> step(const std::string& what) {
        ++calls_;
        if (calls_ == kill_at) throw Killed();
        if (calls_ == fail_at) return Error{ErrorCode::failed, what + " failed"};
        log.push_back(what);
        return {};
    }
    std::size_t calls_ = 0;
};

}  // namespace noxsup::test
