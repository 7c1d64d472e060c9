#include "child/listening_socket.hpp"

#include <arpa/inet.h>
#include <catch2/catch_test_macros.hpp>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

using namespace supervisor;

namespace {

using Socket = std::unique_ptr<ListeningSocket>;

Socket bound(std::uint16_t port) {
    auto socket = bind_listening_socket(port);
    REQUIRE(socket.has_value());
    return std::move(*socket);
}

std::uint16_t port_of(const Socket& socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    REQUIRE(::getsockname(socket->descriptor(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin_port);
}

/// A client's connection, closed at its end.
class Client {
public:
    explicit Client(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { ::close(descriptor_); }
    [[nodiscard]] bool connected() const { return connected_; }

private:
    int descriptor_;
    bool connected_ = false;
};

std::vector<std::unique_ptr<Client>> connect(std::uint16_t port, int count) {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < count; ++i) {
        clients.push_back(std::make_unique<Client>(port));
        REQUIRE(clients.back()->connected());
    }
    return clients;
}

/// The emulator of another processor takes every option of TCP for an integer (linux-user/syscall.c of QEMU), so that it
/// tells four bytes of TCP_INFO, and does not know the programs that choose among sockets.
void skip_in_an_emulator() {
    const auto socket = bound(0);
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(::getsockopt(socket->descriptor(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    sock_filter first{BPF_RET | BPF_K, 0, 0, 0};
    const sock_fprog program{1, &first};
    const bool knows_programs =
        ::setsockopt(socket->descriptor(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0 ||
        errno != ENOPROTOOPT;
    if (size < offsetof(tcp_info, tcpi_unacked) + sizeof info.tcpi_unacked && !knows_programs) {
        SKIP("the emulator of this processor has neither TCP_INFO nor SO_ATTACH_REUSEPORT_CBPF");
    }
}

}  // namespace

TEST_CASE("A bound socket refuses connections until the child listens") {
    const auto socket = bound(0);
    CHECK_FALSE(socket->not_shared().has_value());
    CHECK_FALSE(socket->listens());
    CHECK_FALSE(Client{port_of(socket)}.connected());
    REQUIRE(::listen(socket->descriptor(), 16) == 0);
    CHECK(socket->listens());
    CHECK(Client{port_of(socket)}.connected());
}

TEST_CASE("The connections that nobody has accepted yet are counted") {
    skip_in_an_emulator();
    const auto socket = bound(0);
    REQUIRE(::listen(socket->descriptor(), 16) == 0);
    CHECK(socket->waiting() == 0);
    const auto clients = connect(port_of(socket), 3);
    CHECK(socket->waiting() == 3);
    ::close(::accept4(socket->descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(socket->waiting() == 2);
}

TEST_CASE("The younger of two sockets takes every new connection, rotation after rotation") {
    skip_in_an_emulator();
    auto serving = bound(0);
    const auto port = port_of(serving);
    REQUIRE(::listen(serving->descriptor(), 64) == 0);
    for (int rotation = 0; rotation < 5; ++rotation) {
        CAPTURE(rotation);
        auto next = bound(port);
        REQUIRE_FALSE(serving->keep_new_connections().has_value());
        const auto before = connect(port, 10);
        CHECK(serving->waiting() == 10);
        REQUIRE(::listen(next->descriptor(), 64) == 0);
        const auto still_before = connect(port, 10);
        CHECK(serving->waiting() == 20);
        REQUIRE_FALSE(next->take_new_connections().has_value());
        const auto clients = connect(port, 20);
        CHECK(serving->waiting() == 20);
        CHECK(next->waiting() == 20);
        // The old child is gone.
        serving.reset();
        const auto more = connect(port, 20);
        CHECK(next->waiting() == 40);
        for (int i = 0; i < 40; ++i) {
            ::close(::accept4(next->descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
        }
        serving = std::move(next);
    }
}

TEST_CASE("Connections in TIME_WAIT do not keep the port from being bound") {
    auto socket = bound(0);
    const auto port = port_of(socket);
    REQUIRE(::listen(socket->descriptor(), 16) == 0);
    const auto client = std::make_unique<Client>(port);
    // The side that closes first goes into TIME_WAIT.
    ::close(::accept4(socket->descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
    socket.reset();
    CHECK(bind_listening_socket(port).has_value());
}

TEST_CASE("Accepted connections send small answers at once") {
    const auto socket = bound(0);
    REQUIRE(::listen(socket->descriptor(), 16) == 0);
    const Client client{port_of(socket)};
    const int accepted = ::accept4(socket->descriptor(), nullptr, nullptr, SOCK_CLOEXEC);
    int no_delay = 0;
    socklen_t size = sizeof no_delay;
    CHECK(::getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size) == 0);
    CHECK(no_delay != 0);
    ::close(accepted);
}

TEST_CASE("A port that another program listens on is a fault that names it") {
    const int other = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    REQUIRE(::bind(other, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    socklen_t size = sizeof address;
    REQUIRE(::getsockname(other, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    const auto port = ntohs(address.sin_port);
    const auto socket = bind_listening_socket(port);
    REQUIRE(socket.has_error());
    CHECK(socket.error().why == "can't bind port " + std::to_string(port) + ": Address already in use");
    ::close(other);
}
