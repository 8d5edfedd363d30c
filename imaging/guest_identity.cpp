#include "imaging/guest_identity.hpp"

namespace noxsup::imaging {
namespace {

/// A card without its driver sends nothing. It is let go of as a PCI device: taking it again resets
/// it, and QEMU gives a card that is reset its own MAC address in place of the one that came with
/// the template's state. systemd takes an empty machine-id for one that is to be made at the next
/// boot. What a copy runs first is run here too, so that it is in memory then.
constexpr std::string_view settle = R"sh(set -eu
for tool in perl netplan date; do command -v "$tool" >/dev/null; done
perl -e 'exit 0'
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

/// One process does nearly all of it: each that is begun costs a copy its own pages. It goes on
/// with what nobody waits for once the network is on its way. Mixed into the kernel's random
/// numbers, what was written counts from the next key on, which RNDRESEEDCRNG (random(4), 0x5207)
/// has it take now. The user is the template's own, so the account is there.
constexpr std::string_view steps = R"perl(
use strict;
use warnings;
our (%value, %network);
umask 022;

sub put {
  my ($file, $text, $mode) = @_;
  unlink $file if defined $mode;
  open(my $out, '>', $file) or die "$file: $!\n";
  chmod($mode, $out) or die "$file: $!\n" if defined $mode;
  print $out $text;
  close($out) or die "$file: $!\n";
}

sub get {
  my ($file) = @_;
  open(my $in, '<', $file) or return '';
  local $/;
  my $text = <$in>;
  return defined $text ? $text : '';
}

sub names_in {
  my ($directory) = @_;
  opendir(my $of, $directory) or die "$directory: $!\n";
  return grep { !/^\.\.?$/ } readdir $of;
}

system('date', '-u', '-s', '@' . $value{clock}) == 0 or die "the clock was not set\n";
put('/dev/urandom', $value{entropy});
open(my $random, '<', '/dev/urandom') or die "/dev/urandom: $!\n";
ioctl($random, 0x5207, 0) or die "no new random numbers: $!\n";
sysread($random, my $bytes, 16) == 16 or die "/dev/urandom: $!\n";
vec($bytes, 6, 8) = vec($bytes, 6, 8) & 0x0f | 0x40;
vec($bytes, 8, 8) = vec($bytes, 8, 8) & 0x3f | 0x80;
my $machine = unpack('H*', $bytes) . "\n";
put('/etc/machine-id', $machine, 0444);
put('/var/lib/dbus/machine-id', $machine)
  if -f '/var/lib/dbus/machine-id' && !-l '/var/lib/dbus/machine-id';

put('/etc/ssh/ssh_host_ed25519_key', $value{'host-key'}, 0600);
put('/etc/ssh/ssh_host_ed25519_key.pub', $value{'host-key.pub'}, 0644);
my $home = (getpwnam($value{user}))[7]
  or die "there is no user $value{user}\n";
my $keys = "$home/.ssh/authorized_keys";
my %there = map { $_ => 1 } split /\n/, get($keys);
open(my $more, '>>', $keys) or die "$keys: $!\n";
print $more "$_\n" for grep { !$there{$_}++ } split /\n/, $value{'authorized-keys'};
close($more) or die "$keys: $!\n";
put('/proc/sys/kernel/hostname', "$value{name}\n");
put('/etc/hostname', "$value{name}\n");
my $hosts = join '', grep { !/^127\.0\.1\.1\s/ } map { "$_\n" } split /\n/, get('/etc/hosts');
put('/etc/hosts', $hosts . "127.0.1.1\t$value{name}\t$value{name}\n");
put('/etc/netplan/50-cloud-init.yaml', "{\"network\": $value{'network-config'}}\n", 0600);
put("/run/systemd/network/$_", $network{$_}) for keys %network;

put('/sys/bus/pci/drivers/virtio-pci/bind', $_) for split /\n/, get('/run/noxsup/let-go');
system('systemctl', '--no-block', 'start', 'systemd-networkd.service') == 0
  or die "the network was not started\n";
my ($sshd) = get('/run/sshd.pid') =~ /^(\d+)$/m;
($sshd && kill('HUP', $sshd)) or system('systemctl', '--no-block', 'try-restart', 'ssh.service');

if (length $value{password}) {
  open(my $to, '|-', 'chpasswd', '--encrypted') or die "chpasswd: $!\n";
  print $to "$value{user}:$value{password}\n";
  close($to) or die "chpasswd failed\n";
}
my $instances = '/var/lib/cloud/instances';
my $state = "$instances/$value{'instance-id'}";
chomp(my $old = get('/var/lib/cloud/data/instance-id'));
rename("$instances/$old", $state) or die "$state: $!\n";
unlink "$state/$_" for grep { !/^boot-finished$/ && -f "$state/$_" } names_in($state);
put("$state/noxsup-network-config", $value{'network-config'});
unlink '/var/lib/cloud/instance';
symlink($state, '/var/lib/cloud/instance') or die "/var/lib/cloud/instance: $!\n";
put('/var/lib/cloud/data/instance-id', "$value{'instance-id'}\n");
system('systemctl', '--no-block', 'restart', 'systemd-journald.service');
)perl";

std::string assignment(std::string_view hash, std::string_view key, std::string_view value) {
    return "$" + std::string(hash) + "{" + perl_quoted(key) + "} = " + perl_quoted(value) + ";\n";
}

std::string_view without_newline(std::string_view text) {
    return text.ends_with('\n') ? text.substr(0, text.size() - 1) : text;
}

}  // namespace

std::string perl_quoted(std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    constexpr std::string_view special = "\"\\$@";
    std::string quoted = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f && special.find(c) == special.npos) {
            quoted += c;
        } else {
            quoted += "\\x{";
            quoted += digits[byte >> 4U];
            quoted += digits[byte & 15U];
            quoted += "}";
        }
    }
    return quoted + "\"";
}

std::string settle_orders() {
    return std::string(settle);
}

std::string identity_orders(const Seed& seed, const IdentityFacts& facts) {
    // No line of a value ends the program: quoted, each is a single one.
    std::string orders = "exec perl - <<'end of the program'\n";
    orders += assignment("value", "clock", facts.clock);
    orders += assignment("value", "entropy", facts.entropy);
    orders += assignment("value", "password", "");
    for (const auto& file : seed.login) {
        const bool is_network = file.name.ends_with(".network");
        // Texts of several lines are files as they are.
        const bool is_word = file.name == "name" || file.name == "user" ||
                             file.name == "password" || file.name == "instance-id";
        orders += assignment(is_network ? "network" : "value", file.name,
                             is_word ? without_newline(file.content) : file.content);
    }
    return orders.append(steps).append("end of the program\n");
}

}  // namespace noxsup::imaging
