#include "child/listening_socket.hpp"

#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace supervisor {
namespace {

Fault failed(const std::string& what) { return Fault{what + ": " + std::strerror(errno)}; }

class SystemListeningSocket final : public ListeningSocket {
public:
    SystemListeningSocket(int descriptor, std::optional<Fault> not_shared)
        : descriptor_(descriptor), not_shared_(std::move(not_shared)) {}
    SystemListeningSocket(const SystemListeningSocket&) = delete;
    SystemListeningSocket& operator=(const SystemListeningSocket&) = delete;
    ~SystemListeningSocket() override { ::close(descriptor_); }

    [[nodiscard]] int descriptor() const override { return descriptor_; }
    [[nodiscard]] std::optional<Fault> not_shared() const override { return not_shared_; }

    [[nodiscard]] bool listens() const override {
        int listens = 0;
        socklen_t size = sizeof listens;
        return ::getsockopt(descriptor_, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
    }

    [[nodiscard]] unsigned waiting() const override {
        // For a listener, unacked is the length of the accept queue (net/ipv4/tcp.c, tcp_get_info).
        tcp_info info{};
        socklen_t size = sizeof info;
        return ::getsockopt(descriptor_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_unacked : 0;
    }

    std::optional<Fault> keep_new_connections() override { return lead_connections_to(0); }
    std::optional<Fault> take_new_connections() override { return lead_connections_to(1); }

private:
    /// The result of a program is an index into the sockets that listen on the port, in the order in which they began
    /// (socket(7), SO_ATTACH_REUSEPORT_CBPF). When the first of two is closed, the other one has the index 0, and for an
    /// index that is out of range the kernel chooses among those that are left, which is that one.
    std::optional<Fault> lead_connections_to(std::uint32_t index) {
        sock_filter result{BPF_RET | BPF_K, 0, 0, index};
        const sock_fprog program{1, &result};
        if (::setsockopt(descriptor_, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) != 0) {
            return failed("setsockopt SO_ATTACH_REUSEPORT_CBPF");
        }
        return std::nullopt;
    }

    int descriptor_;
    std::optional<Fault> not_shared_;
};

}  // namespace

Result<std::unique_ptr<ListeningSocket>> bind_listening_socket(std::uint16_t port) {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return failed("can't make a socket for port " + std::to_string(port));
    }
    const int on = 1;
    // Connections in TIME_WAIT, which another server left or this one leaves, would keep the port from being bound
    // (socket(7)).
    ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    std::optional<Fault> not_shared;
    int listens = 0;
    socklen_t size = sizeof listens;
    if (::setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        not_shared = failed("setsockopt SO_REUSEPORT");
    } else if (::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) {
        not_shared = failed("getsockopt SO_ACCEPTCONN");
    }
    // Accepted sockets inherit it. uvicorn takes an inherited descriptor for a Unix socket and would not set it.
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::unique_ptr<ListeningSocket> socket =
        std::make_unique<SystemListeningSocket>(descriptor, std::move(not_shared));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return failed("can't bind port " + std::to_string(port));
    }
    return socket;
}

}  // namespace supervisor
