#include "http/http_server.hpp"

#include "base/process_usage.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/intrusive/list.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string_view>

namespace supervisor {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::uint32_t longest_header = 8 * 1024;
constexpr std::chrono::seconds request_timeout{5};
constexpr int most_requests_ahead = 16;
constexpr std::chrono::milliseconds pause_after_failed_accept{100};

/// Whether the client sent something that is not HTTP; false for a connection that broke.
bool is_http_error(error_code error) {
    return error.category() == http::make_error_code(http::error::end_of_stream).category();
}

/// The path that a request's target names, without its query, or nothing. A server has to accept the absolute form too
/// (RFC 9112, 3.2.2), whatever its host.
std::string_view path_of(std::string_view target) {
    constexpr std::string_view scheme = "http://";
    if (boost::beast::iequals(target.substr(0, scheme.size()), scheme)) {
        target.remove_prefix(std::min(target.find_first_of("/?", scheme.size()), target.size()));
        if (!target.starts_with('/')) {
            return "/";
        }
    }
    return target.starts_with('/') ? target.substr(0, target.find('?')) : std::string_view{};
}

class Session;
using SessionHook = boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
using SessionList = boost::intrusive::list<Session, boost::intrusive::base_hook<SessionHook>,
                                           boost::intrusive::constant_time_size<false>>;

/// The connections that are open. Those that never asked a question and those that did have places of their own, so that
/// neither kind can take the other one's.
struct OpenSessions {
    std::size_t most_of_each;
    /// In the order of their accepts.
    SessionList unanswered{};
    /// In the order of their last answers.
    SessionList answered{};
};

/// One connection, from accept to close. It lives as long as one of its operations is under way.
class Session : public std::enable_shared_from_this<Session>, public SessionHook {
public:
    Session(tcp::socket socket, OpenSessions& open, const HttpServer::Handler& handler)
        : socket_(std::move(socket)), deadline_(socket_.get_executor()), open_(open), handler_(handler) {}

    void read_request() {
        phase_ = Phase::reading;
        parser_.emplace();
        parser_->header_limit(longest_header);
        // A body is refused when the header announces it, whatever its length, and is never read.
        parser_->body_limit(boost::none);
        start_deadline();
        http::async_read_header(socket_, buffer_, *parser_,
                                [self = shared_from_this()](error_code error, std::size_t) { self->on_header(error); });
    }

    /// Makes this one the last of that list to go. If the list is full, the first one goes now.
    void take_place(SessionList& among) {
        unlink();
        if (among.size() >= open_.most_of_each) {
            among.front().close();
        }
        among.push_back(*this);
    }

    void close() {
        unlink();
        deadline_.cancel();
        error_code ignored;
        socket_.close(ignored);
    }

private:
    enum class Phase { reading, late, writing, lingering };

    void start_deadline() {
        deadline_.expires_after(request_timeout);
        deadline_.async_wait([self = shared_from_this()](error_code error) {
            // A handler that is queued already can't be cancelled: it may belong to a deadline that was moved since.
            if (!error && self->deadline_.expiry() <= asio::steady_timer::clock_type::now()) {
                self->out_of_time();
            }
        });
    }

    void out_of_time() {
        if (phase_ == Phase::reading && (parser_->got_some() || buffer_.size() > 0)) {
            // The read ends with operation_aborted, and then the client is told why.
            phase_ = Phase::late;
            error_code ignored;
            socket_.cancel(ignored);
        } else {
            close();
        }
    }

    void on_header(error_code error) {
        if (!socket_.is_open()) {
            // Closed while this handler was queued; open_ and handler_ may be gone with the server.
            return;
        }
        if (phase_ == Phase::late) {
            refuse(http::status::request_timeout, "the request took longer than 5 s");
        } else if (!error) {
            answer();
        } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
            refuse(http::status::request_header_fields_too_large, "the header is longer than 8 KiB");
        } else if (error != http::error::end_of_stream && is_http_error(error)) {
            refuse(http::status::bad_request, "this is not an HTTP/1.1 request: " + error.message());
        } else {
            close();
        }
    }

    void answer() {
        const auto& request = parser_->get();
        const bool head = request.method() == http::verb::head;
        const auto path = path_of({request.target().data(), request.target().size()});
        if (request.method() != http::verb::get && !head) {
            refuse(http::status::method_not_allowed, "only GET and HEAD are answered here");
        } else if (parser_->chunked() || parser_->content_length().value_or(0) > 0) {
            refuse(http::status::payload_too_large, "a probe has no body");
        } else if (path.empty()) {
            refuse(http::status::bad_request, "the request names no path");
        } else {
            auto [status, content_type, body] = handler_(path);
            // No prober asks again before it has the answer, and who does so must not be served instead of others.
            const bool keep_alive = request.keep_alive() && requests_ahead_ < most_requests_ahead;
            respond(static_cast<http::status>(status), content_type, std::move(body), keep_alive, head);
        }
    }

    void refuse(http::status status, const std::string& why) {
        respond(status, "text/plain; charset=utf-8", why + '\n', /*keep_alive=*/false, /*head=*/false);
    }

