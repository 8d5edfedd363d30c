#include "supervisor/launch/kvm_guest.hpp"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace noxsup::launch {
namespace {

constexpr std::size_t page_bytes = 65536;  // the largest page size of arm64 kernels
constexpr std::uint64_t code_address = 0x10000;

std::uint64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(now.tv_nsec);
}

struct Guest {
    int vm = -1;
    int vcpu = -1;
    kvm_run* state = nullptr;
};

#if defined(__x86_64__)

constexpr unsigned long vm_type = 0;
constexpr std::uint32_t end_of_round = KVM_EXIT_IO;

/// Real mode: mov ecx, 5000; dec ecx; jnz; out 0x10, al; jmp to the start.
constexpr std::array<unsigned char, 14> guest_code{0x66, 0xb9, 0x88, 0x13, 0x00, 0x00, 0x66,
                                                   0x49, 0x75, 0xfc, 0xe6, 0x10, 0xeb, 0xf2};
static_assert(iterations_per_round == 0x1388);

/// Counts down on the host as the guest does.
void host_round() {
    std::uint32_t count = iterations_per_round;
    __asm__ volatile("1: dec %0\n jnz 1b" : "+r"(count) : : "cc");
}

bool set_registers(const Guest& guest, int /*vm*/) {
    kvm_sregs segments{};
    if (::ioctl(guest.vcpu, KVM_GET_SREGS, &segments) != 0) return false;
    segments.cs.base = code_address;
    segments.cs.selector = static_cast<std::uint16_t>(code_address >> 4);
    if (::ioctl(guest.vcpu, KVM_SET_SREGS, &segments) != 0) return false;
    kvm_regs registers{};
    registers.rflags = 2;
    return ::ioctl(guest.vcpu, KVM_SET_REGS, &registers) == 0;
}

#elif defined(__aarch64__)

constexpr unsigned long vm_type = 0;
constexpr std::uint32_t end_of_round = KVM_EXIT_MMIO;

/// Turns the instruction cache on (without it each fetch goes to memory and a real CPU looks
/// emulated), then: w1 = 5000; subs; b.ne; str to an address without memory; branch to the start.
constexpr std::array<std::uint32_t, 10> guest_code{
    0xd5381000,  // mrs  x0, sctlr_el1
    0xb2740000,  // orr  x0, x0, #0x1000
    0xd5181000,  // msr  sctlr_el1, x0
    0xd5033fdf,  // isb
    0xd2a00042,  // movz x2, #2, lsl #16
    0x52827101,  // movz w1, #5000
    0x71000421,  // subs w1, w1, #1
    0x54ffffe1,  // b.ne -4
    0xb9000041,  // str  w1, [x2]
    0x17fffffc,  // b    to movz w1
};
static_assert(iterations_per_round == 5000);

void host_round() {
    std::uint32_t count = iterations_per_round;
    __asm__ volatile("1: subs %w0, %w0, #1\n b.ne 1b" : "+r"(count) : : "cc");
}

bool set_registers(const Guest& guest, int vm) {
    kvm_vcpu_init target{};
    if (::ioctl(vm, KVM_ARM_PREFERRED_TARGET, &target) != 0) return false;
    if (::ioctl(guest.vcpu, KVM_ARM_VCPU_INIT, &target) != 0) return false;
    std::uint64_t start = code_address;
    kvm_one_reg pc{};
    pc.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
            (offsetof(kvm_regs, regs.pc) / sizeof(std::uint32_t));
    pc.addr = reinterpret_cast<std::uintptr_t>(&start);
    return ::ioctl(guest.vcpu, KVM_SET_ONE_REG, &pc) == 0;
}

#else
#error "the KVM probe knows x86_64 and aarch64"
#endif

/// KVM_CREATE_VM; where the CPU cannot give the default 40-bit address space, the one it has.
int create_vm(int device) {
    int vm = ::ioctl(device, KVM_CREATE_VM, vm_type);
#if defined(__aarch64__)
    if (vm < 0 && errno == EINVAL) {
        const int bits = ::ioctl(device, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
        if (bits > 0)
            vm = ::ioctl(device, KVM_CREATE_VM,
                         KVM_VM_TYPE_ARM_IPA_SIZE(static_cast<unsigned>(bits)));
    }
#endif
    return vm;
}

bool map_memory(const Guest& guest) {
    void* page =
        ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    std::memcpy(page, guest_code.data(), sizeof(guest_code));
    auto* first = static_cast<char*>(page);
    __builtin___clear_cache(first, first + sizeof(guest_code));
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = code_address;
    region.memory_size = page_bytes;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(page);
    return ::ioctl(guest.vm, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

bool create_vcpu(int device, Guest& guest) {
    const int size = ::ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);
    guest.vcpu = ::ioctl(guest.vm, KVM_CREATE_VCPU, 0);
    if (size <= 0 || guest.vcpu < 0) return false;
    void* state = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE,
                         MAP_SHARED, guest.vcpu, 0);
    if (state == MAP_FAILED) return false;
    guest.state = static_cast<kvm_run*>(state);
    return true;
}

/// Runs to the end of one round. The first round also pays for the faults of the first entry.
bool run_round(const Guest& guest, GuestTiming& timing, std::uint64_t& spent_ns) {
    const auto begin = now_ns();
    int outcome = 0;
    do {
        outcome = ::ioctl(guest.vcpu, KVM_RUN, 0);
    } while (outcome != 0 && errno == EINTR);
    spent_ns = now_ns() - begin;
    if (outcome != 0) {
        timing.error = errno;
        return false;
    }
    if (guest.state->exit_reason != end_of_round) {
        timing.step = GuestStep::unexpected_exit;
        timing.error = static_cast<std::int32_t>(guest.state->exit_reason);
        return false;
    }
    return true;
}

}  // namespace

GuestTiming time_guest_loops(const char* device_path) {
    GuestTiming timing;
    const auto failed = [&timing](GuestStep step) {
        timing.step = step;
        timing.error = errno;
        return timing;
    };
    const int device = ::open(device_path, O_RDWR | O_CLOEXEC);
    if (device < 0) return failed(GuestStep::open_device);
    if (::ioctl(device, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return failed(GuestStep::check_version);
    Guest guest;
    guest.vm = create_vm(device);
    if (guest.vm < 0) return failed(GuestStep::create_vm);
    if (!map_memory(guest)) return failed(GuestStep::map_memory);
    if (!create_vcpu(device, guest)) return failed(GuestStep::create_vcpu);
    if (!set_registers(guest, guest.vm)) return failed(GuestStep::set_registers);

    timing.host_round_ns = UINT64_MAX;
    for (std::uint32_t i = 0; i < guest_rounds; ++i) {
        const auto begin = now_ns();
        host_round();
        timing.host_round_ns = std::min(timing.host_round_ns, now_ns() - begin);
    }
    timing.step = GuestStep::run;
    for (auto& spent : timing.round_ns) {
        if (!run_round(guest, timing, spent)) return timing;
    }
    timing.step = GuestStep::done;
    return timing;
}

}  // namespace noxsup::launch
