#include "supervisor/launch/guest_units.hpp"

#include <string_view>

#include "supervisor/launch/qemu_argv.hpp"

namespace noxsup::launch {
namespace {

/// The seed is found by its serial and not by its label: that needs no udev, which takes its time.
constexpr std::string_view login_unit = R"unit([Unit]
Description=First login, ahead of cloud-init
DefaultDependencies=no
RequiresMountsFor=/etc /home /var/lib/cloud
After=systemd-remount-fs.service systemd-sysusers.service
Before=cloud-init-main.service cloud-init-local.service systemd-networkd.service sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
Nice=-10
ExecStart=/bin/sh -c 'for disk in /sys/block/vd*; do \
  [ "$$(cat $$disk/serial)" = noxsup-seed ] || continue; \
  mkdir -p /run/noxsup/seed; \
  mount -t iso9660 -o ro,nosuid,nodev,noexec /dev/$${disk##*/} /run/noxsup/seed; \
  [ ! -e /run/noxsup/seed/noxsup/login ] || sh /run/noxsup/seed/noxsup/login /run/noxsup/seed/noxsup; \
  umount /run/noxsup/seed; \
  done'
)unit";

constexpr std::string_view behind_login = R"unit([Unit]
After=noxsup-login.service
ConditionPathExists=!/run/noxsup/login-first
)unit";

/// Where all stages run in one process, it is to be in nobody's way.
constexpr std::string_view in_nobodys_way = R"unit(
[Service]
Nice=19
)unit";

/// An image has these made when it was built: nothing of it was updated since, and a new disk has
/// no snapshots to remove. A first boot is one that cloud-init has not seen: images come with an
/// empty machine-id, which is none to ConditionFirstBoot.
constexpr std::string_view not_at_first_boot = R"unit([Unit]
ConditionPathExists=/var/lib/cloud/data/instance-id
)unit";

/// Nobody waits for it, and on one processor ssh would.
constexpr std::string_view after_ssh = R"unit([Unit]
After=ssh.service
)unit";

/// One after the other: their order hangs on targets that were reached long ago.
constexpr std::string_view cloud_init_unit = R"unit([Unit]
Description=cloud-init, behind the first login
DefaultDependencies=no
ConditionPathExists=/run/noxsup/login-first
After=ssh.service multi-user.target
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=infinity
ExecStart=/bin/rm /run/noxsup/login-first
ExecStart=-/bin/systemctl start cloud-init-main.service
ExecStart=-/bin/systemctl start cloud-init-local.service
ExecStart=-/bin/systemctl start cloud-init-network.service
ExecStart=-/bin/systemctl start cloud-config.service
ExecStart=-/bin/systemctl start cloud-final.service
)unit";

}  // namespace

std::vector<GuestCredential> guest_credentials(const spec::VmSpec& spec) {
    if (!spec.cloud_init.enabled || spec.cloud_init.stock) return {};
    std::vector<GuestCredential> credentials{
        {"systemd.extra-unit.noxsup-login.service", std::string(login_unit)},
        {"systemd.unit-dropin.sysinit.target", "[Unit]\nWants=noxsup-login.service\n"},
        {"systemd.extra-unit.noxsup-cloud-init.service", std::string(cloud_init_unit)},
        {"systemd.unit-dropin.multi-user.target", "[Unit]\nWants=noxsup-cloud-init.service\n"},
    };
    const auto drop_in = [&](const std::string& unit, std::string_view text) {
        credentials.push_back({"systemd.unit-dropin." + unit + ".service", std::string(text)});
    };
    drop_in("cloud-init-main", std::string(behind_login) + std::string(in_nobodys_way));
    for (const auto* unit :
         {"cloud-init-local", "cloud-init-network", "cloud-config", "cloud-final"}) {
        drop_in(unit, behind_login);
    }
    for (const auto* unit : {"ldconfig", "systemd-journal-catalog-update", "e2scrub_reap"})
        drop_in(unit, not_at_first_boot);
    drop_in("grub-common", after_ssh);
    return credentials;
}

std::string smbios_option(const GuestCredential& credential) {
    return "type=11,value=" +
           escape_option("io.systemd.credential:" + credential.name + "=" + credential.content);
}

}  // namespace noxsup::launch
