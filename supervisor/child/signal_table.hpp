#pragma once

#include <csignal>

namespace supervisor {

/// What the supervisor does with a signal that it receives.
enum class SignalRole {
    stop,     ///< the program is to end: the signal is forwarded, with a timeout
    forward,  ///< passed on to the child
    ignore,   ///< logged and dropped
    reap,     ///< a child has changed: SIGCHLD
};

/// TERM and INT stop; HUP, QUIT, USR1, USR2, WINCH, CONT, ALRM and the real-time signals are forwarded. TSTP, TTIN and
/// TTOU are forwarded only to `no_token`'s child: Cloud Run sends TSTP around maintenance, and would stop Prefect.
SignalRole role_of(int signal, bool no_token);

/// Every signal except those that the program raises itself: by a fault, which must not be blocked, or by a write,
/// which reports the failure by its error already (PIPE, XFSZ; the caller ignores these).
sigset_t handled_signals();

/// `TERM` for SIGTERM, `real-time` for a real-time one.
const char* name_of(int signal);

}  // namespace supervisor
