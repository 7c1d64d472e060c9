#pragma once

#include "fault.hpp"
#include "health_report.hpp"
#include "settings.hpp"

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace supervisor {

/// Answers probes over HTTP/1.1 (RFC 9112), GET and HEAD. No client can hold it up: a request has 5 s from its first
/// byte to the answer's last, at most 32 connections are open, and the 33rd takes the place of the oldest, so that a
/// crowd of silent clients never keeps a probe out.
class HealthServer {
public:
    /// Gives the answer for a path, at once.
    using Handler = std::function<HealthAnswer(std::string_view path)>;

    HealthServer(boost::asio::io_context& loop, Handler handler);
    ~HealthServer();
    HealthServer(const HealthServer&) = delete;
    HealthServer& operator=(const HealthServer&) = delete;

    /// Starts listening; the fault names the address and what keeps it from being used.
    std::optional<Fault> listen(const Address& address);
    /// The port in use, for an address that left the choice to the kernel.
    [[nodiscard]] std::uint16_t port() const;

private:
    class Listener;
    std::shared_ptr<Listener> listener_;
};

}  // namespace supervisor
