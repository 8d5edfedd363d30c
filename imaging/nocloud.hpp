// The cloud-init NoCloud seed: user-data, meta-data and network-config of one VM, and the disk that
// holds them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// A fixed address instead of DHCP.
struct StaticAddress {
    std::string cidr;  ///< "192.168.1.20/24" or "fd00::20/64"
    std::optional<std::string> gateway;
    std::vector<std::string> dns;
};

/// One network interface of the VM, found by its MAC address.
struct SeedNetwork {
    std::string mac;                       ///< "52:54:00:12:34:56"
    std::optional<StaticAddress> address;  ///< DHCP without one, the MAC as its client identifier
    std::vector<std::string> search{};     ///< domains in which short names are looked for
};

/// A document of the user's, in any form that cloud-init knows.
struct UserDocument {
    std::string name;     ///< for errors: the file name or URL it came from
    std::string content;  ///< as read, perhaps compressed by gzip
};

/// What the first boot of a VM is told.
struct SeedSpec {
    std::string name;  ///< host name
    std::string
        instance_id;  ///< new for each VM and each clone: cloud-init runs everything once for it
    std::string user = "nox";
    std::string shell = "/bin/bash";           ///< the user's
    bool doas = false;                         ///< the guest has doas in place of sudo (Alpine)
    std::vector<std::string> authorized_keys;  ///< lines of an authorized_keys file
    std::string host_key_private;              ///< ed25519 in OpenSSH's format, made by the caller
    std::string host_key_public;               ///< "ssh-ed25519 AAAA... comment"
    std::optional<std::string>
        password_hash;                    ///< crypt(5), for the console; none locks the password
    std::vector<SeedNetwork> networks;    ///< at least one
    std::vector<UserDocument> documents;  ///< before ours, in this order
    bool stock = false;                   ///< no trimming, and no login ahead of cloud-init
};

/// What netplan gives the first card's routes of DHCP.
inline constexpr std::size_t route_metric = 100;

/// A value that the first login needs, ahead of cloud-init.
struct LoginFile {
    std::string name;     ///< "user"
    std::string content;  ///< text, ending in a newline
    bool operator==(const LoginFile&) const = default;
};

/// The files of a seed: three of cloud-init's NoCloud data source, and the values of ours.
struct Seed {
    std::string user_data;
    std::string meta_data;
    std::string network_config;
    std::vector<LoginFile> login;
};

/// A login name that every distribution takes: `[a-z_][a-z0-9_-]{0,31}` and not root.
/// Errors: invalid_argument.
Result<> check_user_name(const std::string& user);

/// Reads and checks the user's documents without a VM, for a refusal before anything is created.
/// Errors: invalid_cloud_init naming the document.
Result<> check_user_documents(const std::vector<UserDocument>& documents);

/// Builds the texts. Without documents of the user's, user-data is one `#cloud-config`; with them a
/// MIME multipart, theirs first, ours last under a merge type that joins lists and keeps their
/// values. The login ahead of cloud-init is for VMs without documents: with them the whole boot is
/// theirs. Errors: invalid_argument naming the field; invalid_cloud_init naming the document.
Result<Seed> make_seed(const SeedSpec& spec);

/// In the image: the program of the first login.
inline constexpr auto login_program_file = "noxsup-login";

/// The seed as an ISO 9660 image with volume id `cidata`. The same seed gives the same bytes.
/// Errors: invalid_argument.
Result<std::string> make_seed_iso(const Seed& seed);

}  // namespace noxsup::imaging
