#include "netbridge/packet_socket.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace noxsup::netbridge {
namespace {

constexpr std::uint32_t accept_bytes = 2048;

/// Puts a program together in which every test that fails jumps to the same place, "drop" at the
/// end.
class FilterBuilder {
  public:
    void load(int size, std::uint32_t offset, int mode = BPF_ABS) {
        push(BPF_LD | size | mode, offset);
    }
    void load_ancillary(int which) { load(BPF_W, static_cast<std::uint32_t>(SKF_AD_OFF + which)); }
    /// The length of the IP header at `offset` goes into X.
    void load_ip_header_length(std::uint32_t offset) { push(BPF_LDX | BPF_B | BPF_MSH, offset); }
    void require_equal(std::uint32_t value) {
        exits_.push_back({program_.size(), false});
        push(BPF_JMP | BPF_JEQ | BPF_K, value);
    }
    void require_between(std::uint32_t lowest, std::uint32_t highest) {
        exits_.push_back({program_.size(), false});
        push(BPF_JMP | BPF_JGE | BPF_K, lowest);
        exits_.push_back({program_.size(), true});
        push(BPF_JMP | BPF_JGT | BPF_K, highest);
    }
    void require_no_bits(std::uint32_t mask) {
        exits_.push_back({program_.size(), true});
        push(BPF_JMP | BPF_JSET | BPF_K, mask);
    }
    void require_mac(std::uint32_t offset, const MacAddress& mac, int mode = BPF_ABS) {
        const auto& b = mac.bytes();
        load(BPF_W, offset, mode);
        require_equal(std::uint32_t{b[0]} << 24U | std::uint32_t{b[1]} << 16U |
                      std::uint32_t{b[2]} << 8U | b[3]);
        load(BPF_H, offset + 4, mode);
        require_equal(std::uint32_t{b[4]} << 8U | b[5]);
    }
    void accept() { push(BPF_RET | BPF_K, accept_bytes); }
    /// Jumps over what comes next, up to else_here(), when the accumulator differs from the value.
    void if_equal(std::uint32_t value) {
        branch_ = program_.size();
        push(BPF_JMP | BPF_JEQ | BPF_K, value);
    }
    /// The same when it equals the value.
    void if_differs(std::uint32_t value) {
        if_equal(value);
        branch_when_true_ = true;
    }
    void else_here() {
        const auto distance = static_cast<std::uint8_t>(program_.size() - branch_ - 1);
        (branch_when_true_ ? program_[branch_].jt : program_[branch_].jf) = distance;
        branch_when_true_ = false;
    }
    std::vector<sock_filter> finish() {
        const auto drop = program_.size();
        push(BPF_RET | BPF_K, 0);
        for (const auto& exit : exits_) {
            const auto distance = static_cast<std::uint8_t>(drop - exit.at - 1);
            (exit.when_true ? program_[exit.at].jt : program_[exit.at].jf) = distance;
        }
        return std::move(program_);
    }

  private:
    struct Exit {
        std::size_t at;
        bool when_true;
    };
    void push(int code, std::uint32_t k) {
        program_.push_back({static_cast<std::uint16_t>(code), 0, 0, k});
    }
    std::vector<sock_filter> program_;
    std::vector<Exit> exits_;
    std::size_t branch_ = 0;
    bool branch_when_true_ = false;
};

/// Offsets in an untagged frame; those behind the IP header are relative to its length in X.
constexpr std::uint32_t source_mac = 6;
constexpr std::uint32_t ether_type = 12;
constexpr std::uint32_t ip_start = 14;
constexpr std::uint32_t udp_ports = ip_start;
constexpr std::uint32_t bootp_op = ip_start + 8;
constexpr std::uint32_t bootp_chaddr = bootp_op + 28;

/// Protocol 0 receives nothing until bind() names one, after a filter is in place.
Result<UniqueFd> open_packet_socket() {
    UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket) return socket;
    const int failure = errno;
    const bool forbidden = failure == EPERM || failure == EACCES;
    return errno_error("open a packet socket", failure,
                       forbidden ? ErrorCode::host_lacks_right : ErrorCode::io_error);
}

