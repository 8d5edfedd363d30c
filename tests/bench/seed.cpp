// What a seed costs in process: the documents and their ISO image, each timed many times.
//
// usage: noxsup-bench-seed COUNT ISO_FILE
// Prints {"documents_us": median, "iso_us": median, "bytes": size} and leaves the image in
// ISO_FILE.
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "imaging/nocloud.hpp"
#include "supervisor/base/file.hpp"
#include "supervisor/base/json.hpp"

namespace {

using Clock = std::chrono::steady_clock;

noxsup::imaging::SeedSpec ordinary_seed() {
    noxsup::imaging::SeedSpec spec;
    spec.name = "testvm";
    spec.instance_id = "testvm-0f6c1d52";
    spec.authorized_keys = {
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx0o4UcA4T1mkT9nDnSeDLL0QJmGz8G3q2m0VqT0q1R "
        "user@host"};
    spec.host_key_private = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + std::string(400, 'A') +
                            "\n-----END OPENSSH PRIVATE KEY-----\n";
    spec.host_key_public =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx0o4UcA4T1mkT9nDnSeDLL0QJmGz8G3q2m0VqT0q1R testvm";
    noxsup::imaging::SeedNetwork network;
    network.mac = "52:54:00:12:34:56";
    spec.networks = {network};
    return spec;
}

double microseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values.at(values.size() / 2);
}

noxsup::Result<noxsup::Json> measure(int count, const char* file) {
    const auto spec = ordinary_seed();
    std::vector<double> documents;
    std::vector<double> images;
    std::string image;
    for (int run = 0; run < count; ++run) {
        auto begin = Clock::now();
        NOXSUP_TRY_VALUE(const auto seed, noxsup::imaging::make_seed(spec));
        documents.push_back(microseconds_since(begin));
        begin = Clock::now();
        NOXSUP_TRY_VALUE(image, noxsup::imaging::make_seed_iso(seed));
        images.push_back(microseconds_since(begin));
    }
    NOXSUP_TRY(noxsup::write_file_atomic(file, image, 0644));
    return noxsup::Json{{"documents_us", median(std::move(documents))},
                        {"iso_us", median(std::move(images))},
                        {"bytes", image.size()}};
}

}  // namespace

int main(int argc, char** argv) {
    const int count = argc == 3 ? std::atoi(argv[1]) : 0;
    if (count < 1) {
        std::cerr << "usage: noxsup-bench-seed COUNT ISO_FILE\n";
        return 1;
    }
    const auto result = measure(count, argv[2]);
    if (!result) {
        std::cerr << "noxsup-bench-seed: " << result.error().message << "\n";
        return noxsup::exit_code_of(result.error().code);
    }
    std::cout << noxsup::dump_json(*result) << "\n";
    return 0;
}
