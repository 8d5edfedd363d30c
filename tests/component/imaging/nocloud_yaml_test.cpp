// User text cannot become configuration: PyYAML reads random and nasty strings back exactly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "imaging/nocloud.hpp"
#include "supervisor/base/command.hpp"
#include "supervisor/base/json.hpp"
#include "tests/support/run_async.hpp"
#include "tests/support/seed_sample.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t random_strings = 5000;

/// Reads lines of JSON {texts, strings}: every string must be somewhere among the values of the
/// YAML texts, exactly, and the count of keys must be the given one.
constexpr const char* checker = R"(
import json, sys, yaml
def walk(node, strings):
    if isinstance(node, dict):
        return len(node) + sum(walk(v, strings) for v in node.values())
    if isinstance(node, list):
        return sum(walk(v, strings) for v in node)
    strings.append(node)
    return 0
bad = count = 0
for line in open(sys.argv[1], encoding='utf-8'):
    case = json.loads(line)
    strings, keys = [], 0
    try:
        for text in case['texts']:
            keys += walk(yaml.load(text, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
                         if sys.argv[2] == 'c' else yaml.SafeLoader), strings)
    except yaml.YAMLError as e:
        print('refused by YAML:', repr(case['strings'])[:200], e); bad += 1; continue
    missing = [s for s in case['strings'] if s not in strings]
    if missing or keys != case['keys']:
        print('differs:', ascii(missing)[:200], 'keys', keys, 'for', case['keys']); bad += 1
    count += 1
print('read', count, 'bad', bad)
sys.exit(1 if bad else 0)
)";

std::string utf8(char32_t c) {
    std::string out;
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xc0U | c >> 6U);
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0U | c >> 12U);
        out += static_cast<char>(0x80U | (c >> 6U & 0x3fU));
    } else {
        out += static_cast<char>(0xf0U | c >> 18U);
        out += static_cast<char>(0x80U | (c >> 12U & 0x3fU));
        out += static_cast<char>(0x80U | (c >> 6U & 0x3fU));
    }
    if (c >= 0x80) out += static_cast<char>(0x80U | (c & 0x3fU));
    return out;
}

std::string random_string(std::mt19937_64& random) {
    static constexpr std::string_view syntax = ":#-?{}[],&*!|>'\"%@`\\/~=<$() ";
    std::string result;
    for (auto length = 1 + random() % 24; length > 0; --length) {
        switch (random() % 5) {
            case 0:
                result += syntax[random() % syntax.size()];
                break;
            case 1:
                result += static_cast<char>(' ' + random() % 95);
                break;
            case 2:
                result += utf8(static_cast<char32_t>(0x80 + random() % 0x780));
                break;
            case 3:
                result += utf8(static_cast<char32_t>(
                    random() % 2 == 0 ? 0x2000 + random() % 0x80 : 0xfe00 + random() % 0x200));
                break;
            default:
                result += utf8(static_cast<char32_t>(0x10000 + random() % 0x100000));
        }
    }
    return result;
}

/// Legal one-line texts that YAML, JSON, jinja or cloud-init might take for something else.
std::vector<std::string> nasty_strings() {
    std::vector<std::string> result{"yes",
                                    "no",
                                    "on",
                                    "off",
                                    "true",
                                    "false",
                                    "null",
                                    "~",
                                    "0o7",
                                    "0x1f",
                                    "1e3",
                                    "12:30:45",
                                    ".inf",
                                    ".nan",
                                    "1_000",
                                    "2024-01-01",
                                    "-",
                                    "- a",
                                    "@a",
                                    "%a",
                                    "`a`",
                                    "!a",
                                    "!!python/object:os.system",
                                    "&a",
                                    "*a",
                                    "<<",
                                    "=",
                                    "a: b",
                                    "a:",
                                    ": a",
                                    "a #b",
                                    "#cloud-config",
                                    "#!/bin/sh",
                                    "#include x",
                                    "## template: jinja",
                                    "{{ ds }}",
                                    "{% raw %}",
                                    "{#",
                                    "'",
                                    "\"",
                                    "''",
                                    "\"\"",
                                    "\\",
                                    "\\n",
                                    "\\u0041",
                                    "\\x41",
                                    "\\\"",
                                    "a\\",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "{}",
                                    "[]",
                                    "{a: b}",
                                    "[a, b]",
                                    ",",
                                    "|",
                                    ">",
                                    "|-",
                                    ">+",
                                    "---",
                                    "...",
                                    "--- a",
                                    "%YAML 1.1",
                                    "%TAG ! x",
                                    "? a",
                                    "?",
                                    " a",
                                    "a ",
                                    "  ",
                                    "a  b",
                                    "$(id)",
                                    "`id`",
                                    "${HOME}",
                                    ";id",
                                    "|id",
                                    "&&id",
                                    "../..",
                                    "/etc/passwd",
                                    "a/b",
                                    "-rf",
                                    "--help",
                                    "MIME-Version: 1.0",
                                    "Content-Type: text/x",
                                    "--===noxsup-seed===",
                                    "==",
                                    "runcmd: [id]",
                                    "]}, \"runcmd\": [\"id\"], {[",
                                    "\", \"runcmd\": [\"id\"], \"x\": \"",
                                    "\xc3\xa9",
                                    "e\xcc\x81",
                                    "\xe2\x80\xae"
                                    "abc",
                                    "\xf0\x9f\x98\x80",
                                    "\xf4\x8f\xbf\xbf",
                                    "\xed\x9f\xbf",
                                    "\xee\x80\x80",
                                    std::string(1100, 'k'),
                                    std::string(70000, 'x'),
                                    std::string(500, ' ') + "x"};
    const std::initializer_list<std::uint32_t> points = {
        0x80U,   0x84U,    0x85U,    0x86U,   0x9fU,   0xa0U,    0xa1U,    0xadU,
        0x2027U, 0x2028U,  0x2029U,  0x202aU, 0xfeffU, 0xfffcU,  0xfffdU,  0xfffeU,
        0xffffU, 0x1fffeU, 0x1ffffU, 0xe000U, 0xd7ffU, 0x10000U, 0x10ffffU};
    for (const auto point : points) {
        const auto c = static_cast<char32_t>(point);
        result.push_back(utf8(c));
        result.push_back("a " + utf8(c) + " b");
    }
    return result;
}

