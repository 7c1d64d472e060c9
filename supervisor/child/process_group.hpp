#pragma once

#include <sys/types.h>

#include <optional>

namespace supervisor {

/// The process group of a child, which is the one way to signal a group. kill(2) takes 0 for our own group and -1 for
/// every process that we may signal, so an object of this type is made only from a number above 1.
class ProcessGroup {
public:
    /// The group that the process `leader` leads; nothing for a number that can't be a child's: 1 and below.
    static std::optional<ProcessGroup> led_by(pid_t leader);

    /// Sends the signal to all of its processes. Returns 0 or errno: ESRCH when none is left, EPERM when none may be
    /// signalled.
    [[nodiscard]] int signal(int number) const;

    /// Whether a process of the group is left. A zombie counts until its parent has reaped it.
    [[nodiscard]] bool exists() const;

    [[nodiscard]] bool contains(pid_t process) const;

    [[nodiscard]] pid_t id() const { return id_; }

    friend bool operator==(const ProcessGroup& one, const ProcessGroup& other) { return one.id_ == other.id_; }

private:
    explicit ProcessGroup(pid_t id) : id_(id) {}

    pid_t id_;
};

}  // namespace supervisor
