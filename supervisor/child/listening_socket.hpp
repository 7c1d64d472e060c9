#pragma once

#include "base/fault.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace supervisor {

/// A socket for one child on the port that all children share. It is bound and does not listen: the child calls
/// listen(2) when it is ready for connections, and until then the kernel refuses or gives them to another child. The
/// object owns our copy of the descriptor; the child's own copy lives on when it is destroyed.
class ListeningSocket {
public:
    ListeningSocket() = default;
    ListeningSocket(const ListeningSocket&) = delete;
    ListeningSocket& operator=(const ListeningSocket&) = delete;
    virtual ~ListeningSocket() = default;

    /// For the child to inherit.
    [[nodiscard]] virtual int descriptor() const = 0;
    /// Why no second child can have a socket on the same port: it can't be bound (SO_REUSEPORT), or the kernel does not
    /// tell when it listens.
    [[nodiscard]] virtual std::optional<Fault> not_shared() const = 0;
    /// Whether the child has called listen(2) (socket(7), SO_ACCEPTCONN).
    [[nodiscard]] virtual bool listens() const = 0;
    /// How many connections wait to be accepted. 0 if the kernel does not say (tcp(7), TCP_INFO).
    [[nodiscard]] virtual unsigned waiting() const = 0;
    /// Leads every new connection to this socket, which must be the older one of two, before the younger one listens.
    virtual std::optional<Fault> keep_new_connections() = 0;
    /// Leads every new connection to this socket, which must be the younger one of two that listen. After a fault the
    /// kernel goes on to spread new connections over both.
    virtual std::optional<Fault> take_new_connections() = 0;
};

/// Binds a socket to 0.0.0.0:`port`. A sandbox that knows no SO_REUSEPORT gives a socket that is not shared.
Result<std::unique_ptr<ListeningSocket>> bind_listening_socket(std::uint16_t port);

}  // namespace supervisor
