// What happened to the VMs, in order and within bounds: a ring that any number of readers follow,
// each at its own pace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/base/json.hpp"
#include "supervisor/base/time.hpp"
#include "supervisor/lifecycle/machine.hpp"

namespace noxsup::vm {

enum class EventKind {
    state,       ///< a VM's state or reason is another one
    qmp,         ///< its QEMU sent an event
    addresses,   ///< data: {"mac": a network card's, "addresses": what it has now}
    renamed,     ///< data: {"from": the name before}
    deleted,     ///< it is gone, or was never finished
    supervisor,  ///< of no VM: the supervisor began to serve
    missed,      ///< in place of what a slow reader will not get
};
/// The words of JSON: "state", "qmp", ...
std::string_view to_string(EventKind kind);

/// One thing that happened. `event` and `data` of a QMP event are QEMU's own words, which may be
/// owned by a guest: they are shown (escaped), and choose nothing.
struct Event {
    EventKind kind = EventKind::state;
    std::uint64_t seq = 0;  ///< running number; of `missed`, that of the last one missed
    std::string time;       ///< RFC 3339, this host's
    std::string vm;         ///< its name; empty where it is about no VM
    std::string uuid;
    std::optional<lifecycle::State> state;  ///< of a QMP event: when it came
    lifecycle::Reason reason = lifecycle::Reason::none;
    std::optional<lifecycle::State> previous;
    std::string event;        ///< QMP's name, "SHUTDOWN"; of the supervisor: "started"
    std::string data;         ///< JSON; empty: none, or of a QMP event more than is kept
    std::uint64_t count = 0;  ///< of `missed`: how many, of whatever VM
};

/// One line of `events --format json`, with "version". All keys but "count" are always there.
Json to_json(const Event& event);

/// How much is kept.
struct EventLimits {
    std::size_t events = 1024;
    std::size_t bytes = std::size_t{512} << 10;
    std::size_t data_bytes = 4096;  ///< of one QMP event
};

/// Where a reader is. Plain data: readers come and go without the hub's knowing.
struct EventCursor {
    std::uint64_t next = 1;          ///< the number of the next event it wants
    std::vector<std::string> names;  ///< the VMs it wants; none: everything
};

/// Holds the latest events. Every event has a number, without gaps; beyond the limits the VM with
/// the most in the ring loses its oldest, so that a storm of one VM's events leaves the others'
/// news alone. A reader that comes upon a gap is told how much it missed. One thread; no I/O.
class EventHub {
  public:
    using Clock = std::function<std::string()>;

    explicit EventHub(EventLimits limits = {}, Clock clock = rfc3339_now_millis);
    EventHub(const EventHub&) = delete;
    EventHub& operator=(const EventHub&) = delete;

    /// Gives the event its number and time, keeps it, and calls the listener.
    void publish(Event event);
    /// A QMP event, cut to size. @param about kind, name and data are set here
    void publish_qmp(Event about, std::string_view name, const Json& data);
    /// Called after each publish(); it must not publish.
    void set_listener(std::function<void()> listener) { listener_ = std::move(listener); }

    /// Which run of numbers this is: another supervisor's begins anew.
    [[nodiscard]] const std::string& stream() const { return stream_; }
    /// The number of the latest event; 0 before the first.
    [[nodiscard]] std::uint64_t last_seq() const { return last_seq_; }
    /// True when an event of a VM of this name is kept.
    [[nodiscard]] bool knows(std::string_view name) const;
    [[nodiscard]] std::size_t size() const { return ring_.size(); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

    /// A reader of all that is kept, or of the last `count` of it that it wants.
    [[nodiscard]] EventCursor from_kept(std::vector<std::string> names = {},
                                        std::optional<std::size_t> count = std::nullopt) const;
    /// A reader that goes on behind `seq`; of another stream it gets all there is of this one.
    [[nodiscard]] EventCursor after(std::uint64_t seq, std::string_view stream,
                                    std::vector<std::string> names = {}) const;
    /// The next event for this reader, `missed` where the ones it should get are gone; nothing when
    /// it has them all.
    std::optional<Event> read(EventCursor& cursor) const;

  private:
    void make_room();
    [[nodiscard]] Event missed(std::uint64_t from, std::uint64_t to) const;

    EventLimits limits_;
    Clock clock_;
    std::function<void()> listener_;
    std::string stream_;
    std::uint64_t last_seq_ = 0;
    std::deque<Event> ring_;  ///< ascending numbers
    std::size_t bytes_ = 0;
    std::map<std::string, std::size_t, std::less<>> bytes_of_;  ///< by VM
};

}  // namespace noxsup::vm
