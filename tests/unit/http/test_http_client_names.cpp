#include "http/http_client.hpp"

#include <arpa/inet.h>
#include <catch2/catch_test_macros.hpp>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// The host is a name, and the name server does not answer. The process moves into a network of its own, where it can be
// the name server, with an /etc/resolv.conf of its own, in which getaddrinfo() asks five times and waits 30 s for each answer (resolv.conf(5)).

using namespace supervisor;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

bool write_file(const char* path, const std::string& text) {
    std::ofstream file{path};
    file << text;
    return static_cast<bool>(file.flush());
}

bool bring_loopback_up() {
    const int any_socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    const bool up = ::ioctl(any_socket, SIOCSIFFLAGS, &request) == 0;
    ::close(any_socket);
    return up;
}

bool replace_resolver_configuration() {
    std::string path = "/tmp/prefect-supervisor-test-XXXXXX";
    ::close(::mkstemp(path.data()));
    const bool replaced = write_file(path.c_str(), "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n") &&
                          ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                          ::mount(path.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0;
    const int error = errno;
    ::unlink(path.c_str());
    errno = error;
    return replaced;
}

/// Once per process: namespaces end with it. Says why this machine does not allow it, or nothing.
std::optional<std::string> why_no_own_network() {
    static const auto why = []() -> std::optional<std::string> {
        const auto user = std::to_string(::geteuid());
        const bool is_root = user == "0";
        const auto failed = [](const char* what) { return std::string{what} + ": " + std::strerror(errno); };
        if (::unshare(CLONE_NEWNET | CLONE_NEWNS | (is_root ? 0 : CLONE_NEWUSER)) != 0) {
            return failed("unshare");
        }
        if (!is_root && !write_file("/proc/self/uid_map", "0 " + user + " 1")) {
            return failed("uid_map");
        }
        if (!bring_loopback_up()) {
            return failed("loopback");
        }
        if (!replace_resolver_configuration()) {
            return failed("/etc/resolv.conf");
        }
        return std::nullopt;
    }();
    return why;
}

#define NEEDS_OWN_NETWORK()                                           \
    if (const auto why = why_no_own_network()) {                      \
        SKIP("needs a network of its own, which failed at " << *why); \
    }

/// A name server that is silent until it is told to answer, then says SERVFAIL (RFC 1035 section 4.1.1) to every question,
/// so that getaddrinfo() comes back. Without being told it answers after a minute, before getaddrinfo() gives up: a test in
/// which something waits for the answer sees it and fails.
class SilentNameServer {
public:
    SilentNameServer() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(53);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        thread_ = std::thread{[this] { serve(); }};
    }
    SilentNameServer(const SilentNameServer&) = delete;
    SilentNameServer& operator=(const SilentNameServer&) = delete;
    ~SilentNameServer() {
        tell(1);
        // The resolver's thread has its answer now; whether it has come back is not ours to see.
        stops_ = true;
        tell(1);
        thread_.join();
        ::close(socket_);
        ::close(event_);
    }

    [[nodiscard]] bool was_asked() const { return asked_; }
    [[nodiscard]] bool has_answered() const { return answered_; }

private:
    struct Question {
        std::array<unsigned char, 512> bytes{};
        std::size_t size = 0;
        sockaddr_in from{};
    };

    void tell(std::uint64_t number) const { REQUIRE(::write(event_, &number, sizeof number) == sizeof number); }

    void serve() {
        std::vector<Question> questions;
        const auto limit = std::chrono::steady_clock::now() + 60s;
        while (!stops_) {
            std::array<pollfd, 2> ready{{{socket_, POLLIN, 0}, {event_, POLLIN, 0}}};
            ::poll(ready.data(), ready.size(), 1000);
            if ((ready[0].revents & POLLIN) != 0) {
                Question question;
                socklen_t length = sizeof question.from;
                const auto size = ::recvfrom(socket_, question.bytes.data(), question.bytes.size(), 0,
                                             reinterpret_cast<sockaddr*>(&question.from), &length);
                question.size = size > 0 ? static_cast<std::size_t>(size) : 0;
                questions.push_back(question);
                asked_ = true;
            }
            const bool told = (ready[1].revents & POLLIN) != 0;
            if (told || answered_ || std::chrono::steady_clock::now() > limit) {
                answered_ = true;
                for (auto& question : std::exchange(questions, {})) {
                    refuse(question);
                }
            }
            if (told) {
                std::uint64_t number = 0;
                (void)!::read(event_, &number, sizeof number);
            }
        }
    }

    void refuse(Question& question) const {
        question.bytes[2] |= 0x80U;
        question.bytes[3] = 0x82U;
        ::sendto(socket_, question.bytes.data(), question.size, 0, reinterpret_cast<const sockaddr*>(&question.from),
                 sizeof question.from);
    }

    int socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int event_ = ::eventfd(0, EFD_CLOEXEC);
    std::atomic<bool> asked_{false};
    std::atomic<bool> answered_{false};
    std::atomic<bool> stops_{false};
    std::thread thread_{};
};

}  // namespace

