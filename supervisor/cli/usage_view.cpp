#include "supervisor/cli/usage_view.hpp"

#include <array>
#include <cmath>
#include <optional>

#include "supervisor/base/text.hpp"
#include "supervisor/cli/vm_view.hpp"

namespace noxsup::cli {
namespace {

/// A sum of vm.usage and the rate that is made of it.
struct Rate {
    const char* sum;
    const char* rate;
};
constexpr std::array rates{Rate{"read_bytes", "read_bytes_per_second"},
                           Rate{"written_bytes", "written_bytes_per_second"},
                           Rate{"received_bytes", "received_bytes_per_second"},
                           Rate{"sent_bytes", "sent_bytes_per_second"}};

std::optional<double> value(const Json& object, const char* key) {
    const auto member = json_member<double>(object, key);
    return member ? std::optional(*member) : std::nullopt;
}

const Json* same_vm(const Json& vms, const Json& vm) {
    const auto name = text_at(vm, "name");
    for (const auto& other : vms) {
        if (text_at(other, "name") == name) return &other;
    }
    return nullptr;
}

/// Nothing where the counter is smaller than before: it is another QEMU's.
std::optional<double> rate_of(const Json& earlier, const Json& later, const char* sum,
                              double seconds) {
    const auto before = value(earlier, sum);
    const auto after = value(later, sum);
    if (!before || !after || *after < *before || seconds <= 0) return std::nullopt;
    return (*after - *before) / seconds;
}

std::string amount(const Json& vm, const char* key, bool for_people, std::string_view unit = {}) {
    const auto bytes = value(vm, key);
    if (!bytes || *bytes < 0) return for_people ? "-" : "";
    const auto whole = static_cast<unsigned long long>(std::llround(*bytes));
    return for_people ? format_bytes(whole) + std::string(unit) : std::to_string(whole);
}

std::string percent(const Json& vm, bool for_people) {
    const auto share = value(vm, "cpu_percent");
    if (!share || *share < 0) return for_people ? "-" : "";
    return std::to_string(std::llround(*share)) + (for_people ? "%" : "");
}

}  // namespace

Json usage_between(const Json& earlier, const Json& later) {
    Json vms = Json::array();
    for (const auto& vm : later) {
        auto& shown = vms.emplace_back(vm);
        const auto* before = same_vm(earlier, vm);
        if (before == nullptr) continue;
        const auto seconds =
            value(vm, "at_seconds").value_or(0) - value(*before, "at_seconds").value_or(0);
        if (const auto cpus = rate_of(*before, vm, "cpu_seconds", seconds))
            shown["cpu_percent"] = std::round(*cpus * 1000) / 10;
        for (const auto& [sum, rate] : rates) {
            if (const auto bytes = rate_of(*before, vm, sum, seconds))
                shown[rate] = std::llround(*bytes);
        }
    }
    return vms;
}

Table usage_table(const Json& vms, bool for_people) {
    Table table{
        {"NAME", "CPU", "MEMORY", "GUEST", "OVERHEAD", "READ", "WRITTEN", "RECEIVED", "SENT"}, {}};
    for (const auto& vm : vms) {
        std::vector<std::string> row{text_at(vm, "name"), percent(vm, for_people)};
        for (const auto* key : {"memory_bytes", "guest_bytes", "overhead_bytes"})
            row.push_back(amount(vm, key, for_people));
        for (const auto& [sum, rate] : rates) row.push_back(amount(vm, rate, for_people, "/s"));
        table.rows.push_back(std::move(row));
    }
    return table;
}

Document usage_document(Json vms) {
    Document document;
    document.table = usage_table(vms, false);
    document.text = vms.empty() ? "no VM runs\n" : format_table(usage_table(vms, true));
    for (const auto& vm : vms) document.names.push_back(text_at(vm, "name"));
    document.json["vms"] = std::move(vms);
    return document;
}

}  // namespace noxsup::cli
