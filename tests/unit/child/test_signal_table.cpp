#include "child/signal_table.hpp"

#include <catch2/catch_test_macros.hpp>

#include <initializer_list>

using namespace supervisor;

TEST_CASE("TERM and INT stop and a change of a child reaps") {
    for (const bool no_token : {false, true}) {
        CHECK(role_of(SIGTERM, no_token) == SignalRole::stop);
        CHECK(role_of(SIGINT, no_token) == SignalRole::stop);
        CHECK(role_of(SIGCHLD, no_token) == SignalRole::reap);
    }
}

TEST_CASE("What a program may want to know is forwarded") {
    for (const int signal : {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGALRM}) {
        CHECK(role_of(signal, false) == SignalRole::forward);
    }
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
        CHECK(role_of(signal, false) == SignalRole::forward);
    }
}

TEST_CASE("The terminal's stops reach only a plain init's child") {
    for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) {
        CHECK(role_of(signal, false) == SignalRole::ignore);
        CHECK(role_of(signal, true) == SignalRole::forward);
    }
}

TEST_CASE("Signals that the program raises itself are not waited for") {
    const auto signals = handled_signals();
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, SIGXFSZ}) {
        CHECK(sigismember(&signals, signal) == 0);
    }
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGHUP, SIGUSR1, SIGTSTP, SIGRTMIN, SIGRTMAX}) {
        CHECK(sigismember(&signals, signal) == 1);
    }
}
