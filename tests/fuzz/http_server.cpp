// The HTTP server as a whole with the real answers, over TCP, with several clients and with time: http/http_server.
//
// The input is what clients send, and four bytes that act:
//   0x1C  another client connects, and sends what follows
//   0x1D  the next one of the clients sends what follows
//   0x1E  ends a write, so that the server sees what came before by itself
//   0x1F  six seconds pass, which is more than the server has patience
//   0x1A  the client says that it sends no more
//   0x18  the client resets its connection
#include "http/http_server.hpp"
#include "health/health_report.hpp"
#include "health/metrics.hpp"

#include "support/simulated_time.hpp"
#include "support/sockets.hpp"

#include <charconv>
#include <deque>
#include <optional>
#include <set>
#include <vector>

using namespace supervisor;

namespace {

constexpr std::size_t most_connections_of_server = 8;
constexpr std::size_t most_clients = 12;
constexpr std::chrono::seconds more_than_patience{6};
constexpr std::string_view acts = "\x1a\x18\x1c\x1d\x1e\x1f";

HttpResponse answer(std::string_view path) {
    fuzz::require(path.starts_with('/') && path.find('?') == std::string_view::npos,
                  "a handler gets a path that begins with a slash and has no query");
    const HealthFacts facts{.phase = Phase::running, .child_pid = 7, .child_ready = true, .ever_ready = true};
    return path == "/metrics" ? metrics_answer(Metrics{}, RotationMode::restart, facts, ProcessUsage{})
                              : health_answer(path, facts);
}

/// The status and the length of the answer that `rest` begins with, whose head is taken off.
std::optional<std::pair<std::string_view, std::size_t>> take_head(std::string_view& rest) {
    const auto end = rest.find("\r\n\r\n");
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    const auto head = rest.substr(0, end + 2);
    rest.remove_prefix(end + 4);
    fuzz::require(head.starts_with("HTTP/1.1 ") && head.size() > 12, "an answer begins with version and status");
    constexpr std::string_view name = "\r\nContent-Length: ";
    const auto at = head.find(name);
    std::size_t length = 0;
    fuzz::require(at != std::string_view::npos, "an answer says how long it is");
    std::from_chars(head.data() + at + name.size(), head.data() + head.size(), length);
    return std::pair{head.substr(9, 3), length};
}

std::size_t count(std::string_view text, std::string_view word) {
    std::size_t times = 0;
    for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
        ++times;
    }
    return times;
}

/// Everything that a client has received. The last answer may be cut off, because its connection was closed for another one.
void require_answers(const fuzz::Peer& client) {
    static const std::set<std::string_view> of_handler{"200", "404", "503"};
    static const std::set<std::string_view> of_server{"400", "405", "408", "413", "431"};
    std::size_t handled = 0;
    bool refused = false;
    for (std::string_view rest = client.received; !rest.empty();) {
        fuzz::require(!refused, "nothing follows on a request that was refused");
        const auto head = take_head(rest);
        if (!head) {
            break;
        }
        refused = of_server.contains(head->first);
        fuzz::require(refused || of_handler.contains(head->first), "an answer has one of the documented statuses");
        handled += refused ? 0U : 1U;
        // No body of ours looks like an answer, so this was one to HEAD.
        if (!rest.starts_with("HTTP/1.1 ")) {
            rest.remove_prefix(std::min(rest.size(), head->second));
        }
    }
    fuzz::require(handled <= count(client.sent, "GET ") + count(client.sent, "HEAD "),
                  "only GET and HEAD are answered, and each of them once");
}

/// A server of its own for one input, and its clients.
class World {
public:
    World() {
        fuzz::require(!server_.listen({"127.0.0.1", 0}), "the server listens");
        clients_.push_back(fuzz::connect_to(server_.port()));
    }

    void act(char what) {
        switch (what) {
            case '\x1c':
                if (clients_.size() < most_clients) {
                    clients_.push_back(fuzz::connect_to(server_.port()));
                    chosen_ = clients_.size() - 1;
                }
                break;
            case '\x1d': chosen_ = (chosen_ + 1) % clients_.size(); break;
            case '\x1f': fuzz::let_pass(more_than_patience); break;
            case '\x1a': clients_[chosen_].send_end(); break;
            case '\x18': {
                // What it had received until then counts, too.
                require_answers(clients_[chosen_]);
                const fuzz::Peer gone{std::move(clients_[chosen_])};
                clients_[chosen_].closed = true;
                break;
            }
            default: break;
        }
        settle();
    }

    void send(std::string_view bytes) {
        clients_[chosen_].send(bytes);
        settle();
    }

    /// Whatever the others do, a client that asks is answered.
    void ask_honestly() {
        auto client = fuzz::connect_to(server_.port());
        client.send("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        for (fuzz::Patience patience; !client.closed && patience.wait();) {
            settle();
            client.receive();
        }
        fuzz::require(client.received.starts_with("HTTP/1.1 200 ") && client.received.ends_with("\r\n\r\nok\n"),
                      "an honest request is answered");
    }

    /// A client costs no more than the time for a request, the time to read its refusal, and no more.
    void require_ends() {
        for (int i = 0; i < 3; ++i) {
            fuzz::let_pass(more_than_patience);
            settle();
        }
        for (auto& client : clients_) {
            for (fuzz::Patience patience; !client.closed && patience.wait();) {
                settle();
            }
            fuzz::require(client.closed, "every connection has its end");
            bool gone = client.is_gone();
            for (fuzz::Patience patience; !gone && patience.wait(); gone = client.is_gone()) {
                settle();
            }
            fuzz::require(gone, "nothing is left of a connection");
            require_answers(client);
        }
    }

private:
    /// Until there is nothing more to do for anybody.
    void settle() {
        for (bool busy = true; busy;) {
            busy = loop_.poll() > 0;
            for (auto& client : clients_) {
                busy = client.receive() || busy;
            }
        }
    }

    boost::asio::io_context loop_{};
    HttpServer server_{loop_, answer, most_connections_of_server};
    std::deque<fuzz::Peer> clients_{};
    std::size_t chosen_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    World world;
    for (auto rest = fuzz::as_text(data, size); !rest.empty();) {
        const auto end = std::min(rest.find_first_of(acts), rest.size());
        if (end > 0) {
            world.send(rest.substr(0, end));
        }
        if (end < rest.size()) {
            world.act(rest[end]);
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    world.ask_honestly();
    world.require_ends();
    return 0;
}
