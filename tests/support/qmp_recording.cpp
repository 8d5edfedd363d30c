#include "tests/support/qmp_recording.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/support/source_file.hpp"

namespace noxsup::test {
namespace {

QmpRecording load(const std::filesystem::path& path) {
    QmpRecording recording;
    recording.name = path.stem().string();
    std::ifstream file(path);
    std::string line;
    const auto command = [&](std::string_view text, bool with_fd) {
        auto json = Json::parse(text);
        if (json.at("execute") == "qmp_capabilities") return;
        recording.commands.push_back({std::move(json), with_fd});
    };
    while (std::getline(file, line)) {
        const auto text = std::string_view(line);
        if (text.starts_with("< ")) {
            recording.lines.emplace_back(text.substr(2));
        } else if (text.starts_with("> ")) {
            command(text.substr(2), false);
        } else if (text.starts_with(">fd ")) {
            command(text.substr(4), true);
        } else if (text == "! eof") {
            recording.closed = true;
        } else if (!text.starts_with("# ") && !text.starts_with(">raw ")) {
            throw std::runtime_error(path.string() + ": cannot read: " + line);
        }
    }
    return recording;
}

}  // namespace

std::string QmpRecording::stream() const {
    std::string bytes;
    for (const auto& line : lines) bytes += line + "\r\n";
    return bytes;
}

std::vector<QmpRecording> qmp_recordings() {
    std::vector<QmpRecording> recordings;
    for (const auto& entry : std::filesystem::directory_iterator(source_file("tests/golden/qmp"))) {
        if (entry.path().extension() == ".qmp") recordings.push_back(load(entry.path()));
    }
    std::ranges::sort(recordings, {}, &QmpRecording::name);
    return recordings;
}

}  // namespace noxsup::test
