// Fuzzes meta.json: any text is read without harm, also behind a checksum that fits; a record that
// is taken is stored the same, and a flipped bit of it is never taken for another record.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "supervisor/base/json.hpp"
#include "supervisor/state/vm_record.hpp"

namespace {

using namespace noxsup;
using namespace noxsup::state;

void require(bool holds) {
    if (!holds) std::abort();
}

void check_flipped(const std::string& text, const VmRecord& record, std::size_t where) {
    auto damaged = text;
    damaged[where % text.size()] ^= static_cast<char>(1U << (where / text.size() % 8));
    const auto parsed = parse_record(damaged);
    // White space is all that may change without notice.
    require(parsed.kind != RecordKind::ours || *parsed.record == record);
}

void check_text(std::string_view text, std::size_t where) {
    const auto parsed = parse_record(text);
    require(parsed.record.has_value() == (parsed.kind == RecordKind::ours));
    require(parsed.problem.empty() == (parsed.kind != RecordKind::damaged));
    if (!parsed.record) return;
    const auto stored = to_text(*parsed.record);
    const auto again = parse_record(stored);
    require(again.kind == RecordKind::ours && *again.record == *parsed.record);
    require(to_text(*again.record) == stored);
    check_flipped(stored, *again.record, where);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::size_t where = data[0] + 256U * data[1];
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    check_text(text, where);
    if (const auto body = parse_json(text)) check_text(seal(*body), where);
    return 0;
}