std::size_t count_keys(const Json& value) {
    std::size_t keys = value.is_object() ? value.size() : 0;
    if (value.is_structured()) {
        for (const auto& item : value) keys += count_keys(item);
    }
    return keys;
}

/// A seed with the string in every field of free text, as one line for the checker.
std::string case_for(const std::string& text, std::size_t keys) {
    auto spec = test::sample_seed();
    spec.name = text + 'n';
    spec.instance_id = text + 'i';
    spec.authorized_keys = {text + 'k', "ssh-ed25519 AAAA " + text};
    spec.host_key_private = text + "\n" + text;
    spec.host_key_public = text + 'h';
    spec.password_hash = text + 'p';
    spec.networks = {{text + 'm', StaticAddress{text + 'c', text + 'g', {text + 'd'}}}};
    const auto seed = make_seed(spec);
    if (!seed) throw std::runtime_error(seed.error().message);
    const Json line = {
        {"texts", {seed->user_data, seed->meta_data, seed->network_config}},
        {"keys", keys},
        {"strings",
         {spec.name, spec.instance_id, spec.authorized_keys[0], spec.authorized_keys[1],
          spec.host_key_private, spec.host_key_public, *spec.password_hash, spec.networks[0].mac,
          text + 'c', text + 'g', text + 'd'}}};
    return dump_json(line) + '\n';
}

std::size_t expected_keys() {
    auto spec = test::sample_seed();
    spec.password_hash = "p";
    spec.networks[0].address = StaticAddress{"c", "g", {"d"}};
    const auto seed = *make_seed(spec);
    return count_keys(Json::parse(seed.user_data.substr(seed.user_data.find('\n')))) +
           count_keys(Json::parse(seed.meta_data)) + count_keys(Json::parse(seed.network_config));
}

CommandOutput check(const std::string& cases, const std::string& loader) {
    test::TempDir temp;
    boost::asio::io_context context;
    ProcessRunner runner;
    Command command;
    command.argv = {"/usr/bin/python3", "-c", checker, temp.write("cases", cases).string(), loader};
    command.deadline = std::chrono::seconds(240);
    auto output =
        test::run_async(context, runner.run(std::move(command)), std::chrono::seconds(250));
    if (!output) throw std::runtime_error(output.error().message);
    return std::move(*output);
}

TEST(SeedYaml, ReadsNastyStringsBackExactlyInEachField) {
    std::string cases;
    const auto strings = nasty_strings();
    ASSERT_GE(strings.size(), 140U);
    const auto keys = expected_keys();
    for (const auto& text : strings) cases += case_for(text, keys);
    const auto output = check(cases, "pure");
    EXPECT_TRUE(output.ok()) << output.out << output.err;
    EXPECT_THAT(output.out, testing::HasSubstr("bad 0"));
}

TEST(SeedYaml, ReadsRandomStringsBackExactlyInEachField) {
    std::string cases;
    std::mt19937_64 random(20240601);
    const auto keys = expected_keys();
    for (std::size_t i = 0; i < random_strings; ++i) cases += case_for(random_string(random), keys);
    const auto output = check(cases, "c");
    EXPECT_TRUE(output.ok()) << output.out << output.err;
    EXPECT_THAT(output.out, testing::HasSubstr("read 5000 bad 0"));
}

TEST(SeedYaml, TheCheckerSeesAChange) {
    auto line = case_for("plain", expected_keys());
    const auto at = line.find("plaink");
    line[at] = 'q';
    EXPECT_FALSE(check(line, "pure").ok());
    EXPECT_FALSE(check(case_for("plain", expected_keys() + 1), "pure").ok());
}

}  // namespace
}  // namespace noxsup::imaging
