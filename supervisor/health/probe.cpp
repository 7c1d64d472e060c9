#include "health/probe.hpp"

#include "health/readiness.hpp"
#include "http/http_client.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

namespace supervisor {
namespace {

/// The reason that the server gave: the first line of the body, up to the first character that is not printable ASCII.
std::string reason(const Result<HttpAnswer>& answer) {
    constexpr std::size_t longest = 200;
    std::string line;
    for (const char c : answer ? answer->body : std::string{}) {
        if (c < ' ' || c > '~' || line.size() == longest) {
            break;
        }
        line += c;
    }
    return line.empty() ? line : ": " + line;
}

/// Watches for the signals that would end a program without handlers. Reading them from a descriptor also works where this
/// is PID 1, for which the kernel leaves default actions out (pid_namespaces(7)).
boost::asio::posix::stream_descriptor end_signals(boost::asio::io_context& loop) {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
        ::sigaddset(&signals, number);
    }
    boost::asio::posix::stream_descriptor descriptor{loop};
    const int number = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    boost::system::error_code error;
    if (number < 0 || descriptor.assign(number, error)) {
        ::close(number);
        ::sigprocmask(SIG_UNBLOCK, &signals, nullptr);
    }
    return descriptor;
}

}  // namespace

int probe(const std::string& url) {
    boost::asio::io_context loop{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
    HttpClient client{loop};
    int code = 1;
    auto signals = end_signals(loop);
    signalfd_siginfo received{};
    if (signals.is_open()) {
        signals.async_read_some(boost::asio::buffer(&received, sizeof received),
                                [&](boost::system::error_code error, std::size_t) {
                                    if (!error) {
                                        code = 128 + static_cast<int>(received.ssi_signo);
                                        loop.stop();
                                    }
                                });
    }
    client.get(readiness_check(url), [&](const Result<HttpAnswer>& answer) {
        loop.stop();
        const auto fault = judge_readiness(answer, /*is_prefect=*/false);
        if (!fault) {
            code = 0;
            return;
        }
        std::fprintf(stderr, "prefect-supervisor: probe of %s: %s%s\n", url.c_str(), fault->why.c_str(),
                     reason(answer).c_str());
    });
    loop.run();
    return code;
}

}  // namespace supervisor
