#include "imaging/guest_identity.hpp"

#include "imaging/login_first.hpp"
#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

constexpr std::string_view forget_boot =
    R"sh(timeout 600 systemctl is-system-running --wait >/dev/null || :
sync
echo 3 >/proc/sys/vm/drop_caches
)sh";

/// A card that is down sends nothing. networkd has read two files for each: one that leaves alone
/// what has the template's address (hold), and the one that most copies have, for the card of that
/// name (nic). Which of them fits it looks up again when the card comes up, and need not be told.
/// The seed's disk is let go of: a copy's is another one. systemd takes an empty machine-id for one
/// that is to be made at the next boot; who starts behind that has nobody's. What a copy would wait
/// for is begun here: a process that is there need not be started, and what has run once is in
/// memory. logind ends the last login's processes after ten seconds, and a copy is to have none of
/// that. A new clock, name, address and network wake each service of the guest; those that no login
/// needs (later) do not come before it.
constexpr std::string_view settle =
    R"sh(for tool in perl netplan networkctl ip; do command -v "$tool" >/dev/null; done
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
mkdir -p /run/systemd/network
write_networks
for card in /sys/bus/virtio/drivers/virtio_net/virtio*/net/*; do
  mac=$(cat "$card/address")
  sed -i "s/^MACAddress=$mac\$/Name=${card##*/}/" /run/systemd/network/*-noxsup-nic*.network
  printf '%s\n' '[Match]' "MACAddress=$mac" '[Link]' ActivationPolicy=manual '[Network]' LinkLocalAddressing=no \
    >"/run/systemd/network/04-noxsup-hold-${card##*/}.network"
done
chmod 0644 /run/systemd/network/*-noxsup-*.network
rm -f /etc/netplan/50-cloud-init.yaml /etc/ssh/ssh_host_*key* /var/lib/systemd/random-seed
: >/etc/machine-id
systemctl start systemd-networkd.service
for card in /sys/bus/virtio/drivers/virtio_net/virtio*/net/*; do
  link=/run/systemd/netif/links/$(cat "$card/ifindex")
  for wait in $(seq 60); do ! grep -qsx ADMIN_STATE=configured "$link" || break; sleep 0.5; done
done
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
my ($port, $any);
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

# SIOCGIFFLAGS, SIOCSIFFLAGS and SIOCSIFHWADDR with a struct ifreq (netdevice(7)).
sub ask_card {
  my ($request, $card, $format, @values) = @_;
  my $argument = pack("a16 $format x24", $card, @values);
  ioctl($any, $request, $argument) or die "the card $card: $!\n";
  return unpack("x16 $format", $argument);
}

# The name of each card by the address that it gets.
sub find_cards {
  my %card;
  for my $name (names_in('/sys/class/net')) {
    chomp(my $old = get("/sys/class/net/$name/address"));
    my $new = delete $mac{$old};
    $card{$new} = $name if $new;
  }
  die "there is no card with the address $_\n" for keys %mac;
  return %card;
}

# QEMU takes the address that the driver tells the card, until the card is reset; then it has its own, which is the
# same. ARPHRD_ETHER is 1.
sub change_macs {
  my %card = @_;
  ask_card(0x8924, $card{$_}, 'S H12', 1, tr/://dr) for keys %card;
}

sub reload_network {
  system('networkctl', 'reload') == 0 or die "networkd does not reload its files\n";
}

# Of a file that networkd has read already, if it is the same but for what it finds the card by.
sub has_read {
  my ($file, %card) = @_;
  my $text = $network{$file} =~ s/^MACAddress=(\S+)$/'Name=' . ($card{$1} || '')/mer;
  return get("/run/systemd/network/$file") eq $text;
}

# IFF_UP is 1.
sub begin_network {
  my %card = @_;
  if (grep { !has_read($_, %card) } keys %network) {
    put("/run/systemd/network/$_", $network{$_}) for keys %network;
    return reload_network();
  }
  for my $name (values %card) {
    my ($flags) = ask_card(0x8913, $name, 's');
    ask_card(0x8914, $name, 's', $flags | 1);
  }
}

sub become_another {
  my %card = find_cards();
  set_clock();
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
  put('/etc/netplan/50-cloud-init.yaml', "{\"network\": $value{'network-config'}}\n", 0600);
  change_macs(%card);
  begin_network(%card);

  my $hosts = join '', grep { !/^127\.0\.1\.1\s/ } map { "$_\n" } split /\n/, get('/etc/hosts');
  put('/etc/hosts', $hosts . "127.0.1.1\t$value{name}\t$value{name}\n");
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
}

# Whoever knocks before there is an address may wait for seconds for an answer.
sub await_address {
  for my $look (1 .. 100) {
    # systemd before 252 does not look at a card that comes up.
    reload_network() if $look % 30 == 0;
    return if grep { $_ ne '127.0.0.1' } get('/proc/net/fib_trie') =~ /\|-- (\S+)\s+\/32 host LOCAL/g;
    select(undef, undef, undef, 0.03);
  }
}

open($port, '+<&=', 3) or die "there is no port: $!\n";
socket($any, 2, 2, 0) or die "socket: $!\n";
my $later = '/run/noxsup/later';
my %priority = map { $_ => getpriority(0, $_) } get($later) =~ /^([1-9]\d*)$/mg;
setpriority(0, $_, 19) for keys %priority;
unlink $0, $later;
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

std::string settle_orders(std::string_view user, const std::vector<std::string>& macs) {
    auto orders = "set -eu\ntoken=$1\nuser=" + shell_quoted(user) + "\nwrite_networks() {\n";
    for (std::size_t i = 0; i < macs.size(); ++i) {
        const auto file = network_file({macs[i], {}}, i);
        orders += "printf %s " + shell_quoted(file.content) + " >/run/systemd/network/" +
                  file.name + "\n";
    }
    orders += "}\n";
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
