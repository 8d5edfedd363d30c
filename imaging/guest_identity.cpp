#include "imaging/guest_identity.hpp"

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::string_view forget_boot =
    R"sh(timeout 600 systemctl is-system-running --wait >/dev/null || :
sync
echo 3 >/proc/sys/vm/drop_caches
)sh";

/// A card that is down sends nothing. The seed's disk is let go of: a copy's is another one.
/// systemd takes an empty machine-id for one that is to be made at the next boot; who starts behind
/// that has nobody's. What a copy would wait for is begun here: a process that is there need not be
/// started, and what has run once is in memory. logind ends the last login's processes after ten
/// seconds, and a copy is to have none of that. A new clock, name, address and network wake each
/// service of the guest; those that no login needs (later) do not come before it.
constexpr std::string_view settle =
    R"sh(for tool in perl netplan ip; do command -v "$tool" >/dev/null; done
[ -s /var/lib/cloud/data/instance-id ]
systemctl stop 'systemd-networkd*.socket' systemd-networkd.service
for card in /sys/bus/virtio/drivers/virtio_net/virtio*/net/*; do
  ip link set dev "${card##*/}" down
  ip address flush dev "${card##*/}"
done
for disk in /sys/block/vd*; do
  [ "$(cat "$disk/serial")" = noxsup-seed ] || continue
  device=$(readlink -f "$disk/device")
  device=${device%/virtio*}
  echo "${device##*/}" >/run/noxsup/seed-device
  echo "${device##*/}" >/sys/bus/pci/drivers/virtio-pci/unbind
