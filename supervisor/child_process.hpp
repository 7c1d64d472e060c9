#pragma once

#include "environment.hpp"

#include <boost/system/result.hpp>

#include <sys/types.h>

#include <string>
#include <vector>

namespace supervisor {

/// Why no child could be started, and the exit code that a shell gives it (POSIX, Shell Command Language 2.8.2):
/// 127 when the command is not found, 126 when it is found and can't be executed.
struct LaunchFault {
    int exit_code = 126;
    std::string why;
    bool may_pass = false;
};

/// Starts `command`, found by the PATH of `environment`, in a process group of its own: the terminal's foreground one
/// if standard input is a terminal, with an empty signal mask, default dispositions, our standard input and outputs,
/// and no other descriptor. Returns its pid, which is also its group's id, once exec has succeeded. It never waits for
/// the child: Reaper does.
boost::system::result<pid_t, LaunchFault> launch(const std::vector<std::string>& command,
                                                 const Environment& environment);

}  // namespace supervisor
