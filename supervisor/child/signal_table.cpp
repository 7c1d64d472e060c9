#include "child/signal_table.hpp"

#include <string.h>

#include <initializer_list>

namespace supervisor {

SignalRole role_of(int signal, bool no_token) {
    switch (signal) {
        case SIGTERM:
        case SIGINT: return SignalRole::stop;
        case SIGCHLD: return SignalRole::reap;
        case SIGHUP:
        case SIGQUIT:
        case SIGUSR1:
        case SIGUSR2:
        case SIGWINCH:
        case SIGCONT:
        case SIGALRM: return SignalRole::forward;
        case SIGTSTP:
        case SIGTTIN:
        case SIGTTOU: return no_token ? SignalRole::forward : SignalRole::ignore;
        default: return signal >= SIGRTMIN && signal <= SIGRTMAX ? SignalRole::forward : SignalRole::ignore;
    }
}

sigset_t handled_signals() {
    sigset_t signals;
    ::sigfillset(&signals);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, SIGXFSZ}) {
        ::sigdelset(&signals, own);
    }
    return signals;
}

const char* name_of(int signal) {
    const char* name = ::sigabbrev_np(signal);
    return name != nullptr ? name : "real-time";
}

}  // namespace supervisor
