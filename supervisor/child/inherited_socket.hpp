#pragma once

#include <unistd.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace supervisor {

// How a child inherits a listening socket: systemd's convention (sd_listen_fds(3)).

/// The descriptor that it has in the child (SD_LISTEN_FDS_START).
constexpr int inherited_descriptor = STDERR_FILENO + 1;

/// The longest number of a process (proc(5), pid_max: 2^22 at most, kept as an int).
constexpr std::size_t longest_pid = 10;

/// Sets LISTEN_FDS and LISTEN_PID in these NAME=VALUE lines and removes what was there. Returns the place for the
/// child's number, of longest_pid bytes, which only the child knows; it is valid as long as `assignments` is.
char* add_listen_variables(std::vector<std::string>& assignments);

/// Puts the socket where the child expects it, and writes our own number to `own_pid`. Called between fork and exec, so it
/// neither allocates nor throws. False with errno if it can't be done.
bool inherit(int socket, char* own_pid);

/// Keeps the number of the inherited descriptor in use, so that no pipe of the launch has it.
class ReservedDescriptor {
public:
    explicit ReservedDescriptor(std::optional<int> socket);
    ReservedDescriptor(const ReservedDescriptor&) = delete;
    ReservedDescriptor& operator=(const ReservedDescriptor&) = delete;
    ~ReservedDescriptor();

private:
    int descriptor_;
};

}  // namespace supervisor
