// Heads of HTTP answers, checksum lists and the worker's lines: no crash, no append without a
// proof.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "imaging/checksums.hpp"
#include "imaging/http_response.hpp"
#include "imaging/vendor_index.hpp"
#include "imaging/worker_protocol.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace noxsup::imaging;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    ResponseHead head;
    std::size_t begin = 0;
    while (begin < text.size()) {
        const auto end = text.find('\n', begin);
        if (!head.add_line(text.substr(begin, end - begin))) break;
        if (end == std::string_view::npos) break;
        begin = end + 1;
    }
    constexpr std::uint64_t offset = 100;
    constexpr std::uint64_t limit = 100'000;
    const auto judgement = judge_response(head, ResumePoint{offset, "\"v1\""}, limit);
    if (judgement.plan == BodyPlan::append && (head.status() != 206 || head.etag() != "\"v1\""))
        std::abort();
    const bool taken = judgement.plan == BodyPlan::append || judgement.plan == BodyPlan::from_start;
    if (taken && judgement.total.value_or(0) > limit) std::abort();
    for (const auto& listed : parse_checksums(text)) {
        if (!listed.name.empty() && !is_plain_file_name(listed.name)) std::abort();
        const std::size_t digits = listed.digest.algorithm == "sha256" ? 64 : 128;
        if (listed.digest.hex.size() != digits) std::abort();
    }
    static_cast<void>(parse_expected_digest(text).has_value());
    WorkerAnswer answer{ProgressCallback()};
    answer.feed(text.substr(0, size / 2));
    answer.feed(text.substr(size / 2));
    static_cast<void>(answer.take().has_value());
    return 0;
}
