#include "imaging/nocloud_mime.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "imaging/base64.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::size_t mime_probe_bytes = 4096;
constexpr int max_nesting = 8;
// Every part is in base64, and no line of base64 begins with "--".
constexpr std::string_view our_boundary = "===noxsup-seed===";

Error refused(std::string_view problem) {
    return {ErrorCode::invalid_cloud_init, "the MIME message " + std::string(problem)};
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

/// Takes the next line off the text, without its line end.
std::string_view take_line(std::string_view& text) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
}

using Headers = std::map<std::string, std::string>;

/// Takes header lines off the text up to and with the blank line (RFC 5322 2.2, folding undone).
Result<Headers> take_headers(std::string_view& text) {
    Headers headers;
    auto last = headers.end();
    while (!text.empty()) {
        const auto line = take_line(text);
        if (line.empty()) break;
        if (line[0] == ' ' || line[0] == '\t') {
            if (last == headers.end()) return refused("begins with a continued header");
            last->second += ' ' + std::string(trim(line));
            continue;
        }
        const auto colon = line.find(':');
        if (colon == std::string_view::npos || colon == 0) {
            return refused("has a header line without a name: '" + escape_for_terminal(line) + "'");
        }
        const auto [place, added] = headers.emplace(lower(trim(line.substr(0, colon))),
                                                    std::string(trim(line.substr(colon + 1))));
        if (!added) return refused("has the header '" + place->first + "' twice");
        last = place;
    }
    return headers;
}

std::string header(const Headers& headers, const std::string& name) {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
}

/// "type; a=b; c=\"d\"" (RFC 2045 5.1): the value before the first ';' and the parameters.
struct Structured {
    std::string value;
    std::map<std::string, std::string> parameters;
};

Structured parse_structured(std::string_view text) {
    Structured result;
    const auto next = [&](std::string_view stop) {
        const auto end = std::min(text.find_first_of(stop), text.size());
        const auto token = text.substr(0, end);
        text.remove_prefix(end);
        return std::string(trim(token));
    };
    result.value = lower(next(";"));
    while (!text.empty()) {
        text.remove_prefix(1);  // the ';'
        const auto name = lower(next("=;"));
        if (text.empty() || text[0] == ';') continue;
        text = trim(text.substr(1));
        std::string value;
        if (!text.empty() && text[0] == '"') {
            text.remove_prefix(1);
            while (!text.empty() && text[0] != '"') {
                if (text[0] == '\\' && text.size() > 1) text.remove_prefix(1);
                value += text[0];
                text.remove_prefix(1);
            }
            next(";");
        } else {
            value = next(";");
        }
        result.parameters.emplace(name, value);
    }
    return result;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/// RFC 2045 6.7; what is no escape stands for itself, as every reader does it.
std::string quoted_printable_decode(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        const bool escape = text[0] == '=';
        if (escape && (text.substr(1, 1) == "\n" || text.substr(1, 2) == "\r\n")) {
            take_line(text);
            continue;
        }
        if (escape && text.size() > 2 && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0) {
            result += static_cast<char>(hex_digit(text[1]) * 16 + hex_digit(text[2]));
            text.remove_prefix(3);
            continue;
        }
        result += text[0];
        text.remove_prefix(1);
    }
    return result;
}

Result<std::string> decode(std::string_view body, const std::string& encoding) {
    if (encoding.empty() || encoding == "7bit" || encoding == "8bit" || encoding == "binary") {
        return std::string(body);
    }
    if (encoding == "quoted-printable") return quoted_printable_decode(body);
    if (encoding == "base64") {
        auto data = base64_decode(body);
        if (!data) return refused("has a part whose base64 is damaged");
        return std::move(*data);
    }
    return refused("has the unknown transfer encoding '" + escape_for_terminal(encoding) + "'");
}

