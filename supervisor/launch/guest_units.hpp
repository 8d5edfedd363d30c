// Units that the guest's own systemd gets from the machine: they put the first login ahead of
// cloud-init where the seed has the files for it (imaging/login_first.hpp), and carry the
// supervisor's orders out, among them the power button of machines without one. They come with the
// initial RAM disk where the machine loads that, else with the firmware's tables.
#pragma once

#include <string>
#include <vector>

#include "imaging/cpio.hpp"
#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// A systemd credential, as SMBIOS type 11 carries it (systemd.system-credentials(7); units by
/// credential since systemd 256, older ones ignore them).
struct GuestCredential {
    std::string name;
    std::string content;
};

/// What this VM's guest is told by its firmware: nothing without a seed, and nothing where the
/// first boot stays as the vendor made it. Constant texts: nothing of a VM is in them, nothing in
/// them is secret.
std::vector<GuestCredential> guest_credentials(const spec::VmSpec& spec);

/// The value of a `-smbios` option.
std::string smbios_option(const GuestCredential& credential);

/// The same units, and that of the supervisor's orders, as files of an initial RAM disk of
/// initramfs-tools(7), whose last step puts them where systemd finds them. Constant, too.
std::vector<imaging::CpioFile> initramfs_files();

/// The port by which the supervisor gives orders to the guest, a line each: "poweroff"; or
/// "run BYTES TOKEN" and a shell script of so many bytes, which root runs. When that has ended the
/// guest says "done TOKEN STATUS WORDS", the last of what it printed; nothing else comes from it.
/// See vm/guest_orders.hpp.
inline constexpr auto guest_port_name = "org.noxsup.guest.0";

}  // namespace noxsup::launch
