#include "child/signal_receiver.hpp"

#include "child/signal_table.hpp"

#include <boost/asio/io_context.hpp>
#include <catch2/catch_test_macros.hpp>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

using namespace supervisor;

namespace {

/// Blocks the handled signals for as long as it lives, as main() does.
class Blocked {
public:
    Blocked() {
        const auto signals = handled_signals();
        ::sigprocmask(SIG_SETMASK, &signals, &before_);
    }
    Blocked(const Blocked&) = delete;
    Blocked& operator=(const Blocked&) = delete;
    ~Blocked() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_{};
};

}  // namespace

TEST_CASE("Signals that were sent before and after the start are received, each once") {
    const Blocked blocked;
    ::kill(::getpid(), SIGTERM);
    boost::asio::io_context loop;
    SignalReceiver receiver{loop};
    std::vector<int> received;
    const auto fault = receiver.start(
        [&](int number) {
            received.push_back(number);
            if (received.size() == 1) {
                ::kill(::getpid(), SIGUSR1);
                ::kill(::getpid(), SIGHUP);
            } else if (received.size() == 3) {
                loop.stop();
            }
        },
        [](const std::string& why) { FAIL(why); });
    REQUIRE_FALSE(fault.has_value());
    loop.run();
    std::sort(received.begin() + 1, received.end());
    CHECK(received == std::vector<int>{SIGTERM, SIGHUP, SIGUSR1});
}
