#include "failing_epoll.hpp"
#include "http/http_client.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch_test_macros.hpp>
#include <malloc.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr std::string_view secret_word = "ya29.a-word-that-nothing-else-has";
bool watches_for_secret = false;
int freed_with_secret = 0;

void look_and_free(void* memory) noexcept {
    if (watches_for_secret && memory != nullptr &&
        ::memmem(memory, ::malloc_usable_size(memory), secret_word.data(), secret_word.size()) != nullptr) {
        ++freed_with_secret;
    }
    std::free(memory);
}

}  // namespace

// All memory that C++ code frees passes through here.
void* operator new(std::size_t size) {
    if (void* memory = std::malloc(size)) {
        return memory;
    }
    throw std::bad_alloc{};
}
void operator delete(void* memory) noexcept { look_and_free(memory); }
void operator delete(void* memory, std::size_t) noexcept { look_and_free(memory); }

namespace {

/// A server on loopback that reads a request's header and answers with the text it was given, then closes.
class Server {
public:
    Server(asio::io_context& loop, std::string answer, std::chrono::milliseconds delay = 0ms)
        : acceptor_(loop, tcp::endpoint{asio::ip::address_v4::loopback(), 0}),
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

    tcp::acceptor acceptor_;
    std::string answer_;
    std::chrono::milliseconds delay_;
    std::vector<std::string> requests_{};
};

/// A server whose loop is not the client's, in a thread of its own.
class ThreadedServer {
public:
    explicit ThreadedServer(std::string answer, std::chrono::milliseconds delay = 0ms)
        : server_(loop_, std::move(answer), delay), thread_([this] { loop_.run(); }) {}
    ThreadedServer(const ThreadedServer&) = delete;
    ThreadedServer& operator=(const ThreadedServer&) = delete;
    ~ThreadedServer() {
        loop_.stop();
        thread_.join();
    }

