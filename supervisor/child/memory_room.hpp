#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace supervisor {

/// Reads what the kernel says about memory, below `root`, which is "/" but in a test.
class MemoryRoom {
public:
    explicit MemoryRoom(std::string root = "/") : root_(std::move(root)) {}

    /// Bytes that can still be allocated before the kernel kills for want of memory: the least of what the limits of our
    /// control group and of those above it leave (version 2 and version 1), and of what the machine has. The part of
    /// the page cache that is given back at once counts as free, as Kubernetes counts it (memory.current without
    /// inactive_file). Nothing if the kernel says none of it.
    [[nodiscard]] std::optional<std::uint64_t> left() const;

    /// Resident bytes of all processes of the group, pages that they share counted for each (proc(5), statm).
    [[nodiscard]] std::uint64_t used_by_group(pid_t group) const;

private:
    [[nodiscard]] std::optional<std::uint64_t> left_in_machine() const;
    [[nodiscard]] std::optional<std::uint64_t> left_in_group(const std::string& folder, bool version_2) const;
    [[nodiscard]] std::optional<std::uint64_t> left_in_hierarchy(const std::string& mount, std::string path,
                                                                 bool version_2) const;

    std::string root_;
};

/// Why a second process of the size of the group `group` has no room beside it: less than 1.3 times its memory is left.
/// Nothing if it has, or if the kernel does not say.
std::optional<std::string> no_room_beside(pid_t group, const MemoryRoom& memory);

}  // namespace supervisor
