#include "base/environment.hpp"
#include "base/log.hpp"
#include "child/core_files.hpp"
#include "child/process_calls.hpp"
#include "child/signal_table.hpp"
#include "config/settings.hpp"
#include "credentials.hpp"
#include "health/probe.hpp"
#include "http/http_client.hpp"
#include "supervisor.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace {

/// A descriptor that is opened gets the lowest free number. If standard output were closed, its number would soon belong to
/// the loop or to a connection, and the log would be written there. Where /dev/null is missing nothing can be done.
void take_closed_standard_descriptors() {
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
        if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
            static_cast<void>(::open("/dev/null", O_RDWR));
        }
    }
}

/// Each thread that looks a name up would get an arena of its own (mallopt(3)), and what such an arena has taken stays with the
/// process. The loop is one thread, so nothing waits for the lock of a single arena.
void keep_one_arena() { static_cast<void>(::mallopt(M_ARENA_MAX, 1)); }

/// From here on a signal waits until the loop reads it, so that none is lost or kills us while we set up.
bool block_signals() {
    const auto signals = supervisor::handled_signals();
    if (::sigprocmask(SIG_SETMASK, &signals, nullptr) != 0) {
        std::fprintf(stderr, "prefect-supervisor: can't block signals by sigprocmask: %s\n", std::strerror(errno));
        return false;
    }
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
    // Our parent may have ignored SIGCHLD, so that the kernel reaps children and their exit codes are lost.
    std::signal(SIGCHLD, SIG_DFL);
    return true;
}

int supervise(const std::vector<std::string>& arguments) {
    if (!block_signals()) {
        return 1;
    }
    auto variables = supervisor::read_environment();
    auto settings = supervisor::read_settings(arguments, variables);
    if (!settings) {
        const auto& [code, text] = settings.error();
        std::fputs(text.c_str(), code == 0 ? stdout : stderr);
        return code;
    }
    if (settings->probe_url) {
        return supervisor::probe(*settings->probe_url);
    }
    auto route = supervisor::prepare_credentials(*settings, variables);
    if (!route) {
        std::fprintf(stderr, "prefect-supervisor: %s\n", route.error().why.c_str());
        return 1;
    }
    supervisor::Log log{*settings->log_format, settings->log_level, STDOUT_FILENO};
    if (settings->use_token) {
        if (const auto fault = supervisor::forbid_core_files()) {
            log.warning("init: " + fault->why);
        }
    }
    boost::asio::io_context loop{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
    supervisor::HttpClient client{loop};
    const bool is_init = ::getpid() == 1;
    supervisor::SystemProcessCalls processes{settings->kill_child.value_or(!is_init)};
    supervisor::Supervisor supervisor{
        loop,
        std::move(*settings),
        std::move(variables),
        log,
        {.get = [&client](supervisor::HttpRequest request,
                          supervisor::HttpDone done) { client.get(std::move(request), std::move(done)); },
         .processes = processes,
         .clock = supervisor::read_clocks,
         .route = std::move(*route)}};
    return supervisor.run();
}

}  // namespace

int main(int argc, char** argv) {
    keep_one_arena();
    take_closed_standard_descriptors();
    try {
        return supervise({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "prefect-supervisor: %s\n", error.what());
        return 1;
    }
}
