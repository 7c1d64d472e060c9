#pragma once

#include "support/property.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace supervisor::fuzz {

inline sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// One end of a TCP connection, driven by hand from the thread of the loop that has the other end.
class Peer {
public:
    explicit Peer(int socket) : socket_(socket) {
        require(socket_ >= 0, "there is a socket");
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    Peer(Peer&& other) noexcept
        : sent(std::move(other.sent)),
          received(std::move(other.received)),
          closed(other.closed),
          socket_(std::exchange(other.socket_, -1)) {}
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() {
        if (socket_ >= 0) {
            // An end that is not waited for leaves nothing behind in the kernel: there are thousands of them in a second.
            const linger at_once{1, 0};
            ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            ::close(socket_);
        }
    }

    /// The other end may close while it is being sent to.
    void send(std::string_view bytes) {
        if (!bytes.empty() && ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
            sent += bytes;
        }
    }
    void send_end() const { ::shutdown(socket_, SHUT_WR); }

    /// Takes what has arrived, and says whether anything had.
    bool receive() {
        std::array<char, 4096> some{};
        bool any = false;
        while (!closed) {
            const auto size = ::recv(socket_, some.data(), some.size(), MSG_DONTWAIT);
            if (size < 0 && errno == EAGAIN) {
                break;
            }
            any = true;
            closed = size <= 0;
            received.append(some.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        }
        return any;
    }

    /// Sends something, and says whether the other end has answered with a reset to what was sent before: it has closed its
    /// socket, and not only said that it sends no more.
    [[nodiscard]] bool is_gone() const {
        return ::send(socket_, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN;
    }

    std::string sent{};
    std::string received{};
    bool closed = false;  ///< by the other end

private:
    int socket_;
};

/// What was sent may take its time to arrive on a machine that is busy. Returns false when that is no excuse any more.
class Patience {
public:
    bool wait() {
        // At first there is only the other end's turn to wait for.
        if (waits_ > 1) {
            ::usleep(1000);
        }
        return ++waits_ < 10'000;
    }

private:
    int waits_ = 0;
};

inline Peer connect_to(std::uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto address = loopback(port);
    const int error = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
    require(error == 0, "the port is open", std::strerror(error));
    return Peer{socket};
}

}  // namespace supervisor::fuzz
