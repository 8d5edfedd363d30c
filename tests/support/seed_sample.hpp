// Two seed specifications that the seed's tests share: the plain one and one with every field set.
#pragma once

#include "imaging/nocloud.hpp"

namespace noxsup::test {

inline imaging::SeedSpec sample_seed() {
    imaging::SeedSpec spec;
    spec.name = "testvm";
    spec.instance_id = "5f0c6c1e-0000-4000-8000-000000000001";
    spec.authorized_keys = {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBase64 me@example"};
    spec.host_key_private =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n";
    spec.host_key_public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHost testvm";
    spec.networks = {{"52:54:00:12:34:56", {}}};
    return spec;
}

inline imaging::SeedSpec full_sample_seed() {
    auto spec = sample_seed();
    spec.user = "admin";
    spec.authorized_keys.emplace_back("ssh-rsa AAAA \"quoted\" {{x}} # caf\xc3\xa9 \xe2\x80\xa8");
    spec.password_hash = "$y$j9T$salt$hash";
    spec.networks = {
        {"52:54:00:12:34:56",
         imaging::StaticAddress{"192.168.7.20/24", "192.168.7.1", {"192.168.7.1", "9.9.9.9"}}},
        {"52:54:00:12:34:57", imaging::StaticAddress{"fd00::20/64", "fd00::1", {}}}};
    spec.documents = {{"users.yaml", "#cloud-config\nusers: [default, {name: bob}]\napt: {}\n"},
                      {"hello.sh", "#!/bin/sh\necho hello\n"}};
    return spec;
}

}  // namespace noxsup::test
