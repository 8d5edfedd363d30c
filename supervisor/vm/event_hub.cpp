#include "supervisor/vm/event_hub.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "supervisor/base/random.hpp"

namespace noxsup::vm {
namespace {

constexpr int event_version = 1;
constexpr std::size_t max_name_bytes = 64;
/// Deeper data is not kept: readers refuse what is nested too deep, and lines put it deeper still.
constexpr int max_data_depth = 16;

constexpr std::array kind_words{
    std::pair{EventKind::state, std::string_view("state")},
    std::pair{EventKind::qmp, std::string_view("qmp")},
    std::pair{EventKind::addresses, std::string_view("addresses")},
    std::pair{EventKind::renamed, std::string_view("renamed")},
    std::pair{EventKind::deleted, std::string_view("deleted")},
    std::pair{EventKind::supervisor, std::string_view("supervisor")},
    std::pair{EventKind::missed, std::string_view("missed")},
};

/// True when the value is flat enough and its text takes no less than what is taken from `budget`;
/// looks at no more than the budget allows.
bool fits(const Json& value, int depth, std::size_t& budget) {
    const auto take = [&budget](std::size_t bytes) {
        if (bytes > budget) return false;
        budget -= bytes;
        return true;
    };
    if (depth == 0) return false;
    if (!take(value.is_string() ? value.get_ref<const std::string&>().size() + 2 : 1)) return false;
    if (value.is_array()) {
        return std::ranges::all_of(value,
                                   [&](const Json& item) { return fits(item, depth - 1, budget); });
    }
    if (!value.is_object()) return true;
    for (const auto& [key, member] : value.items()) {
        if (!take(key.size() + 3) || !fits(member, depth - 1, budget)) return false;
    }
    return true;
}

std::size_t size_of(const Event& event) {
    return sizeof(Event) + event.time.size() + event.vm.size() + event.uuid.size() +
           event.event.size() + event.data.size();
}

Json null_if_empty(std::string_view text) {
    return text.empty() ? Json() : Json(text);
}

Json word_or_null(const std::optional<lifecycle::State>& state) {
    return state ? Json(lifecycle::to_string(*state)) : Json();
}

bool wants(const EventCursor& cursor, const Event& event) {
    return cursor.names.empty() || std::ranges::find(cursor.names, event.vm) != cursor.names.end();
}

}  // namespace

std::string_view to_string(EventKind kind) {
    return std::ranges::find(kind_words, kind, &decltype(kind_words)::value_type::first)->second;
}

Json to_json(const Event& event) {
    Json json{{"version", event_version},
              {"seq", event.seq},
              {"time", event.time},
              {"kind", to_string(event.kind)},
              {"vm", null_if_empty(event.vm)},
              {"uuid", null_if_empty(event.uuid)},
              {"state", word_or_null(event.state)},
              {"reason", null_if_empty(lifecycle::to_string(event.reason))},
              {"previous", word_or_null(event.previous)},
              {"event", null_if_empty(event.event)},
              {"data", nullptr}};
    if (auto data = parse_json(event.data)) json["data"] = std::move(*data);
    if (event.kind == EventKind::missed) json["count"] = event.count;
    return json;
}

EventHub::EventHub(EventLimits limits, Clock clock)
    : limits_(limits), clock_(std::move(clock)), stream_(random_hex(4)) {}

void EventHub::publish(Event event) {
    event.seq = ++last_seq_;
    event.time = clock_();
    const auto size = size_of(event);
    bytes_ += size;
    bytes_of_[event.vm] += size;
    ring_.push_back(std::move(event));
    make_room();
    if (listener_) listener_();
}

void EventHub::publish_qmp(Event about, std::string_view name, const Json& data) {
    about.kind = EventKind::qmp;
    about.event = name.substr(0, max_name_bytes);
    about.data.clear();
    auto budget = limits_.data_bytes;
    if (fits(data, max_data_depth, budget)) about.data = dump_json(data);
    // Escapes make a text longer than what it stands for.
    if (about.data.size() > limits_.data_bytes) about.data.clear();
    publish(std::move(about));
}

/// The newest event stays, so that a reader sees every gap by the event behind it.
void EventHub::make_room() {
    while (ring_.size() > 1 && (ring_.size() > limits_.events || bytes_ > limits_.bytes)) {
        const auto largest =
            std::ranges::max_element(bytes_of_, {}, [](const auto& vm) { return vm.second; });
        auto oldest = std::ranges::find(ring_, largest->first, &Event::vm);
        if (oldest == ring_.end() - 1) oldest = ring_.begin();
        const auto of_vm = bytes_of_.find(oldest->vm);
        const auto size = size_of(*oldest);
        bytes_ -= size;
        of_vm->second -= size;
        if (of_vm->second == 0) bytes_of_.erase(of_vm);
        ring_.erase(oldest);
    }
}

bool EventHub::knows(std::string_view name) const {
    return bytes_of_.contains(name);
}

EventCursor EventHub::from_kept(std::vector<std::string> names,
                                std::optional<std::size_t> count) const {
    EventCursor cursor{last_seq_ + 1, std::move(names)};
    auto left = count.value_or(ring_.size());
    for (auto event = ring_.rbegin(); event != ring_.rend() && left > 0; ++event) {
        if (!wants(cursor, *event)) continue;
        cursor.next = event->seq;
        --left;
    }
    return cursor;
}

EventCursor EventHub::after(std::uint64_t seq, std::string_view stream,
                            std::vector<std::string> names) const {
    if (stream != stream_) return {1, std::move(names)};
    return {std::min(seq, last_seq_) + 1, std::move(names)};
}

std::optional<Event> EventHub::read(EventCursor& cursor) const {
    auto event = std::ranges::lower_bound(ring_, cursor.next, {}, &Event::seq);
    for (; event != ring_.end(); ++event) {
        if (event->seq > cursor.next) {
            const auto from = std::exchange(cursor.next, event->seq);
            return missed(from, event->seq);
        }
        ++cursor.next;
        if (wants(cursor, *event)) return *event;
    }
    return std::nullopt;
}

Event EventHub::missed(std::uint64_t from, std::uint64_t to) const {
    Event event;
    event.kind = EventKind::missed;
    event.seq = to - 1;
    event.time = clock_();
    event.count = to - from;
    return event;
}

}  // namespace noxsup::vm
