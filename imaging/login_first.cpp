#include "imaging/login_first.hpp"

#include <string_view>

#include "supervisor/base/text.hpp"

namespace noxsup::imaging {
namespace {

/// Behind the values. Whatever fails, cloud-init has its usual place in the boot: only the last
/// line changes it.
///
/// What it writes is what cloud-init would (users-groups, ssh, set_hostname), and the marks of the
/// first two modules tell it that they have run for this instance. A network's file is for the
/// first boot alone; then there is what cloud-init has rendered.
constexpr std::string_view login_steps = R"script(umask 022
command -v netplan >/dev/null
[ -x /usr/bin/cloud-init ]
read -r instance <"$files/instance-id"
read -r user <"$files/user"
state=/var/lib/cloud/instances/$instance

# A clone's disk has the files of its source: what is in them stays.
add_lines() {
  [ -e "$2" ] || install -m "$3" /dev/null "$2"
  while read -r line; do
    grep -qxF -e "$line" "$2" || printf '%s\n' "$line" >>"$2"
  done <"$1"
}

write_account() {
  groups=
  while IFS=: read -r group _; do
    case $group in adm | sudo) groups=${groups:+$groups,}$group ;; esac
  done </etc/group
  read -r shell <"$files/shell"
  getent passwd "$user" >/dev/null ||
    useradd --create-home --shell "$shell" --comment "$user" --groups "$groups" "$user"
  if [ -s "$files/password" ]; then
    { printf '%s:' "$user"; cat "$files/password"; } | chpasswd --encrypted
  fi
  while IFS=: read -r account _ _ _ _ home _; do
    [ "$account" != "$user" ] || break
  done </etc/passwd
  [ -d "$home/.ssh" ] || mkdir -m 0700 "$home/.ssh"
  add_lines "$files/authorized-keys" "$home/.ssh/authorized_keys" 0600
  chown -R "$user:" "$home/.ssh"
  echo "$user ALL=(ALL) NOPASSWD:ALL" >/run/noxsup/rule
  add_lines /run/noxsup/rule /etc/sudoers.d/90-cloud-init-users 0440
}

write_host_key() {
  rm -f /etc/ssh/ssh_host_*key*
  install -m 0600 "$files/host-key" /etc/ssh/ssh_host_ed25519_key
  install -m 0644 "$files/host-key.pub" /etc/ssh/ssh_host_ed25519_key.pub
  mkdir -p /etc/ssh/sshd_config.d
  echo 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/50-cloud-init.conf
  chmod 0600 /etc/ssh/sshd_config.d/50-cloud-init.conf
}

write_name() {
  read -r name <"$files/name"
  echo "$name" >/etc/hostname
  echo "$name" >/proc/sys/kernel/hostname
  entry=$(printf '127.0.1.1\t%s\t%s' "$name" "$name")
  if ! grep -qxF "$entry" /etc/hosts; then
    sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
    echo "$entry" >>/etc/hosts
  fi
}

mkdir -p "$state/sem"
if [ ! -e "$state/boot-finished" ]; then
  write_account
  write_host_key
  write_name
  mkdir -p /run/systemd/network
  install -m 0644 "$files"/*.network /run/systemd/network/
  for module in ssh users_groups; do : >"$state/sem/config_$module"; done
  cp "$files/network-config" "$state/noxsup-network-config"
elif ! cmp -s "$files/network-config" "$state/noxsup-network-config"; then
  # Another network than at the last boot: cloud-init sets it up before anything uses it.
  cp "$files/network-config" "$state/noxsup-network-config"
  exit 0
fi
systemctl --no-block start systemd-networkd.service
: >/run/noxsup/login-first
)script";

/// Only root reads the values, and only as long as this runs.
constexpr std::string_view login_begin = R"script(#!/bin/sh
set -eu
umask 077
files=/run/noxsup/login
trap 'rm -rf "$files"' EXIT
rm -rf "$files"
mkdir -p "$files"
)script";

std::string line(std::string_view text) {
    return std::string(text) + "\n";
}

/// The same as netplan makes of the seed's network-config (systemd.network(5)).
std::string network_text(const SeedNetwork& network, std::size_t index) {
    std::string text = "[Match]\nMACAddress=" + network.mac + "\n";
    if (index > 0) text += "\n[Link]\nRequiredForOnline=no\n";
    text += "\n[Network]\nLinkLocalAddressing=ipv6\n";
    for (const auto& domain : network.search) text += "Domains=" + domain + "\n";
    if (!network.address) {
        text += "DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseMTU=true\n";
        text += "RouteMetric=" + std::to_string(route_metric * (index + 1)) + "\n";
        return text;
    }
    text += "Address=" + network.address->cidr + "\n";
    if (network.address->gateway) text += "Gateway=" + *network.address->gateway + "\n";
    for (const auto& server : network.address->dns) text += "DNS=" + server + "\n";
    return text;
}

}  // namespace

LoginFile network_file(const SeedNetwork& network, std::size_t index) {
    return {"05-noxsup-nic" + std::to_string(index) + ".network", network_text(network, index)};
}

std::vector<LoginFile> login_files(const SeedSpec& spec) {
    std::string keys;
    for (const auto& key : spec.authorized_keys) keys += line(key);
    std::vector<LoginFile> files{
        {"instance-id", line(spec.instance_id)},
        {"name", line(spec.name)},
        {"user", line(spec.user)},
        {"shell", line(spec.shell)},
        {"authorized-keys", keys},
        {"host-key", spec.host_key_private},
        {"host-key.pub", line(spec.host_key_public)},
    };
    if (spec.password_hash) files.push_back({"password", line(*spec.password_hash)});
    for (std::size_t i = 0; i < spec.networks.size(); ++i)
        files.push_back(network_file(spec.networks[i], i));
    return files;
}

std::string login_program(const std::vector<LoginFile>& files) {
    std::string program(login_begin);
    // printf is the shell's own: no process for each.
    for (const auto& file : files) {
        program += "printf %s " + shell_quoted(file.content) + " >\"$files\"/" +
                   shell_quoted(file.name) + "\n";
    }
    return program.append(login_steps);
}

}  // namespace noxsup::imaging