Result<> bind_to(int socket, int link_index, std::uint16_t protocol) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = link_index;
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return errno_error("watch network device " + std::to_string(link_index), errno);
    }
    return {};
}

}  // namespace

std::vector<sock_filter> guest_address_filter(const MacAddress& guest, GuestDevice device) {
    FilterBuilder filter;
    filter.load_ancillary(SKF_AD_VLAN_TAG_PRESENT);
    filter.require_equal(0);
    filter.load_ancillary(SKF_AD_PKTTYPE);
    if (device == GuestDevice::tap) {
        filter.if_equal(PACKET_OUTGOING);
    } else {
        filter.if_differs(PACKET_OUTGOING);
    }
    constexpr std::uint32_t udp = 17;
    constexpr std::uint32_t ports_67_to_68 = 67U << 16U | 68U;
    constexpr std::uint32_t fragment_bits = 0x3fff;
    constexpr std::uint32_t boot_reply = 2;
    filter.load(BPF_H, ether_type);
    filter.require_equal(ETH_P_IP);
    filter.load(BPF_B, ip_start + 9);
    filter.require_equal(udp);
    filter.load(BPF_H, ip_start + 6);
    filter.require_no_bits(fragment_bits);
    filter.load_ip_header_length(ip_start);
    filter.load(BPF_W, udp_ports, BPF_IND);
    filter.require_equal(ports_67_to_68);
    filter.load(BPF_B, bootp_op, BPF_IND);
    filter.require_equal(boot_reply);
    filter.require_mac(bootp_chaddr, guest, BPF_IND);
    filter.accept();
    filter.else_here();
    filter.require_mac(source_mac, guest);
    filter.load(BPF_H, ether_type);
    filter.if_equal(ETH_P_ARP);
    filter.accept();
    filter.else_here();
    constexpr std::uint32_t icmpv6 = 58;
    constexpr std::uint32_t solicitation = 135;
    constexpr std::uint32_t advertisement = 136;
    filter.require_equal(ETH_P_IPV6);
    filter.load(BPF_B, ip_start + 6);
    filter.require_equal(icmpv6);
    filter.load(BPF_B, ip_start + 40);
    filter.require_between(solicitation, advertisement);
    filter.accept();
    return filter.finish();
}

Result<UniqueFd> open_guest_socket(int link_index, const MacAddress& guest, GuestDevice device) {
    NOXSUP_TRY_VALUE(auto socket, open_packet_socket());
    auto program = guest_address_filter(guest, device);
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0) {
        return errno_error("attach a packet filter", errno);
    }
    NOXSUP_TRY(bind_to(socket.get(), link_index, ETH_P_ALL));
    return socket;
}

Result<UniqueFd> open_arp_socket(int link_index) {
    NOXSUP_TRY_VALUE(auto socket, open_packet_socket());
    NOXSUP_TRY(bind_to(socket.get(), link_index, ETH_P_ARP));
    return socket;
}

Result<std::optional<ReceivedFrame>> receive_frame(int socket, std::span<std::uint8_t> buffer,
                                                   GuestDevice device) {
    for (;;) {
        sockaddr_ll from{};
        socklen_t length = sizeof(from);
        const auto got = ::recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                    reinterpret_cast<sockaddr*>(&from), &length);
        if (got >= 0) {
            ReceivedFrame received;
            received.frame = Frame(buffer.data(), static_cast<std::size_t>(got));
            received.to_guest =
                (from.sll_pkttype == PACKET_OUTGOING) == (device == GuestDevice::tap);
            return std::optional(received);
        }
        if (errno == EAGAIN) return std::optional<ReceivedFrame>{};
        // ENETDOWN is told once when the device goes down; the socket hears it again when it is up.
        if (errno != EINTR && errno != ENETDOWN) {
            return errno_error("read from a packet socket", errno);
        }
    }
}

}  // namespace noxsup::netbridge