done
rm -f /run/systemd/network/*-noxsup-*.network /run/systemd/network/10-netplan-* /run/systemd/netif/leases/*
rm -f /etc/netplan/50-cloud-init.yaml /etc/ssh/ssh_host_*key* /var/lib/systemd/random-seed
: >/etc/machine-id
systemctl start systemd-networkd.service
uid=$(id -u "$user")
for wait in $(seq 60); do [ ! -e "/run/systemd/users/$uid" ] || sleep 0.5; done
systemctl start "user@$uid.service" || :
for unit in $(systemctl list-units --type=service --state=running --plain --no-legend | cut -d ' ' -f 1); do
  case $unit in
    dbus* | noxsup* | ssh* | systemd-logind* | systemd-networkd* | user@*) ;;
    *) systemctl show --property=MainPID --value "$unit" ;;
  esac
done >/run/noxsup/later
cat >/run/noxsup/identity <<'end of the program'
)sh";

/// It waits in the template, compiled, for a copy's values, in place of the unit that has begun it
/// and at the same port: each process that a copy begins costs it time, and pages of its own. What
/// it waits for it does without one, and what nobody waits for once the network is on its way.
/// Mixed into the kernel's random numbers, what was written counts from the next key on, which
/// RNDRESEEDCRNG (random(4), 0x5207) has it take now. The user is the template's own, so the
/// account is there. sshd has read its keys when it began since OpenSSH 9.8, which a sshd-session
/// tells; one before that reads them for each connection.
constexpr std::string_view steps = R"perl(use strict;
use warnings;
use POSIX ();
our (%value, %network, %mac);
my ($token) = @ARGV;
my ($serial, $port, $bus) = (0);
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

sub read_exactly {
  my ($from, $size) = @_;
  my $text = '';
  while (length $text < $size) {
    sysread($from, $text, $size - length $text, length $text) or die "the connection was closed\n";
  }
  return $text;
}

sub read_line {
  my ($from) = @_;
  my $line = '';
  $line .= read_exactly($from, 1) until $line =~ /\n$/;
  return $line;
}

# A call of a method without arguments, low byte first (D-Bus specification, "Message Protocol").
sub call {
  my ($to, $path, $interface, $member) = @_;
  my $fields = '';
  for ([1, 'o', $path], [2, 's', $interface], [3, 's', $member], [6, 's', $to]) {
    $fields .= "\0" x (-length($fields) % 8) . pack('C C a x V/a* x', $_->[0], 1, $_->[1], $_->[2]);
  }
  my $message = pack('a C C C V V V/a*', 'l', 1, 0, 1, 0, ++$serial, $fields);
  syswrite($bus, $message . "\0" x (-length($message) % 8)) or die "D-Bus: $!\n";
}

sub await_return {
  for (;;) {
    my ($type, $size, $fields) = unpack('x C x2 V x4 V', read_exactly($bus, 16));
    my $rest = read_exactly($bus, $fields + -$fields % 8 + $size);
    return if $type == 2;
    die 'D-Bus: ' . unpack('V/a', substr($rest, -$size)) . "\n" if $type == 3;
  }
}

# As root, which is "0" (D-Bus specification, "Authentication Protocol").
sub connect_to_bus {
  socket($bus, 1, 1, 0) or die "socket: $!\n";
  connect($bus, pack('S Z108', 1, '/run/dbus/system_bus_socket')) or die "D-Bus: $!\n";
  syswrite($bus, "\0AUTH EXTERNAL 30\r\n");
  read_line($bus) =~ /^OK / or die "D-Bus knows no root\n";
  syswrite($bus, "BEGIN\r\n");
  call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello');
  await_return();
}

# It has its answer once the files are read.
sub reload_network {
  call('org.freedesktop.network1', '/org/freedesktop/network1', 'org.freedesktop.network1.Manager', 'Reload');
}

sub answer {
  my ($status, $words) = @_;
  syswrite($port, "done $token $status " . substr($words, 0, 120) . "\n");
}

# Where nobody is at the port's other end, reading ends.
sub await_order {
  for (;;) {
    my $line = eval { read_line($port) };
    if (!defined $line) {
      select(undef, undef, undef, 0.1);
    } elsif ($line eq "poweroff\n") {
      system('systemctl', '--no-block', 'poweroff');
    } elsif ($line =~ /^run (\d+) (\S+)$/) {
      $token = $2;
      return read_exactly($port, $1);
    }
  }
}

# clock_settime(2), which Perl has no name for.
sub set_clock {
  my ($seconds, $fraction) = split /\./, $value{clock};
  my $number = {x86_64 => 227, aarch64 => 112}->{(POSIX::uname())[4]} or die "what processor is it?\n";
  my $now = pack('q2', $seconds, substr($fraction . '0' x 9, 0, 9));
  syscall($number, 0, $now) == 0 or die "the clock was not set: $!\n";
}

sub mix_random_numbers {
  put('/dev/urandom', $value{entropy});
  open(my $random, '<', '/dev/urandom') or die "/dev/urandom: $!\n";
  ioctl($random, 0x5207, 0) or die "no new random numbers: $!\n";
  sysread($random, my $bytes, 16) == 16 or die "/dev/urandom: $!\n";
  return $bytes;
}

# QEMU takes the address that the driver tells the card, until the card is reset; then it has its own, which is the
# same. SIOCSIFHWADDR with a struct ifreq (netdevice(7)); ARPHRD_ETHER is 1.
sub change_macs {
  socket(my $any, 2, 2, 0) or die "socket: $!\n";
  for my $card (names_in('/sys/class/net')) {
    chomp(my $old = get("/sys/class/net/$card/address"));
    my $new = delete $mac{$old} or next;
    my $request = pack('a16 S H12 x16', $card, 1, $new =~ tr/://dr);
    ioctl($any, 0x8924, $request) or die "the MAC address of $card: $!\n";
  }
  die "there is no card with the address $_\n" for keys %mac;
}

sub become_another {
  set_clock();
  change_macs();
  my $bytes = mix_random_numbers();
  vec($bytes, 6, 8) = vec($bytes, 6, 8) & 0x0f | 0x40;
  vec($bytes, 8, 8) = vec($bytes, 8, 8) & 0x3f | 0x80;
  my $machine = unpack('H*', $bytes) . "\n";
  put('/etc/machine-id', $machine);
  put('/var/lib/dbus/machine-id', $machine)
    if -f '/var/lib/dbus/machine-id' && !-l '/var/lib/dbus/machine-id';

  put('/etc/ssh/ssh_host_ed25519_key', $value{'host-key'}, 0600);
  put('/etc/ssh/ssh_host_ed25519_key.pub', $value{'host-key.pub'}, 0644);
  if (grep { -e "$_/openssh/sshd-session" } '/usr/lib', '/usr/libexec') {
    my ($sshd) = get('/run/sshd.pid') =~ /^(\d+)$/m;
    ($sshd && kill('HUP', $sshd)) or system('systemctl', '--no-block', 'try-restart', 'ssh.service');
  }
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
  reload_network();

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
  await_return();
}

# Whoever knocks before there is an address may wait for seconds for an answer.
sub await_address {
  for my $look (1 .. 100) {
    # It may have read its files before it knew of the card's new address.
    if ($look % 30 == 0) {
      reload_network();
      await_return();
    }
    return if grep { $_ ne '127.0.0.1' } get('/proc/net/fib_trie') =~ /\|-- (\S+)\s+\/32 host LOCAL/g;
    select(undef, undef, undef, 0.03);
  }
}

open($port, '+<&=', 3) or die "there is no port: $!\n";
my $later = '/run/noxsup/later';
my %priority = map { $_ => getpriority(0, $_) } get($later) =~ /^([1-9]\d*)$/mg;
setpriority(0, $_, 19) for keys %priority;
unlink $0, $later;
connect_to_bus();
# What has run once is in memory.
reload_network();
await_return();
my ($free) = get('/proc/meminfo') =~ /^MemFree:\s+(\d+)/m;
answer(0, $free);
my $values = await_order();
my $failure = eval("$values; 1") && eval { become_another(); await_address(); 1 } ? '' : $@ || 'unknown';
$failure =~ tr/\n/ /;
answer(length $failure ? 1 : 0, $failure);
exit 1 if length $failure;
# The first login does not wait for what nobody looks at so soon: the seed, and a journal below the new machine-id. The
# next order does not wait at all.
vec(my $readable = '', fileno($port), 1) = 1;
select($readable, undef, undef, 10);
setpriority(0, $_, $priority{$_}) for keys %priority;
put('/sys/bus/pci/drivers/virtio-pci/bind', get('/run/noxsup/seed-device'));
exec 'systemctl', '--no-block', 'restart', 'systemd-journald.service';
)perl";

/// The unit that has begun this has the port as its descriptor 3.
constexpr std::string_view leave_it_waiting = R"sh(end of the program
sync
exec perl /run/noxsup/identity "$token" </dev/null
)sh";

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

std::string forget_boot_orders() {
    return std::string(forget_boot);
}

std::string settle_orders(std::string_view user) {
    auto orders = "set -eu\ntoken=$1\nuser=" + shell_quoted(user) + "\n";
    return orders.append(settle).append(steps).append(leave_it_waiting);
}

std::string identity_orders(const Seed& seed, const IdentityFacts& facts) {
    std::string values;
    values += assignment("value", "clock", facts.clock);
    values += assignment("value", "entropy", facts.entropy);
    values += assignment("value", "password", "");
    for (const auto& [old, own] : facts.macs) values += assignment("mac", old, own);
    for (const auto& file : seed.login) {
        const bool is_network = file.name.ends_with(".network");
        // Texts of several lines are files as they are.
        const bool is_word = file.name == "name" || file.name == "user" ||
                             file.name == "password" || file.name == "instance-id";
        values += assignment(is_network ? "network" : "value", file.name,
                             is_word ? without_newline(file.content) : file.content);
    }
    return values;
}

}  // namespace noxsup::imaging
