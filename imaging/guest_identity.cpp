#include "imaging/guest_identity.hpp"

#include "imaging/login_first.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

/// A card without its driver sends nothing. It is let go of as a PCI device: taking it again resets
/// it, and QEMU gives a card that is reset its own MAC address in place of the one that came with
/// the template's state. systemd takes an empty machine-id for one that is to be made at the next
/// boot.
constexpr std::string_view settle = R"sh(set -eu
for tool in perl netplan base64; do command -v "$tool" >/dev/null; done
[ -s /var/lib/cloud/data/instance-id ]
timeout 600 systemctl is-system-running --wait >/dev/null || :
systemctl stop 'systemd-networkd*.socket' systemd-networkd.service
rm -f /run/noxsup/let-go
let_go() {
  device=$(readlink -f "$1")
  device=${device%/virtio*}
  echo "${device##*/}" >>/run/noxsup/let-go
  echo "${device##*/}" >/sys/bus/pci/drivers/virtio-pci/unbind
}
for card in /sys/bus/virtio/drivers/virtio_net/virtio*; do let_go "$card"; done
for disk in /sys/block/vd*; do
  [ "$(cat "$disk/serial")" != noxsup-seed ] || let_go "$disk/device"
done
rm -f /run/systemd/network/*-noxsup-*.network /run/systemd/network/10-netplan-* /run/systemd/netif/leases/*
rm -f /etc/netplan/50-cloud-init.yaml /etc/ssh/ssh_host_*key* /var/lib/systemd/random-seed
: >/etc/machine-id
sync
)sh";

/// Mixed in, what was written counts from the next time on that the kernel takes a new key from its
/// pool, which RNDRESEEDCRNG (random(4), 0x5207) has it do now.
constexpr std::string_view reseed =
    R"sh(perl -e 'open(R, "<", "/dev/urandom") && ioctl(R, 0x5207, 0) or die "$!"'
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
chmod 0444 /etc/machine-id
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then
  cat /etc/machine-id >/var/lib/dbus/machine-id
fi
)sh";

/// The marks of what was done for the instance before are those of the new one: its next boot is a
/// later one. The login's own script begins the network (login_first.cpp).
constexpr std::string_view take_over = R"sh(umask 022
while read -r device; do
  echo "$device" >/sys/bus/pci/drivers/virtio-pci/bind
done </run/noxsup/let-go
read -r old </var/lib/cloud/data/instance-id
state=/var/lib/cloud/instances/$new
mkdir -p "$state"
cp -a "/var/lib/cloud/instances/$old/sem" "$state/"
sh /run/noxsup/login-program
rm -f /run/noxsup/login-program /run/noxsup/login-first
kill -HUP "$(cat /run/sshd.pid)" || systemctl --no-block try-restart ssh.service
: >"$state/boot-finished"
ln -sfn "$state" /var/lib/cloud/instance
echo "$new" >/var/lib/cloud/data/instance-id
rm -rf "/var/lib/cloud/instances/$old"
systemctl --no-block restart systemd-journald.service
)sh";

std::string write_order(std::string_view content, std::string_view file) {
    return "printf %s " + shell_quoted(content) + " >" + std::string(file) + "\n";
}

}  // namespace

std::string settle_orders() {
    return std::string(settle);
}

std::string identity_orders(const Seed& seed, const IdentityFacts& facts) {
    std::string orders = "set -eu\numask 077\n";
    orders += "date -u -s @" + shell_quoted(facts.clock) + " >/dev/null\n";
    orders += write_order(facts.entropy, "/dev/urandom");
    orders += reseed;
    orders += write_order(login_program(seed.login), "/run/noxsup/login-program");
    // JSON is YAML; netplan wants the name of the whole around it.
    orders += write_order("{\"network\": " + seed.network_config + "}\n",
                          "/etc/netplan/50-cloud-init.yaml");
    orders += "new=" + shell_quoted(facts.instance_id) + "\n";
    orders += take_over;
    return orders;
}

}  // namespace noxsup::imaging
