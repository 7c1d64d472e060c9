#pragma once

#include "base/address.hpp"
#include "http/http_response.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace supervisor {

/// How many connections may be open in a process that may have so many file descriptors: half of them, because the
/// others are needed to go on working, and from 16 to 512.
std::size_t most_connections(std::size_t descriptors);

/// Answers GET and HEAD over HTTP/1.1 (RFC 9112). No client can hold it up: a connection has 5 s for a request, counted
/// from the accept or from the end of the answer before, and 5 s for the client to read the answer. The number of open
/// connections is limited. Half of them is for those that have not sent a request yet, where one too many takes the place
/// of the one that was accepted the longest ago, and half for those that have been answered, where one too many takes the
/// place of the one that was answered the longest ago. So a crowd of clients that send no request keeps nobody out. A
/// client that sends requests before it has the answers to those before gets 17 answers on a connection. What goes wrong
/// with a connection ends that connection and nothing else; an accept that fails, for example because no file descriptor
/// is free, is retried after 100 ms.
class HttpServer {
public:
    /// Gives the answer for a path, at once. The path has no query and begins with a slash.
    using Handler = std::function<HttpResponse(std::string_view path)>;

    HttpServer(boost::asio::io_context& loop, Handler handler, std::size_t most_connections);
    /// With as many connections as this process's limit of descriptors allows.
    HttpServer(boost::asio::io_context& loop, Handler handler);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    /// Starts listening; the error says why the address can't be used. Port 0 leaves the choice to the kernel.
    boost::system::error_code listen(const Address& address);
    /// The port in use; 0 before listen().
    [[nodiscard]] std::uint16_t port() const;

private:
    class Listener;
    std::shared_ptr<Listener> listener_;
};

}  // namespace supervisor