    void respond(http::status status, std::string_view content_type, std::string body, bool keep_alive, bool head) {
        if (phase_ == Phase::late) {
            start_deadline();
        }
        phase_ = Phase::writing;
        response_ = {};
        response_.version(11);
        response_.result(status);
        response_.set(http::field::content_type, content_type);
        response_.set(http::field::cache_control, "no-store");
        if (status == http::status::method_not_allowed) {
            response_.set(http::field::allow, "GET, HEAD");
        }
        response_.keep_alive(keep_alive);
        response_.content_length(body.size());
        if (!head) {
            response_.body() = std::move(body);
        }
        http::async_write(socket_, response_, [self = shared_from_this(), keep_alive](error_code error, std::size_t) {
            if (error || !self->socket_.is_open()) {
                self->close();
            } else if (keep_alive) {
                self->await_next_request();
            } else {
                self->linger();
            }
        });
    }

    void await_next_request() {
        take_place(open_.answered);
        requests_ahead_ = buffer_.size() == 0 ? 0 : requests_ahead_ + 1;
        read_request();
    }

    /// Lets the client read the answer: closing while its bytes are unread would reset the connection
    /// (RFC 9112 section 9.6).
    void linger() {
        phase_ = Phase::lingering;
        error_code error;
        socket_.shutdown(tcp::socket::shutdown_send, error);
        discard();
    }

    void discard() {
        // Nobody looks at these bytes, so that all connections may share their place.
        static std::array<char, 1024> discarded;
        socket_.async_read_some(asio::buffer(discarded), [self = shared_from_this()](error_code error, std::size_t) {
            error ? self->close() : self->discard();
        });
    }

    tcp::socket socket_;
    asio::steady_timer deadline_;
    OpenSessions& open_;
    const HttpServer::Handler& handler_;
    Phase phase_ = Phase::reading;
    int requests_ahead_ = 0;  ///< the last answers in a row before which the client had sent its next request
    boost::beast::flat_buffer buffer_{longest_header};
    std::optional<http::request_parser<http::empty_body>> parser_{};
    http::response<http::string_body> response_{};
};

}  // namespace

class HttpServer::Listener : public std::enable_shared_from_this<HttpServer::Listener> {
public:
    Listener(asio::io_context& loop, Handler handler, std::size_t most_connections)
        : handler_(std::move(handler)), open_{.most_of_each = most_connections / 2}, acceptor_(loop), retry_(loop) {}

    error_code open(const Address& address) {
        error_code error;
        const auto ip = asio::ip::make_address(address.host, error);
        const tcp::endpoint endpoint{ip, address.port};
        error || acceptor_.open(endpoint.protocol(), error) ||
            acceptor_.set_option(tcp::acceptor::reuse_address(true), error) || acceptor_.bind(endpoint, error) ||
            acceptor_.listen(tcp::acceptor::max_listen_connections, error);
        if (!error) {
            accept();
        }
        return error;
    }

    void stop() {
        error_code ignored;
        acceptor_.close(ignored);
        retry_.cancel();
        for (auto* sessions : {&open_.unanswered, &open_.answered}) {
            while (!sessions->empty()) {
                sessions->front().close();
            }
        }
    }

    [[nodiscard]] std::uint16_t port() const {
        error_code error;
        return acceptor_.local_endpoint(error).port();
    }

private:
    void accept() {
        acceptor_.async_accept([self = shared_from_this()](error_code error, tcp::socket socket) {
            // An accept that had succeeded before stop() was called is still reported.
            if (error == asio::error::operation_aborted || !self->acceptor_.is_open()) {
                return;
            }
            if (error) {
                self->accept_later();
                return;
            }
            self->serve(std::move(socket));
            self->accept();
        });
    }

    /// Without free descriptors or memory an accept fails at once, and so would the next one. The loop must not spin.
    void accept_later() {
        retry_.expires_after(pause_after_failed_accept);
        retry_.async_wait([self = shared_from_this()](error_code error) {
            if (!error && self->acceptor_.is_open()) {
                self->accept();
            }
        });
    }

    void serve(tcp::socket socket) {
        const auto session = std::make_shared<Session>(std::move(socket), open_, handler_);
        session->take_place(open_.unanswered);
        session->read_request();
    }

    Handler handler_;
    OpenSessions open_;
    tcp::acceptor acceptor_;
    asio::steady_timer retry_;
};

std::size_t most_connections(std::size_t descriptors) {
    return std::clamp(descriptors / 2, std::size_t{16}, std::size_t{512});
}

HttpServer::HttpServer(asio::io_context& loop, Handler handler, std::size_t most_connections)
    : listener_(std::make_shared<Listener>(loop, std::move(handler), most_connections)) {}

HttpServer::HttpServer(asio::io_context& loop, Handler handler)
    : HttpServer(loop, std::move(handler), supervisor::most_connections(descriptor_limit().value_or(0))) {}

HttpServer::~HttpServer() { listener_->stop(); }

error_code HttpServer::listen(const Address& address) { return listener_->open(address); }

std::uint16_t HttpServer::port() const { return listener_->port(); }

}  // namespace supervisor