/// The parts between the boundary lines (RFC 2046 5.1.1). A missing last boundary ends at the end.
std::vector<std::string_view> split_parts(std::string_view body, const std::string& boundary) {
    const auto delimiter = "--" + boundary;
    std::vector<std::string_view> parts;
    const char* start = nullptr;
    const auto close_part = [&](const char* end) {
        if (start == nullptr) return;
        // The line end before a boundary belongs to the boundary.
        if (end > start && end[-1] == '\n') --end;
        if (end > start && end[-1] == '\r') --end;
        parts.emplace_back(start, static_cast<std::size_t>(end - start));
    };
    while (!body.empty()) {
        const auto* const line_start = body.data();
        const auto line = take_line(body);
        if (!line.starts_with(delimiter)) continue;
        const auto tail = trim(line.substr(delimiter.size()));
        if (!tail.empty() && tail != "--") continue;
        close_part(line_start);
        start = body.data();
        if (tail == "--") return parts;
    }
    close_part(body.data());
    return parts;
}

Result<> collect(std::string_view text, int nesting, std::vector<MimePart>& leaves) {
    if (nesting > max_nesting) return refused("nests deeper than 8 levels");
    NOXSUP_TRY_VALUE(const auto headers, take_headers(text));
    const auto type = parse_structured(header(headers, "content-type"));
    if (type.value.starts_with("multipart/")) {
        const auto boundary = type.parameters.find("boundary");
        if (boundary == type.parameters.end() || boundary->second.empty()) {
            return refused("is a multipart without a boundary");
        }
        const auto parts = split_parts(text, boundary->second);
        if (parts.empty()) return refused("has no part: its boundary does not occur");
        for (const auto part : parts) NOXSUP_TRY(collect(part, nesting + 1, leaves));
        return {};
    }
    MimePart leaf;
    leaf.content_type = type.value.empty() ? "text/plain" : type.value;
    const auto disposition = parse_structured(header(headers, "content-disposition")).parameters;
    if (const auto name = disposition.find("filename"); name != disposition.end()) {
        leaf.filename = name->second;
    } else if (const auto other = type.parameters.find("name"); other != type.parameters.end()) {
        leaf.filename = other->second;
    }
    leaf.launch_index = header(headers, "launch-index");
    leaf.merge_type = header(headers, "merge-type") + header(headers, "x-merge-type");
    NOXSUP_TRY_VALUE(leaf.content,
                     decode(text, lower(header(headers, "content-transfer-encoding"))));
    leaves.push_back(std::move(leaf));
    return {};
}

/// A file name as a quoted string; nothing when it needs more than printable ASCII.
bool plain_parameter(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return c >= ' ' && c <= '~' && c != '"' && c != '\\';
    });
}

void put_part(std::string& out, const MimePart& part) {
    out += "Content-Type: " + part.content_type + "; charset=\"utf-8\"\n";
    out += "MIME-Version: 1.0\n";
    out += "Content-Transfer-Encoding: base64\n";
    if (plain_parameter(part.filename)) {
        out += "Content-Disposition: attachment; filename=\"" + part.filename + "\"\n";
    }
    if (!part.launch_index.empty()) out += "Launch-Index: " + part.launch_index + '\n';
    if (!part.merge_type.empty()) out += "Merge-Type: " + part.merge_type + '\n';
    out += '\n' + base64_lines(part.content);
}

}  // namespace

bool looks_like_mime(std::string_view text) {
    return lower(text.substr(0, mime_probe_bytes)).find("mime-version:") != std::string::npos;
}

Result<std::vector<MimePart>> parse_mime(std::string_view text) {
    std::vector<MimePart> leaves;
    // Blank lines before the first header are no end of the headers.
    while (!text.empty() && (text[0] == '\n' || text[0] == '\r')) text.remove_prefix(1);
    NOXSUP_TRY(collect(text, 1, leaves));
    return leaves;
}

std::string make_multipart(const std::vector<MimePart>& parts) {
    std::string out = "Content-Type: multipart/mixed; boundary=\"" + std::string(our_boundary) +
                      "\"\nMIME-Version: 1.0\n\n";
    for (const auto& part : parts) {
        out += "--" + std::string(our_boundary) + '\n';
        put_part(out, part);
    }
    out += "--" + std::string(our_boundary) + "--\n";
    return out;
}

}  // namespace noxsup::imaging
