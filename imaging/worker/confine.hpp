// Gives up this process's rights before it touches a byte from outside.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "supervisor/base/result.hpp"

namespace noxsup::imaging::worker {

/// What one subcommand may still do.
struct Confinement {
    bool network = false;           ///< TCP and name lookups, certificates readable
    std::filesystem::path program;  ///< the only foreign program it may run, or empty
    std::vector<int>
        read_again;  ///< descriptors whose files may be opened again by /proc/self/fd/N
    std::vector<int> write_again;        ///< the same for reading and writing
    std::uint64_t max_file_bytes = 0;    ///< RLIMIT_FSIZE
    std::uint64_t max_memory_bytes = 0;  ///< RLIMIT_AS; not under a sanitizer
    std::uint64_t max_cpu_seconds = 0;   ///< RLIMIT_CPU
};

/// Irrevocably: ends with the parent, resource limits, an unprivileged uid when root, no
/// capabilities, no_new_privs, Landlock (read-only system paths) where the kernel has it, and
/// without network a seccomp filter that refuses sockets. Kernels without one of the layers keep
/// the others. Errors: io_error when a layer that every supported kernel has cannot be put on.
Result<> confine(const Confinement& confinement);

/// Sets the memory limit for a program about to be run (between fork and exec).
void limit_child_memory(std::uint64_t bytes);

/// What confine() does for files, on its own: the layer is skipped where the kernel has no
/// Landlock.
Result<> restrict_files(const Confinement& confinement);
/// Refuses sockets, tracing, namespaces and io_uring by seccomp.
Result<> forbid_sockets();

}  // namespace noxsup::imaging::worker
