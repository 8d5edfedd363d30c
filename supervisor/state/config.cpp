#include "supervisor/state/config.hpp"

#include <algorithm>
#include <functional>

#include "supervisor/base/file.hpp"
#include "supervisor/base/json.hpp"

namespace noxsup::state {
namespace {

constexpr std::size_t max_config_bytes = std::size_t{1} << 20;

/// Reads one object's members through a table of setters; what no setter takes becomes a warning.
using Setter = std::function<bool(const Json&)>;
using Setters = std::map<std::string, Setter>;

Setter text(std::string& into) {
    return [&into](const Json& value) {
        if (!value.is_string()) return false;
        into = value.get<std::string>();
        return true;
    };
}

/// A text, or a number as nox writes it.
Setter amount(std::string& into) {
    return [&into](const Json& value) {
        if (value.is_string())
            into = value.get<std::string>();
        else if (value.is_number())
            into = value.dump();
        else
            return false;
        return true;
    };
}

Setter flag(bool& into) {
    return [&into](const Json& value) {
        if (!value.is_boolean()) return false;
        into = value.get<bool>();
        return true;
    };
}

Setter uid_range(Config& config) {
    return [&config](const Json& value) {
        if (!value.is_string()) return false;
        const auto range = launch::parse_uid_range(value.get<std::string>());
        if (range) {
            config.vm_uids = *range;
        } else {
            config.warnings.push_back("config.json: vm_uids: " + range.error().message + "; " +
                                      range.error().hint);
        }
        return true;
    };
}

/// A word, or a bool for on and off.
Setter on_off(std::string& into) {
    return [&into](const Json& value) {
        if (value.is_string())
            into = value.get<std::string>();
        else if (value.is_boolean())
            into = value.get<bool>() ? "on" : "off";
        else
            return false;
        return true;
    };
}

Setter word(std::string& into, std::vector<std::string> known) {
    return [&into, known = std::move(known)](const Json& value) {
        if (!value.is_string()) return false;
        const auto text = value.get<std::string>();
        if (std::ranges::find(known, text) == known.end()) return false;
        into = text;
        return true;
    };
}

Setter ignored() {
    return [](const Json&) { return true; };
}

void apply(const Json& object, const Setters& setters, const std::string& prefix, Config& config) {
    for (const auto& [key, value] : object.items()) {
        const auto found = setters.find(key);
        if (found == setters.end()) {
            config.warnings.push_back("config.json: " + prefix + key +
                                      " is not known and has no effect");
        } else if (!found->second(value)) {
            config.warnings.push_back("config.json: " + prefix + key +
                                      " has a value of the wrong type");
        }
    }
}

Setter nested(Config& config, const std::string& prefix, Setters setters) {
    return [&config, prefix, setters = std::move(setters)](const Json& value) {
        if (!value.is_object()) return false;
        apply(value, setters, prefix, config);
        return true;
    };
}

Setter texts(std::map<std::string, std::string>& into) {
    return [&into](const Json& value) {
        if (!value.is_object()) return false;
        for (const auto& [key, item] : value.items()) {
            if (!item.is_string()) return false;
            into[key] = item.get<std::string>();
        }
        return true;
    };
}

Setter list_of_texts(std::vector<std::string>& into) {
    return [&into](const Json& value) {
        if (!detail::json_fits<std::vector<std::string>>(value)) return false;
        into = value.get<std::vector<std::string>>();
        return true;
    };
}

Setter hours(unsigned& into) {
    return [&into](const Json& value) {
        if (!detail::json_fits<unsigned>(value)) return false;
        const auto number = value.get<unsigned>();
        if (number == 0 || number > max_images_ahead_hours) return false;
        into = number;
        return true;
    };
}

Setter kernels(Config& config) {
    return [&config](const Json& value) {
        if (!value.is_object()) return false;
        for (const auto& [arch, entry] : value.items()) {
            if (!entry.is_object()) return false;
            auto& files = config.kernels[arch];
            apply(entry,
                  {{"kernel", text(files.kernel)},
                   {"initrd", text(files.initrd)},
                   {"cmdline", text(files.command_line)}},
                  "kernel." + arch + ".", config);
        }
        return true;
    };
}

}  // namespace

Result<Config> load_config(const std::filesystem::path& path) {
    Config config;
    std::error_code failure;
    if (!std::filesystem::exists(path, failure)) return config;
    NOXSUP_TRY_VALUE(const auto content, read_file(path, max_config_bytes));
    auto json = parse_json(content);
    if (!json || !json->is_object()) {
        return Error{ErrorCode::invalid_argument,
                     path.string() + ": " + (json ? "it is no JSON object" : json.error().message),
                     "mend the file, or move it away to go on with the defaults"};
    }
    const Setters defaults{{"os", text(config.os)},
                           {"cpus", amount(config.cpus)},
                           {"ram", amount(config.ram)},
                           {"disk", amount(config.disk)},
                           {"user", text(config.user)},
                           {"network", text(config.network)},
                           {"accel", text(config.accel)},
                           {"restart", text(config.restart)},
                           {"autostart", on_off(config.autostart)}};
    // nox's own env and s3 are for its backups and guest scripts; they are left to it without a
    // word.
    const Setters top{{"defaults", nested(config, "defaults.", defaults)},
                      {"accel", text(config.accel)},
                      {"user_network_restrict", flag(config.restrict_user_network)},
                      {"image_mirror", text(config.image_mirror)},
                      {"image_mirrors", texts(config.image_mirrors)},
                      {"image_mirror_allow_http", flag(config.image_mirror_allow_http)},
                      {"image_ca_file", text(config.image_ca_file)},
                      {"images_ahead", list_of_texts(config.images_ahead)},
                      {"images_ahead_hours", hours(config.images_ahead_hours)},
                      {"templates", word(config.templates, {"off", "on", "auto"})},
                      {"package_mirror", text(config.package_mirror)},
                      {"kernel", kernels(config)},
                      {"vm_uids", uid_range(config)},
                      {"env", ignored()},
                      {"s3", ignored()}};
    apply(*json, top, "", config);
    return config;
}

}  // namespace noxsup::state
