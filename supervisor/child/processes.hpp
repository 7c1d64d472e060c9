#pragma once

#include "base/fault.hpp"

#include <sys/types.h>

#include <functional>
#include <optional>
#include <vector>

namespace supervisor {

/// Makes this process a subreaper, so that orphaned descendants become its children, as they do under PID 1 (prctl(2),
/// PR_SET_CHILD_SUBREAPER). The fault of a sandbox that does not know the call is only logged.
std::optional<Fault> become_subreaper();

/// Reaps every child that has ended and tells `ended` its pid and exit code, or 128 and the signal it died of.
/// The one place of the program that calls waitpid(2): a second one would steal statuses. A SIGCHLD stands for any
/// number of children, so this goes on until none is left that has ended. Returns whether any child is left at all.
bool reap(const std::function<void(pid_t, int)>& ended);

/// Our direct children: the main child, and the orphans that we adopted. They are read from /proc; empty if it is
/// missing.
std::vector<pid_t> children();

}  // namespace supervisor
