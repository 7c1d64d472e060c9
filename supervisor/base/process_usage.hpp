#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace supervisor {

/// What this process, without its children, takes of the machine. What the system does not tell has no value.
struct ProcessUsage {
    std::chrono::microseconds cpu_time{};            ///< of user and system
    std::optional<std::uint64_t> virtual_memory{};   ///< in bytes
    std::optional<std::uint64_t> resident_memory{};  ///< in bytes
    std::optional<std::uint64_t> open_descriptors{};
    std::optional<std::uint64_t> most_descriptors{};
};

/// The number of file descriptors that this process may have (getrlimit(2), RLIMIT_NOFILE); no value if the system does not
/// tell.
std::optional<std::uint64_t> descriptor_limit();

/// Reads it now: three system calls, and two files of /proc.
ProcessUsage read_process_usage();

}  // namespace supervisor
