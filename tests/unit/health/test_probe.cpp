#include "health/probe.hpp"

#include "child/signal_table.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch_test_macros.hpp>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <functional>
#include <string>
#include <thread>

using namespace supervisor;
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// A server on loopback that hands its one connection to `serve`, in a thread of its own, and keeps it until the end.
class Server {
public:
    explicit Server(const std::function<void(tcp::socket&)>& serve)
        : thread_([this, serve] {
              acceptor_.accept(socket_);
              serve(socket_);
          }) {}
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() { thread_.join(); }

    [[nodiscard]] std::string url() const {
        return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()) + "/readyz";
    }

private:
    asio::io_context loop_{};
    tcp::acceptor acceptor_{loop_, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    tcp::socket socket_{loop_};
    std::thread thread_;
};

std::function<void(tcp::socket&)> answers(const std::string& status) {
    return [status](tcp::socket& socket) {
        asio::streambuf request;
        asio::read_until(socket, request, "\r\n\r\n");
        asio::write(socket, asio::buffer("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n"));
    };
}

/// Blocks the signals as main() does, so that the threads of this process have them blocked, too.
struct BlockedSignals {
    BlockedSignals() {
        const auto signals = handled_signals();
        ::sigprocmask(SIG_BLOCK, &signals, &before);
    }
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;
    ~BlockedSignals() {
        // A signal that was not consumed must not end the tests.
        const auto signals = handled_signals();
        const timespec at_once{};
        while (::sigtimedwait(&signals, nullptr, &at_once) > 0) {
        }
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
    }
    sigset_t before{};
};

}  // namespace

TEST_CASE("A good answer is 0, any other is 1") {
    const BlockedSignals blocked;
    for (const std::string status : {"200 OK", "299 Fine"}) {
        const Server server{answers(status)};
        CHECK(probe(server.url()) == 0);
    }
    for (const std::string status : {"301 Moved Permanently", "404 Not Found", "503 Service Unavailable"}) {
        const Server server{answers(status)};
        CHECK(probe(server.url()) == 1);
    }
}

TEST_CASE("A signal ends a probe that waits for its answer") {
    const BlockedSignals blocked;
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
        const Server silent{[signal](tcp::socket&) { ::kill(::getpid(), signal); }};
        CHECK(probe(silent.url()) == 128 + signal);
    }
}

TEST_CASE("A signal that came before the probe ends it") {
    const BlockedSignals blocked;
    ::kill(::getpid(), SIGTERM);
    asio::io_context loop;
    const tcp::acceptor silent{loop, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    CHECK(probe("http://127.0.0.1:" + std::to_string(silent.local_endpoint().port()) + '/') == 128 + SIGTERM);
}
