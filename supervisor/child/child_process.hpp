#pragma once

#include "base/environment.hpp"

#include <boost/system/result.hpp>

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// The step at which a launch failed.
enum class LaunchStage {
    lookup,  ///< the search for the command in PATH
    pipe,    ///< the pipe through which the new process reports its failure
    fork,    ///< the new process itself
    setup,   ///< what the new process prepares before exec: its group and its directory
    exec,    ///< the command was found, and the kernel refused it
};

/// Why no child could be started.
struct LaunchFault {
    LaunchStage stage = LaunchStage::exec;
    int error = 0;  ///< errno of the step
    std::string why;

    /// What a shell gives for a command that it can't run (POSIX, Shell Command Language, 2.8.2): 127 when the command
    /// is not found, 126 when it is found and can't be executed. It is 1 when the launch failed before exec.
    [[nodiscard]] int exit_code() const;

    /// Whether the same launch may succeed later: the kernel was short of processes, memory or file descriptors
    /// (fork(2), pipe(2), execve(2): EAGAIN, ENOMEM, EMFILE, ENFILE).
    [[nodiscard]] bool may_pass() const;
};

struct LaunchOptions {
    /// Where the child starts; the command and PATH are looked up from there. Empty, or no longer there: where we are.
    std::string directory{};

    /// Whether the kernel sends the child SIGKILL when we end without ending it ourselves (prctl(2), PR_SET_PDEATHSIG).
    /// It is KILL because no process is left then that could enforce a stop timeout. It reaches the child alone, not
    /// its descendants, and a program that is set-user-ID or has capabilities loses it at exec. The parent in its sense
    /// is the thread that forks: launch() has to be called on one that lives as long as we do.
    bool die_with_parent = false;

    /// A socket that the child gets as descriptor 3, with LISTEN_FDS=1 and its own number in LISTEN_PID, which is
    /// systemd's convention (sd_listen_fds(3)).
    std::optional<int> listening_socket{};
};

/// Starts `command`, found by the PATH of `environment` as by execvp(3), in a process group of its own: the terminal's
/// foreground one if standard input is a terminal, with an empty signal mask, default dispositions, our standard input
/// and outputs, and no other descriptor but the socket of the options. A script without `#!` is run by /bin/sh. Returns the child's pid, which is
/// also its group's id, once exec has succeeded. After a fault no child is left but one that is already ending. It
/// never waits for a child: reap() does.
boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                 const Environment& environment, const LaunchOptions& options = {});

}  // namespace supervisor