    [[nodiscard]] std::string url() const { return server_.url(); }
    /// Whether a request has come. Asked in the server's thread, which alone may look.
    [[nodiscard]] bool was_asked() const {
        std::promise<bool> asked;
        asio::post(loop_, [&] { asked.set_value(!server_.requests().empty()); });
        return asked.get_future().get();
    }

private:
    mutable asio::io_context loop_{};
    Server server_;
    std::thread thread_;
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

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator entries{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

/// The server's thread closes its end of a connection a little later than the client does, so this waits for it.
bool own_descriptors_are(std::size_t number) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (open_descriptors() != number && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(10ms);
    }
    return open_descriptors() == number;
}

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

// curl's text for this one repeats what the server sent (lib/content_encoding.c, Curl_build_unencoding_stack()).
TEST_CASE_METHOD(Fixture, "A fault is printable, whatever the server sends") {
    const Server server{loop, http("200 OK", "Transfer-Encoding: a\x1b[31m\xff-\r\n", "")};
    const auto answer = get({.url = server.url()});
    REQUIRE_FALSE(answer.has_value());
    CHECK(answer.error().why.find("(a?[31m?-)") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "A connection alone sends nothing, is closed, and leaves no descriptor") {
    Server server{loop, "nothing"};
    const auto answer = get({.url = server.url(), .connect_only = true});
    REQUIRE(answer.has_value());
    CHECK(answer->status == 0);
    CHECK(answer->body.empty());
    const auto before = open_descriptors();
    for (int i = 0; i < 10; ++i) {
        CHECK(get({.url = server.url(), .connect_only = true}).has_value());
    }
    CHECK(open_descriptors() <= before);
    CHECK(server.requests().empty());
}

TEST_CASE_METHOD(Fixture, "A refused connection says so") {
    const auto url = [&] {
        const Server gone{loop, ""};
        return gone.url();
    }();
    for (const bool connect_only : {false, true}) {
        const auto answer = get({.url = url, .connect_only = connect_only});
        REQUIRE(answer.has_error());
        CHECK(answer.error().why.starts_with("Failed to connect to 127.0.0.1"));
        CHECK(answer.error().why.ends_with("(Connection refused)"));
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

// curl tries ::1 first, where no process listens, and then a new socket with the old one's number.
TEST_CASE_METHOD(Fixture, "A host of two addresses of which one refuses answers as fast as any") {
    Server server{loop, http("200 OK", "", "here")};
    auto shortest = std::chrono::steady_clock::duration::max();
    for (int i = 0; i < 20; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        const auto answer = get({.url = server.url("localhost")});
        shortest = std::min(shortest, std::chrono::steady_clock::now() - begin);
        REQUIRE(answer.has_value());
    }
    // The lost event made each of them wait for a timer of at least 200 ms. A busy machine delays some, and not all.
    CHECK(shortest < 200ms);
}

TEST_CASE("A client that goes away takes its requests with it") {
    asio::io_context loop;
    Server server{loop, http("200 OK", "", "late"), 50ms};
    bool done = false;
    {
        HttpClient client{loop};
        client.get({.url = server.url()}, [&done](const Result<HttpAnswer>&) { done = true; });
        while (server.requests().empty()) {
            REQUIRE(loop.run_one_for(20s) == 1);
        }
    }
    // Long enough for the answer of a server that is not delayed; the callback must not be called at any later time either.
    loop.run_for(100ms);
    CHECK_FALSE(done);
}

// Boost.Asio registers a descriptor by epoll_ctl(2), which fails with ENOMEM or, beyond
// /proc/sys/fs/epoll/max_user_watches, with ENOSPC.
TEST_CASE_METHOD(Fixture, "A connection that can't be watched is the fault of its request alone") {
    const ThreadedServer server{http("200 OK", "", "hello")};
    const auto before = open_descriptors();
    REQUIRE(get({.url = server.url()}).has_value());
    for (int i = 0; i < 3; ++i) {
        tests::epoll_failures() = 1;
        const auto answer = get({.url = server.url()});
        REQUIRE(tests::epoll_failures() == 0);
        REQUIRE_FALSE(answer.has_value());
        CHECK(answer.error().why == "can't watch the connection: Cannot allocate memory");
        CHECK(own_descriptors_are(before));
    }
    CHECK(get({.url = server.url()}).has_value());
}

TEST_CASE_METHOD(Fixture, "A request goes on while another one's connection can't be watched") {
    const ThreadedServer slow{http("200 OK", "", "slow"), 200ms};
    const ThreadedServer server{http("200 OK", "", "hello")};
    std::optional<Result<HttpAnswer>> slow_answer;
    client.get({.url = slow.url(), .timeout = 20s},
               [&slow_answer](const Result<HttpAnswer>& answer) { slow_answer = answer; });
    while (!slow.was_asked()) {
        loop.run_one_for(10ms);
    }
    tests::epoll_failures() = 1;
    CHECK_FALSE(get({.url = server.url()}).has_value());
    loop.restart();
    while (!slow_answer) {
        REQUIRE(loop.run_one_for(20s) > 0);
    }
    REQUIRE(slow_answer->has_value());
    CHECK((*slow_answer)->body == "slow");
}

// What curl itself frees is not looked at: its receive buffer is out of our reach.
TEST_CASE_METHOD(Fixture, "No memory that is freed still holds the body") {
    std::string body;
    while (body.size() < 20'000) {
        body.append("not the word ");
    }
    body.insert(15'000, secret_word);
    Server server{loop, http("200 OK", "", body)};
    bool was_there = false;
    freed_with_secret = 0;
    watches_for_secret = true;
    client.get({.url = server.url()}, [&was_there](const Result<HttpAnswer>& answer) {
        was_there = answer && answer->body.find(secret_word) != std::string::npos;
    });
    while (!was_there) {
        REQUIRE(loop.run_one_for(20s) > 0);
    }
    watches_for_secret = false;
    CHECK(freed_with_secret == 0);
}

TEST_CASE("A client that ends between an answer and its report reports nothing") {
    asio::io_context loop;
    int done = 0;
    std::optional<HttpClient> client{std::in_place, loop};
    // curl refuses both at the same time, so that both reports are queued when the first one ends the client.
    for (int i = 0; i < 2; ++i) {
        client->get({.url = "ftp://127.0.0.1/"}, [&](const Result<HttpAnswer>& answer) {
            CHECK_FALSE(answer.has_value());
            ++done;
            client.reset();
        });
    }
    loop.run_for(20s);
    CHECK(done == 1);
}