TEST_CASE("A request that times out does not wait for the name server") {
    NEEDS_OWN_NETWORK();
    SilentNameServer name_server;
    asio::io_context loop;
    HttpClient client{loop};
    std::optional<bool> waited;
    std::string why;
    // On a slow machine the time may be over before the name is asked for, which shows nothing.
    for (auto timeout = 300ms; !name_server.was_asked(); timeout *= 2) {
        waited.reset();
        client.get({.url = "http://silent.test/", .connect_timeout = timeout, .timeout = timeout},
                   [&](const Result<HttpAnswer>& answer) {
                       waited = name_server.has_answered();
                       why = answer ? "it has an answer" : answer.error().why;
                   });
        while (!waited) {
            REQUIRE(loop.run_one_for(100s) > 0);
        }
    }
    CHECK(*waited == false);
    CAPTURE(why);
    CHECK(why.find("timed out") != std::string::npos);
}

TEST_CASE("A client that ends while a name is looked up does not wait for the name server") {
    NEEDS_OWN_NETWORK();
    SilentNameServer name_server;
    asio::io_context loop;
    {
        HttpClient client{loop};
        client.get({.url = "http://silent.test/", .connect_timeout = 100s, .timeout = 100s},
                   [](const Result<HttpAnswer>&) {});
        while (!name_server.was_asked()) {
            loop.run_one_for(10ms);
        }
    }
    CHECK_FALSE(name_server.has_answered());
}

TEST_CASE("Another request is answered while a name is looked up") {
    NEEDS_OWN_NETWORK();
    SilentNameServer name_server;
    asio::io_context loop;
    HttpClient client{loop};
    client.get({.url = "http://silent.test/", .connect_timeout = 100s, .timeout = 100s},
               [](const Result<HttpAnswer>&) {});
    while (!name_server.was_asked()) {
        loop.run_one_for(10ms);
    }
    bool refused = false;
    // No process listens in this network.
    client.get({.url = "http://127.0.0.1/"}, [&refused](const Result<HttpAnswer>& answer) { refused = !answer; });
    while (!refused) {
        REQUIRE(loop.run_one_for(20s) > 0);
    }
    CHECK_FALSE(name_server.has_answered());
}

TEST_CASE("Where no name server listens the fault says that the name is not known") {
    NEEDS_OWN_NETWORK();
    asio::io_context loop;
    HttpClient client{loop};
    std::string why;
    client.get({.url = "http://silent.test/", .connect_timeout = 20s, .timeout = 20s},
               [&why](const Result<HttpAnswer>& answer) { why = answer ? "it has an answer" : answer.error().why; });
    while (why.empty()) {
        REQUIRE(loop.run_one_for(20s) > 0);
    }
    CHECK(why == "Could not resolve host: silent.test");
}
