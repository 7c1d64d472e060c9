#include "failing_epoll.hpp"
#include "http/http_server.hpp"

#include <arpa/inet.h>
#include <boost/asio/post.hpp>
#include <catch2/catch_test_macros.hpp>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace supervisor;
namespace asio = boost::asio;

namespace {

/// A blocking connection from the outside.
class Client {
public:
    explicit Client(std::uint16_t port) {
        const timeval limit{60, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    }
    Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { ::close(socket_); }

    /// The server may close while it is being sent to.
    void send(const std::string& bytes) const { ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }

    /// Everything that is received until `end`, or until the server closes.
    [[nodiscard]] std::string read_until(const std::string& end) const {
        std::string text;
        std::array<char, 4096> some{};
        while (end.empty() || text.find(end) == std::string::npos) {
            const auto size = ::recv(socket_, some.data(), some.size(), 0);
            if (size <= 0) {
                REQUIRE((size == 0 || errno == ECONNRESET));
                break;
            }
            text.append(some.data(), static_cast<std::size_t>(size));
        }
        return text;
    }
    [[nodiscard]] std::string read_to_end() const { return read_until({}); }

private:
    int socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

/// A server on a loopback port of its own, whose loop runs in a thread.
struct Fixture {
    Fixture() {
        REQUIRE_FALSE(server.listen({"127.0.0.1", 0}));
        port = server.port();
        thread = std::thread{[this] { loop.run(); }};
    }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;
    ~Fixture() {
        loop.stop();
        thread.join();
    }

    [[nodiscard]] std::string ask(const std::string& request) const {
        const Client client{port};
        client.send(request);
        return client.read_to_end();
    }
    [[nodiscard]] std::string get(const std::string& target) const {
        return ask("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }

    static constexpr std::size_t most_of_each = 8;
    /// More connections without a request than there is room for.
    [[nodiscard]] std::vector<Client> silent_crowd() const {
        std::vector<Client> clients;
        for (std::size_t i = 0; i < 3 * most_of_each; ++i) {
            clients.emplace_back(port);
        }
        return clients;
    }

    asio::io_context loop{};
    HttpServer server{loop,
                      [](std::string_view path) {
                          return path == "/missing" ? HttpResponse{.status = 404, .body = "missing\n"}
                                                    : HttpResponse{.content_type = "text/x", .body = std::string{path}};
                      },
                      2 * most_of_each};
    std::uint16_t port = 0;
    std::thread thread{};
};

std::string status_of(const std::string& answer) {
    CAPTURE(answer);
    REQUIRE(answer.starts_with("HTTP/1.1 "));
    return answer.substr(9, 3);
}

std::string body_of(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

bool has(const std::string& answer, const std::string& line) { return answer.find(line + "\r\n") != std::string::npos; }

}  // namespace

TEST_CASE_METHOD(Fixture, "A target is a path, or a whole URL whose path counts, and its query does not") {
    const std::pair<std::string, std::string> rows[] = {{"/livez?a=/b", "/livez"},
                                                        {"http://any.host:1/livez?a", "/livez"},
                                                        {"HTTP://any.host/", "/"},
                                                        {"http://any.host", "/"},
                                                        {"http://any.host?a=/b", "/"}};
    for (const auto& [target, path] : rows) {
        const auto answer = get(target);
        CHECK(status_of(answer) == "200");
        CHECK(body_of(answer) == path);
    }
    for (const std::string target : {"*", "livez", "https://any.host/livez", "http:/livez", "any.host:443"}) {
        CHECK(status_of(get(target)) == "400");
    }
}

TEST_CASE_METHOD(Fixture, "The handler's answer is sent with its status, type and length, and is not cached") {
    const auto answer = get("/some/path");
    CHECK(status_of(answer) == "200");
    CHECK(body_of(answer) == "/some/path");
    CHECK(has(answer, "Content-Type: text/x"));
    CHECK(has(answer, "Content-Length: 10"));
    CHECK(has(answer, "Cache-Control: no-store"));
    const auto missing = get("/missing");
    CHECK(status_of(missing) == "404");
    CHECK(body_of(missing) == "missing\n");
}

TEST_CASE_METHOD(Fixture, "The handler gets the path without the query") {
    CHECK(body_of(get("/path?a=/b?c")) == "/path");
    CHECK(body_of(get("/path%3fa")) == "/path%3fa");
}

TEST_CASE_METHOD(Fixture, "HEAD is answered like GET, without the body") {
    const auto answer = ask("HEAD /path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    CHECK(status_of(answer) == "200");
    CHECK(has(answer, "Content-Length: 5"));
    CHECK(body_of(answer).empty());
}

TEST_CASE_METHOD(Fixture, "Other methods are 405 and told which are allowed") {
    for (const std::string method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}) {
        const auto answer = ask(method + " / HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(status_of(answer) == "405");
        CHECK(has(answer, "Allow: GET, HEAD"));
    }
}

TEST_CASE_METHOD(Fixture, "A bad request is answered with its status, and the connection is closed") {
    const std::vector<std::pair<std::string, std::string>> requests{
        {"nonsense\r\n\r\n", "400"},
        {"GET /path\r\n\r\n", "400"},
        {"GET path HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nno colon here\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "413"},
        {"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "413"},
        {"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "413"},
        {"GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n", "431"},
        {"GET / HTTP/1.1\r\nX: " + std::string(100'000, 'y') + "\r\n\r\n", "431"},
    };
    for (const auto& [request, status] : requests) {
        CAPTURE(request.substr(0, 60));
        CHECK(status_of(ask(request)) == status);
    }
    CHECK(status_of(get("/")) == "200");
}

TEST_CASE_METHOD(Fixture, "A request that is not complete after 5 s is 408, and a silent connection is closed") {
    const Client slow{port};
    slow.send("GET / HTTP/1.1\r\nHos");
    const Client silent{port};
    // Others are answered in the meantime.
    CHECK(status_of(get("/")) == "200");
    CHECK(status_of(slow.read_to_end()) == "408");
    CHECK(silent.read_to_end().empty());
}

TEST_CASE_METHOD(Fixture, "A connection is kept for the next request") {
    const Client client{port};
    for (const std::string path : {"/one", "/two", "/three"}) {
        client.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(status_of(client.read_until(path)) == "200");
    }
}

TEST_CASE_METHOD(Fixture, "HTTP/1.0 is answered and closed") {
    CHECK(status_of(ask("GET / HTTP/1.0\r\n\r\n")) == "200");
}

TEST_CASE_METHOD(Fixture,
                 "An answered connection too many takes the place of the one that was answered the longest ago") {
    std::vector<Client> clients;
    const auto ask_again = [&clients](std::size_t number) {
        clients[number].send("GET /kept HTTP/1.1\r\nHost: x\r\n\r\n");
        return status_of(clients[number].read_until("/kept"));
    };
    for (std::size_t number = 0; number < most_of_each; ++number) {
        clients.emplace_back(port);
        // The answer shows that the connection was accepted, so that their order is known.
        CHECK(ask_again(number) == "200");
    }
    CHECK(ask_again(0) == "200");
    const std::vector<Client> silent = silent_crowd();
    clients.emplace_back(port);
    CHECK(ask_again(most_of_each) == "200");
    CHECK(clients[1].read_to_end().empty());
    CHECK(ask_again(0) == "200");
    CHECK(ask_again(2) == "200");
}

TEST_CASE_METHOD(Fixture, "Connections without a request make room for each other, and keep nobody out") {
    const auto silent = silent_crowd();
    CHECK(silent.front().read_to_end().empty());
    CHECK(status_of(get("/")) == "200");
}

TEST_CASE_METHOD(Fixture,
                 "Requests that are sent ahead are answered in turn, and after 17 answers the connection is closed") {
    const Client client{port};
    std::string requests;
    for (int number = 100; number < 130; ++number) {
        requests += "GET /" + std::to_string(number) + " HTTP/1.1\r\nHost: x\r\n\r\n";
    }
    client.send(requests);
    const auto answers = client.read_to_end();
    std::size_t at = 0;
    for (int number = 100; number < 117; ++number) {
        CAPTURE(number);
        at = answers.find("/" + std::to_string(number), at);
        REQUIRE(at != std::string::npos);
    }
    CHECK(answers.find("/117") == std::string::npos);
    CHECK(has(answers, "Connection: close"));
}

TEST_CASE_METHOD(Fixture, "A client that waits for each answer is answered on one connection for as long as it likes") {
    const Client client{port};
    for (int i = 0; i < 100; ++i) {
        client.send("GET /kept HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(status_of(client.read_until("/kept")) == "200");
    }
}

TEST_CASE("Half of the descriptors that a process may have are for connections, from 16 to 512") {
    CHECK(most_connections(0) == 16);
    CHECK(most_connections(32) == 16);
    CHECK(most_connections(256) == 128);
    CHECK(most_connections(1024) == 512);
    CHECK(most_connections(1'048'576) == 512);
}

// Boost.Asio registers each accepted socket with epoll_ctl(2), which can fail with ENOMEM.
TEST_CASE_METHOD(Fixture, "A connection that can't be accepted is closed, and the next one is served") {
    CHECK(status_of(get("/")) == "200");
    // In the thread of the server, which registers the next descriptor that it accepts.
    std::promise<void> planned;
    asio::post(loop, [&planned] {
        tests::epoll_failures() = 1;
        planned.set_value();
    });
    planned.get_future().wait();
    CHECK(Client{port}.read_to_end().empty());
    CHECK(status_of(get("/")) == "200");
}

TEST_CASE("An address that can't be used is an error") {
    asio::io_context loop;
    const auto handler = [](std::string_view) { return HttpResponse{}; };
    HttpServer first{loop, handler};
    HttpServer second{loop, handler};
    CHECK(first.port() == 0);
    REQUIRE_FALSE(first.listen({"127.0.0.1", 0}));
    CHECK(first.port() != 0);
    CHECK(second.listen({"127.0.0.1", first.port()}) == boost::system::errc::address_in_use);
    // TEST-NET-1 is assigned to no host (RFC 5737).
    CHECK(HttpServer{loop, handler}.listen({"192.0.2.1", 0}) == boost::system::errc::address_not_available);
    CHECK(HttpServer{loop, handler}.listen({"not an address", 0}));
}
