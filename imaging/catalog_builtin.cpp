#include "imaging/catalog_entry.hpp"

namespace noxsup::imaging {
namespace {

using Arches = std::map<std::string, std::string>;

/// Debian's and Ubuntu's words are ours; everybody else says what uname does.
Arches debian_arches() {
    return {{"arm64", "arm64"}, {"amd64", "amd64"}};
}
Arches uname_arches() {
    return {{"arm64", "aarch64"}, {"amd64", "x86_64"}};
}

/// Where an administrator puts a vendor's key by hand; it comes first.
std::string own_keyring(const std::string& os) {
    return "/etc/noxsup/keyrings/" + os + ".gpg";
}

/// cloud.debian.org publishes SHA512SUMS without a signature.
CatalogEntry debian(const std::string& release, const std::string& codename) {
    CatalogEntry entry;
    entry.os = "debian";
    entry.release = release;
    entry.codename = codename;
    entry.label = "Debian";
    entry.arches = debian_arches();
    entry.base_url = "https://cloud.debian.org/images/cloud";
    entry.path = codename + "/latest/";
    entry.image = "debian-" + release + "-genericcloud-{arch}.qcow2";
    entry.checksums = "SHA512SUMS";
    return entry;
}

CatalogEntry ubuntu(const std::string& release, const std::string& codename) {
    CatalogEntry entry;
    entry.os = "ubuntu";
    entry.release = release;
    entry.codename = codename;
    entry.label = "Ubuntu";
    entry.arches = debian_arches();
    entry.base_url = "https://cloud-images.ubuntu.com/releases";
    entry.path = release + "/release/";
    entry.image = "ubuntu-" + release + "-server-cloudimg-{arch}.img";
    entry.checksums = "SHA256SUMS";
    entry.signature = "{checksums}.gpg";
    entry.keyrings = {own_keyring("ubuntu"), "/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"};
    return entry;
}

/// Every point release and revision stays in the directory of its branch. The images with
/// cloud-init boot by UEFI; they have no bash, and doas in place of sudo.
CatalogEntry alpine(const std::string& release) {
    CatalogEntry entry;
    entry.os = "alpine";
    entry.release = release;
    entry.label = "Alpine Linux";
    entry.arches = uname_arches();
    entry.base_url = "https://dl-cdn.alpinelinux.org/alpine";
    entry.path = "v" + release + "/releases/cloud/";
    entry.image = "nocloud_alpine-" + release + ".*-{arch}-uefi-cloudinit-r*.qcow2";
    entry.checksums = "{image}.sha512";
    entry.shell = "/bin/sh";
    entry.doas = true;
    return entry;
}

/// The master server: download.fedoraproject.org sends on to mirrors, some of them by plain http.
CatalogEntry fedora(const std::string& release) {
    const auto key = "RPM-GPG-KEY-fedora-" + release + "-primary";
    CatalogEntry entry;
    entry.os = "fedora";
    entry.release = release;
    entry.label = "Fedora";
    entry.arches = uname_arches();
    entry.base_url = "https://dl.fedoraproject.org/pub/fedora/linux";
    entry.path = "releases/" + release + "/Cloud/{arch}/images/";
    entry.image = "Fedora-Cloud-Base-Generic-" + release + "-*.{arch}.qcow2";
    entry.checksums = "Fedora-Cloud-" + release + "-*-{arch}-CHECKSUM";
    entry.signature = "inline";
    entry.keyrings = {own_keyring("fedora"), "/usr/share/distribution-gpg-keys/fedora/" + key,
                      "/etc/pki/rpm-gpg/" + key};
    return entry;
}

/// One list for all images of a directory, with a name that always means the newest.
CatalogEntry alma(const std::string& release) {
    const auto key = "RPM-GPG-KEY-AlmaLinux-" + release;
    CatalogEntry entry;
    entry.os = "alma";
    entry.release = release;
    entry.label = "AlmaLinux";
    entry.arches = uname_arches();
    entry.base_url = "https://repo.almalinux.org/almalinux";
    entry.path = release + "/cloud/{arch}/images/";
    entry.image = "AlmaLinux-" + release + "-GenericCloud-latest.{arch}.qcow2";
    entry.checksums = "CHECKSUM";
    entry.signature = "{checksums}.asc";
    entry.keyrings = {own_keyring("alma"), "/usr/share/distribution-gpg-keys/alma/" + key,
                      "/etc/pki/rpm-gpg/" + key};
    return entry;
}

/// The plain name is a link to the newest build, and its digest's file may name that build.
CatalogEntry opensuse(const std::string& release, const std::string& prefix) {
    CatalogEntry entry;
    entry.os = "opensuse";
    entry.release = release;
    entry.label = "openSUSE Leap";
    entry.arches = uname_arches();
    entry.base_url = "https://download.opensuse.org/distribution/leap";
    entry.path = release + "/appliances/";
    entry.image = prefix + release + "-Minimal-VM.{arch}-Cloud.qcow2";
    entry.checksums = "{image}.sha256";
    entry.digest_name = prefix + release + "-Minimal-VM.{arch}-*Cloud*.qcow2";
    entry.signature = "{checksums}.asc";
    entry.keyrings = {own_keyring("opensuse")};
    return entry;
}

}  // namespace

std::vector<CatalogEntry> builtin_catalog() {
    return {
        debian("13", "trixie"),
        debian("12", "bookworm"),
        ubuntu("24.04", "noble"),
        ubuntu("22.04", "jammy"),
        alpine("3.24"),
        alpine("3.23"),
        alpine("3.22"),
        fedora("44"),
        fedora("43"),
        alma("10"),
        alma("9"),
        opensuse("16.0", "Leap-"),
        opensuse("15.6", "openSUSE-Leap-"),
    };
}

}  // namespace noxsup::imaging
