#pragma once

#include "base/fault.hpp"
#include "http/route.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// One GET, or a POST if it has a body, or only its TCP connection. `url` is an http or https URL; the limits hold for this
/// request alone.
struct HttpRequest {
    std::string url;
    std::vector<std::string> headers{};         ///< whole lines, each `Name: value`
    std::vector<std::string> answer_headers{};  ///< names of the headers of the answer that the caller wants to see
    std::optional<std::string> body{};          ///< sent by POST; it may hold a secret
    Route route{};                              ///< for https alone
    std::chrono::milliseconds connect_timeout{2000};  ///< with a proxy and TLS, until both are done
    std::chrono::milliseconds timeout{5000};          ///< from the call to the last byte
    std::size_t max_body = std::size_t{64} * 1024;
    bool connect_only = false;  ///< connect and close: nothing is sent, and the answer is empty, with status 0
};

/// A complete answer of whatever status.
struct HttpAnswer {
    long status = 0;
    std::string body;
    std::map<std::string, std::string> headers{};       ///< those that were asked for, under the name asked for
    std::optional<std::chrono::seconds> retry_after{};  ///< RFC 9110 10.2.3, both forms
};

/// Receives the answer, or why there is none. The answer belongs to the client, which wipes the body afterwards because it
/// may hold a token; a caller that needs part of it later copies that part.
using HttpDone = std::function<void(const Result<HttpAnswer>&)>;

/// HttpClient::get() in the form in which it is passed to those who ask: a test passes simulated answers.
using HttpGet = std::function<void(HttpRequest, HttpDone)>;

/// Asynchronous requests by libcurl's multi interface on the caller's loop. The only thread is curl's resolver, and only for a
/// host that is a name; nothing ever waits for that thread, neither a request that times out nor the destructor. The client
/// follows no redirect, and keeps no connection, cookie or credential. For http it uses no proxy whatever the environment says;
/// for https it uses that of the request's route alone, and verifies the certificate and the name of the server.
///
/// What goes wrong in curl's callbacks or with the kernel's resources is the fault of that request and never an exception.
/// Headers and bodies are wiped everywhere but in buffers of curl's own, for which see Secret.
class HttpClient {
public:
    explicit HttpClient(boost::asio::io_context& loop);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    /// Starts the request. `done` is called once, from the loop and never from within get(), and not any more once the
    /// client is destroyed.
    void get(HttpRequest request, HttpDone done);

private:
    struct Transfers;
    std::shared_ptr<Transfers> transfers_;
};

}  // namespace supervisor
