#include "imaging/image_builder.hpp"

#include <charconv>
#include <string_view>

#include "imaging/worker_client.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {

namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

/// Reads the script's lines as they come; they are described on top of it.
class ScriptOutput {
  public:
    explicit ScriptOutput(ProgressCallback progress) : progress_(std::move(progress)) {}

    void feed(std::string_view piece) {
        pending_ += piece;
        std::size_t begin = 0;
        for (auto end = pending_.find('\n'); end != std::string::npos;
             end = pending_.find('\n', begin)) {
            line(std::string_view(pending_).substr(begin, end - begin));
            begin = end + 1;
        }
        pending_.erase(0, begin);
    }

    /// What the script's end means.
    Error error(const ExitStatus& status, std::string title) const {
        auto code = ErrorCode::command_failed;
        if (status.exit_code == 7) code = ErrorCode::no_space;
        if (status.exit_code == 8) code = ErrorCode::host_lacks_tool;
        if (status.exit_code == 130) code = ErrorCode::interrupted;
        const auto why =
            error_.empty() ? "the build script ended with " + status.describe() : error_;
        Error result(code, "build " + std::move(title) + ": " + why, join(hints_, "; "));
        result.evidence = log_;
        return result;
    }

  private:
    void line(std::string_view text) {
        const auto space = text.find(' ');
        const auto word = text.substr(0, space);
        const auto rest =
            space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
        if (word == "stage") {
            stage_ = rest;
            tell(0, std::nullopt, {});
        } else if (word == "progress") {
            const auto fields = split(rest, ' ');
            if (fields.size() == 3) tell(number(fields[1]), number(fields[2]), {});
        } else if (word == "note") {
            tell(0, std::nullopt, escape_for_terminal(rest));
        } else if (word == "error") {
            error_ = escape_for_terminal(rest);
        } else if (word == "hint") {
            hints_.push_back(escape_for_terminal(rest));
        } else if (word == "log") {
            log_.push_back(escape_for_terminal(rest));
        }
    }

    void tell(std::uint64_t done, std::optional<std::uint64_t> total, std::string note) const {
        if (!progress_) return;
        Progress progress;
        progress.stage = "build/" + stage_;
        progress.unit = "steps";
        progress.done = done;
        progress.total = total;
        progress.note = std::move(note);
        progress_(progress);
    }

    static std::uint64_t number(std::string_view text) {
        std::uint64_t value = 0;
        std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    }

    ProgressCallback progress_;
    std::string pending_;
    std::string stage_ = "start";
    std::string error_;
    std::vector<std::string> hints_;
    std::vector<std::string> log_;
};

void add_mirror(std::vector<std::string>& arguments, const std::string& mirror) {
    if (!mirror.empty()) arguments.insert(arguments.end(), {"--mirror", mirror});
}

}  // namespace

ImageBuilder::ImageBuilder(CommandRunner& runner, BuilderConfig config)
    : runner_(runner), config_(std::move(config)) {}

asio::awaitable<Result<>> ImageBuilder::run(CatalogImage image, std::vector<std::string> more,
                                            ProgressCallback progress) {
    auto script = config_.script;
    if (script.empty()) {
        NOXSUP_CO_TRY_VALUE(script, find_libexec("images/build-debian"));
    }
    ScriptOutput output(std::move(progress));
    Command command;
    command.argv = {script.string(), "--release", image.codename, "--arch", image.arch};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    command.deadline = config_.deadline;
    // The script unmounts and unregisters what it made; on a busy host that took more than a
    // minute.
    command.grace = std::chrono::minutes(2);
    command.output_limit = std::size_t{8} << 20;
    command.on_errors = [&output](std::string_view piece) { output.feed(piece); };
    auto running = runner_.run(command);
    auto ended = co_await std::move(running);
    if (!ended) co_return std::move(ended).error().context("build " + image.title());
    if (!ended->ok()) co_return output.error(ended->status, image.title());
    co_return Result<>();
}

asio::awaitable<Result<>> ImageBuilder::check(CatalogImage image) {
    const auto output = fs::temp_directory_path() / (image.name + ".qcow2");
    std::vector<std::string> more{"--check", "--output", output.string()};
    add_mirror(more, config_.package_mirror);
    auto running = run(std::move(image), std::move(more), ProgressCallback());
    co_return co_await std::move(running);
}

asio::awaitable<Result<>> ImageBuilder::build(CatalogImage image, fs::path output,
                                              std::string package_mirror,
                                              ProgressCallback progress) {
    std::vector<std::string> more{"--output", output.string()};
    add_mirror(more, package_mirror.empty() ? config_.package_mirror : package_mirror);
    if (!config_.tree_cache.empty()) {
        more.insert(more.end(), {"--tree-cache", config_.tree_cache.string()});
    }
    auto running = run(std::move(image), std::move(more), std::move(progress));
    co_return co_await std::move(running);
}

}  // namespace noxsup::imaging
