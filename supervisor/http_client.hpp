#pragma once

#include "fault.hpp"

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

/// One GET. `url` is http; the limits hold for this request alone.
struct HttpRequest {
    std::string url;
    std::vector<std::string> headers{};         ///< whole lines, `Name: value`
    std::vector<std::string> answer_headers{};  ///< names of the answer's headers that the caller wants to see
    std::chrono::milliseconds connect_timeout{2000};
    std::chrono::milliseconds timeout{5000};  ///< from the call to the last byte
    std::size_t max_body = std::size_t{64} * 1024;
};

/// A complete answer of whatever status.
struct HttpAnswer {
    long status = 0;
    std::string body;
    std::map<std::string, std::string> headers{};       ///< those asked for, under the name asked for
    std::optional<std::chrono::seconds> retry_after{};  ///< RFC 9110 10.2.3, both forms
};

using HttpDone = std::function<void(Result<HttpAnswer>)>;

/// HttpClient::get() in the form in which it is passed to those who ask: a test passes simulated answers.
using HttpGet = std::function<void(HttpRequest, HttpDone)>;

/// Asynchronous GETs by libcurl's multi interface on the caller's loop. The only thread is curl's resolver, and only for
/// a host that is a name; nothing ever waits for that thread, neither a request that times out nor the destructor. It
/// follows no redirect, uses no proxy whatever the environment says,
/// keeps no connection, cookie or credential.
class HttpClient {
public:
    explicit HttpClient(boost::asio::io_context& loop);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    /// Starts the request; `done` is called once, later, from the loop. Not at all once the client is destroyed.
    void get(HttpRequest request, HttpDone done);

private:
    struct Transfers;
    std::unique_ptr<Transfers> transfers_;
};

}  // namespace supervisor
