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
  [ ! -e /run/noxsup/seed/noxsup-login ] || sh /run/noxsup/seed/noxsup-login; \
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
ExecStart=-/bin/systemctl start cloud-init.service
ExecStart=-/bin/systemctl start cloud-config.service
ExecStart=-/bin/systemctl start cloud-final.service
)unit";

/// A machine that loads its kernel itself has no ACPI on arm64, and the vendors' kernels no driver
/// for the button that it has instead. Reading ends where nobody is at the port's other end. A
/// script has the port as its descriptor 3 and may answer by itself, with the token that it is
/// given.
constexpr std::string_view orders_unit = R"unit([Unit]
Description=Orders of the supervisor
DefaultDependencies=no
Before=shutdown.target
Conflicts=shutdown.target

[Service]
UMask=0077
ExecStart=/bin/sh -c 'until name=$$(grep -lx org.noxsup.guest.0 /sys/class/virtio-ports/*/name); do sleep 1; done; \
  port=$${name%%/name}; \
  mkdir -p /run/noxsup; \
  exec 3<>"/dev/$${port##*/}"; \
  while :; do \
    if ! read -r word size token <&3; then sleep 3; \
    elif [ "$$word" = poweroff ]; then systemctl --no-block poweroff; \
    elif [ "$$word" = run ]; then \
      head -c "$$size" <&3 >/run/noxsup/orders; \
      sh /run/noxsup/orders "$$token" </dev/null >/run/noxsup/orders.log 2>&1; \
      status=$$?; \
      echo "done $$token $$status $$(tail -n 1 /run/noxsup/orders.log | head -c 120)" >&3; \
      rm -f /run/noxsup/orders; \
    fi; \
  done'
)unit";

/// A unit, or a change to one ("NAME.d/50-noxsup.conf"), below systemd's directory of units.
struct GuestUnit {
    std::string path;
    std::string content;
};

constexpr std::string_view drop_in_suffix = ".d/50-noxsup.conf";

std::vector<GuestUnit> login_units() {
    std::vector<GuestUnit> units;
    const auto drop_in = [&units](std::string unit, std::string text) {
        units.push_back({std::move(unit.append(drop_in_suffix)), std::move(text)});
    };
    units.push_back({"noxsup-login.service", std::string(login_unit)});
    drop_in("sysinit.target", "[Unit]\nWants=noxsup-login.service\n");
    units.push_back({"noxsup-cloud-init.service", std::string(cloud_init_unit)});
    drop_in("multi-user.target", "[Unit]\nWants=noxsup-cloud-init.service\n");
    drop_in("cloud-init-main.service", std::string(behind_login) + std::string(in_nobodys_way));
    // The third is what the second was called before cloud-init 24.3.
    for (const auto* unit : {"cloud-init-local.service", "cloud-init-network.service",
                             "cloud-init.service", "cloud-config.service", "cloud-final.service"}) {
        drop_in(unit, std::string(behind_login));
    }
    for (const auto* unit :
         {"ldconfig.service", "systemd-journal-catalog-update.service", "e2scrub_reap.service"}) {
        drop_in(unit, std::string(not_at_first_boot));
    }
    drop_in("grub-common.service", std::string(after_ssh));
    return units;
}

GuestCredential credential_of(GuestUnit unit) {
    if (!unit.path.ends_with(drop_in_suffix))
        return {"systemd.extra-unit." + unit.path, std::move(unit.content)};
    unit.path.resize(unit.path.size() - drop_in_suffix.size());
    return {"systemd.unit-dropin." + unit.path, std::move(unit.content)};
}

/// initramfs-tools reads conf/conf.d when it begins, and runs what the list of the last step's
/// scripts names; /run goes over to the system.
constexpr std::string_view hook = R"sh(echo '/scripts/noxsup "$@"' >>/scripts/init-bottom/ORDER
)sh";

}  // namespace

std::vector<GuestCredential> guest_credentials(const spec::VmSpec& spec) {
    if (!spec.cloud_init.enabled || spec.cloud_init.stock || spec::boots_directly(spec.boot))
        return {};
    std::vector<GuestCredential> credentials;
    for (auto& unit : login_units()) credentials.push_back(credential_of(std::move(unit)));
    return credentials;
}

std::vector<imaging::CpioFile> initramfs_files() {
    auto units = login_units();
    units.push_back({"noxsup-orders.service", std::string(orders_unit)});
    units.push_back({std::string("basic.target").append(drop_in_suffix),
                     "[Unit]\nWants=noxsup-orders.service\n"});
    std::vector<imaging::CpioFile> files{{"conf/conf.d/noxsup", std::string(hook), 0644}};
    // The shell of an initial RAM disk may have no more than its own commands and cat.
    std::string script = "#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\n";
    for (std::size_t i = 0; i < units.size(); ++i) {
        const auto name = "noxsup/" + std::to_string(i);
        const auto place = "/run/systemd/system/" + units[i].path;
        script += "mkdir -p " + place.substr(0, place.rfind('/')) + "\n";
        script += "cat /" + name + " >" + place + "\n";
        files.push_back({name, std::move(units[i].content), 0644});
    }
    files.push_back({"scripts/noxsup", std::move(script), 0755});
    return files;
}

std::string smbios_option(const GuestCredential& credential) {
    return "type=11,value=" +
           escape_option("io.systemd.credential:" + credential.name + "=" + credential.content);
}

}  // namespace noxsup::launch
