// Units that the guest's own systemd gets from the machine: they put the first login ahead of
// cloud-init where the seed has the files for it (imaging/login_first.hpp).
#pragma once

#include <string>
#include <vector>

#include "supervisor/spec/vm_spec.hpp"

namespace noxsup::launch {

/// A systemd credential, as SMBIOS type 11 carries it (systemd.system-credentials(7); units by
/// credential since systemd 256, older ones ignore them).
struct GuestCredential {
    std::string name;
    std::string content;
};

/// What this VM's guest is told: nothing without a seed, and nothing where the first boot stays as
/// the vendor made it. Constant texts: nothing of a VM is in them, nothing in them is secret.
std::vector<GuestCredential> guest_credentials(const spec::VmSpec& spec);

/// The value of a `-smbios` option.
std::string smbios_option(const GuestCredential& credential);

}  // namespace noxsup::launch
