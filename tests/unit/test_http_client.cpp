#include "http_client.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch_test_macros.hpp>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// A server on loopback that reads a request's header and answers with the text it was given, then closes.
class Server {
public:
    Server(asio::io_context& loop, std::string answer, std::chrono::milliseconds delay = 0ms)
        : loop_(loop),
          acceptor_(loop, tcp::endpoint{asio::ip::address_v4::loopback(), 0}),
          answer_(std::move(answer)),
          delay_(delay) {
        accept();
    }

    [[nodiscard]] std::string url(const std::string& host = "127.0.0.1") const {
        return "http://" + host + ':' + std::to_string(acceptor_.local_endpoint().port()) + "/path";
    }
    [[nodiscard]] const std::vector<std::string>& requests() const { return requests_; }

private:
    struct Connection {
        explicit Connection(tcp::socket accepted) : socket(std::move(accepted)), timer(socket.get_executor()) {}
        tcp::socket socket;
        asio::steady_timer timer;
        asio::streambuf request{};
    };

    void accept() {
        acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
            if (error) {
                return;
            }
            auto connection = std::make_shared<Connection>(std::move(socket));
            asio::async_read_until(connection->socket, connection->request, "\r\n\r\n",
                                   [this, connection](boost::system::error_code failed, std::size_t) {
                                       if (!failed) {
                                           const auto data = connection->request.data();
                                           requests_.emplace_back(asio::buffers_begin(data), asio::buffers_end(data));
                                           answer(connection);
                                       }
                                   });
            accept();
        });
    }

    void answer(const std::shared_ptr<Connection>& connection) {
        connection->timer.expires_after(delay_);
        connection->timer.async_wait([this, connection](boost::system::error_code) {
            asio::async_write(connection->socket, asio::buffer(answer_),
                              [connection](boost::system::error_code, std::size_t) {});
        });
    }

    asio::io_context& loop_;
    tcp::acceptor acceptor_;
    std::string answer_;
    std::chrono::milliseconds delay_;
    std::vector<std::string> requests_{};
};

std::string http(const std::string& status, const std::string& headers, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" +
           body;
}

struct Fixture {
    asio::io_context loop{};
    HttpClient client{loop};

    Result<HttpAnswer> get(HttpRequest request) {
        std::optional<Result<HttpAnswer>> result;
        client.get(std::move(request), [this, &result](Result<HttpAnswer> answer) {
            result = std::move(answer);
            loop.stop();
        });
        loop.restart();
        loop.run_for(20s);
        REQUIRE(result.has_value());
        return *result;
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "An answer comes with its status, its body and the headers asked for") {
    Server server{loop, http("200 OK", "Metadata-Flavor: Google\r\nOther: x\r\n", "hello")};
    const auto answer = get({.url = server.url(), .headers = {"A: b"}, .answer_headers = {"Metadata-Flavor", "None"}});
    REQUIRE(answer.has_value());
    CHECK(answer->status == 200);
    CHECK(answer->body == "hello");
    CHECK(answer->headers == std::map<std::string, std::string>{{"Metadata-Flavor", "Google"}});
    CHECK_FALSE(answer->retry_after.has_value());
    REQUIRE(server.requests().size() == 1);
    CHECK(server.requests().front().starts_with("GET /path HTTP/1.1\r\n"));
    CHECK(server.requests().front().find("\r\nA: b\r\n") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "A refusal is an answer and may ask for patience") {
    Server server{loop, http("429 Too Many Requests", "Retry-After: 7\r\n", "")};
    const auto answer = get({.url = server.url()});
    REQUIRE(answer.has_value());
    CHECK(answer->status == 429);
    CHECK(answer->retry_after == std::chrono::seconds{7});
}

TEST_CASE_METHOD(Fixture, "A redirect is not followed") {
    Server elsewhere{loop, http("200 OK", "", "elsewhere")};
    Server server{loop, http("301 Moved Permanently", "Location: " + elsewhere.url() + "\r\n", "")};
    const auto answer = get({.url = server.url()});
    REQUIRE(answer.has_value());
    CHECK(answer->status == 301);
    CHECK(elsewhere.requests().empty());
}

TEST_CASE_METHOD(Fixture, "No proxy is used whatever the environment says") {
    Server proxy{loop, http("200 OK", "", "proxy")};
    Server server{loop, http("200 OK", "", "server")};
    for (const char* name : {"http_proxy", "ALL_PROXY", "all_proxy"}) {
        ::setenv(name, proxy.url().c_str(), 1);
    }
    const auto answer = get({.url = server.url()});
    for (const char* name : {"http_proxy", "ALL_PROXY", "all_proxy"}) {
        ::unsetenv(name);
    }
    REQUIRE(answer.has_value());
    CHECK(answer->body == "server");
    CHECK(proxy.requests().empty());
}

TEST_CASE_METHOD(Fixture, "What is no whole answer is a fault that says why") {
    Server cut{loop, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"};
    Server large{loop, http("200 OK", "", std::string(2000, 'x'))};
    Server slow{loop, http("200 OK", "", "late"), 5s};
    Server nonsense{loop, "SSH-2.0-OpenSSH\r\n"};
    std::string nobody;
    {
        tcp::acceptor closed{loop, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
        nobody = "http://127.0.0.1:" + std::to_string(closed.local_endpoint().port()) + '/';
    }
    for (const auto& request :
         {HttpRequest{.url = cut.url(), .timeout = 1s}, HttpRequest{.url = large.url(), .max_body = 1999},
          HttpRequest{.url = slow.url(), .timeout = 100ms}, HttpRequest{.url = nonsense.url(), .timeout = 1s},
          HttpRequest{.url = nobody}}) {
        CAPTURE(request.url);
        const auto answer = get(request);
        REQUIRE_FALSE(answer.has_value());
        CHECK_FALSE(answer.error().why.empty());
    }
}

TEST_CASE_METHOD(Fixture, "A body of just the length allowed is taken") {
    Server server{loop, http("200 OK", "", std::string(2000, 'x'))};
    CHECK(get({.url = server.url(), .max_body = 2000}).has_value());
}

TEST_CASE_METHOD(Fixture, "A server that does not answer delays no other request") {
    Server silent{loop, http("200 OK", "", "late"), 10s};
    Server server{loop, http("200 OK", "", "at once")};
    bool silent_done = false;
    client.get({.url = silent.url(), .timeout = 8s}, [&silent_done](const Result<HttpAnswer>&) { silent_done = true; });
    const auto answer = get({.url = server.url()});
    REQUIRE(answer.has_value());
    CHECK(answer->body == "at once");
    CHECK_FALSE(silent_done);
}

// curl tries ::1 first, where nobody listens, and then a new socket with the old one's number.
TEST_CASE_METHOD(Fixture, "A host of two addresses of which one refuses answers as fast as any") {
    Server server{loop, http("200 OK", "", "here")};
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) {
        const auto answer = get({.url = server.url("localhost")});
        REQUIRE(answer.has_value());
    }
    // The lost event made each wait for a timer of at least 200 ms.
    CHECK(std::chrono::steady_clock::now() - begin < 3s);
}

TEST_CASE("A client that goes away takes its requests with it") {
    asio::io_context loop;
    Server server{loop, http("200 OK", "", "late"), 50ms};
    bool done = false;
    {
        HttpClient client{loop};
        client.get({.url = server.url()}, [&done](const Result<HttpAnswer>&) { done = true; });
        loop.run_for(10ms);
    }
    loop.restart();
    loop.run_for(100ms);
    CHECK_FALSE(done);
}
