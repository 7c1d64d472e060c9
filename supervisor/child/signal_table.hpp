#pragma once

#include <csignal>

namespace supervisor {

/// What becomes of a signal that is sent to us.
enum class SignalRole {
    stop,     ///< we are to end: forwarded, with a timeout
    forward,  ///< passed on to the child
    ignore,   ///< noted and dropped
    reap,     ///< a child has changed: SIGCHLD
};

/// TERM and INT stop; HUP, QUIT, USR1, USR2, WINCH, CONT, ALRM and the real-time signals are forwarded. TSTP, TTIN and
/// TTOU are forwarded only to `no_token`'s child: Cloud Run sends TSTP around maintenance, and would stop Prefect.
SignalRole role_of(int signal, bool no_token);

/// Every signal but those that the program raises itself: by a fault, which must not be blocked, or by a write, whose
/// error says it already (PIPE, XFSZ; they are to be ignored).
sigset_t handled_signals();

/// `TERM` for SIGTERM, `real-time` for a real-time one.
const char* name_of(int signal);

}  // namespace supervisor
