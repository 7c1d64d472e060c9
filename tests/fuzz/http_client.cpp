// The HTTP client as a whole, over TCP, against a server that answers anything: http/http_client with curl, and what is made
// of its answers by token/metadata_token_source and health/readiness.
//
// The input is what the server sends, and bytes that act:
//   0x1E  ends a write, so that the client sees what came before by itself
//   0x1F  three seconds pass, of the five that the client has patience
//   0x18  the server resets the connection
#include "http/http_client.hpp"
#include "health/readiness.hpp"

#include "support/simulated_time.hpp"
#include "support/sockets.hpp"
#include "support/token_answer.hpp"

#include <optional>

using namespace supervisor;

namespace {

constexpr std::chrono::seconds more_than_half_of_patience{3};
constexpr std::string_view acts = "\x18\x1e\x1f";

/// A socket that listens on a port of its own, at every address of the machine, those of the loopback among them.
class Listener {
public:
    Listener() {
        auto address = fuzz::loopback(0);
        address.sin_addr.s_addr = htonl(INADDR_ANY);
        socklen_t size = sizeof address;
        fuzz::require(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                          ::listen(socket_, SOMAXCONN) == 0 &&
                          ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
                      "a port is open");
        port_ = ntohs(address.sin_port);
    }

    /// Nothing as long as nobody has connected.
    [[nodiscard]] std::optional<fuzz::Peer> accept() const {
        const int socket = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
        return socket >= 0 ? std::optional<fuzz::Peer>{fuzz::Peer{socket}} : std::nullopt;
    }
    /// As `address:port`, and each time at another address. A connection that has ended keeps its pair of addresses and ports
    /// for a minute (TIME_WAIT), and with one address there would soon be no port left for the next.
    [[nodiscard]] std::string host() const {
        static unsigned number = 0;
        ++number;
        return "127." + std::to_string(number >> 16U & 0x7fU) + '.' + std::to_string(number >> 8U & 0xffU) + '.' +
               std::to_string(number & 0xffU) + ':' + std::to_string(port_);
    }

private:
    int socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    std::uint16_t port_ = 0;
};

/// The requests of one input.
class World {
public:
    World() : request_(token_request(listener_.host(), "scope")) {}

    /// Sends the request, and lets the server answer what the input says.
    Result<HttpAnswer> ask(std::string_view script) {
        std::optional<Result<HttpAnswer>> result;
        client_.get(request_, [&result](const Result<HttpAnswer>& answer) {
            fuzz::require(!result, "a request has one outcome");
            result = answer;
        });
        fuzz::require(!result, "the outcome does not come from within the call");
        std::optional server = accept(result);
        while (server && !script.empty() && !result) {
            const auto end = std::min(script.find_first_of(acts), script.size());
            server->send(script.substr(0, end));
            settle();
            if (end < script.size()) {
                act(script[end], server);
            }
            script.remove_prefix(std::min(end + 1, script.size()));
            if (!server) {
                break;
            }
        }
        if (server) {
            server->send_end();
        }
        for (fuzz::Patience patience; !result && patience.wait();) {
            settle();
        }
        fuzz::require(result.has_value(), "a request has an outcome when the server has closed");
        return *result;
    }

private:
    fuzz::Peer accept(const std::optional<Result<HttpAnswer>>& result) {
        std::optional<fuzz::Peer> server;
        for (fuzz::Patience patience; !server && !result && patience.wait();) {
            settle();
            if (auto connected = listener_.accept()) {
                server.emplace(std::move(*connected));
            }
        }
        fuzz::require(server.has_value(), "a request connects", result && !*result ? result->error().why : "");
        for (fuzz::Patience patience;
             server->received.find("\r\n\r\n") == std::string::npos && !server->closed && patience.wait();) {
            settle();
            server->receive();
        }
        fuzz::require(
            server->received.starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token?") &&
                server->received.find("\r\nMetadata-Flavor: Google\r\n") != std::string::npos,
            "a request is the one that was asked for");
        return std::move(*server);
    }

    void act(char what, std::optional<fuzz::Peer>& server) {
        if (what == '\x1f') {
            fuzz::let_pass(more_than_half_of_patience);
        } else if (what == '\x18') {
            server.reset();
        }
        settle();
    }

    void settle() {
        loop_.restart();
        while (loop_.poll() > 0) {
        }
    }

    static const Listener listener_;
    boost::asio::io_context loop_{};
    HttpClient client_{loop_};
    HttpRequest request_;
};

const Listener World::listener_{};

void require_outcome(const Result<HttpAnswer>& result) {
    const auto fault = judge_readiness(result, /*is_prefect=*/true);
    fuzz::require(!fault || fuzz::is_one_line(fault->why), "a fault is one line");
    if (!result) {
        fuzz::require(!result.error().why.empty(), "a fault says why");
        return;
    }
    fuzz::require(result->status >= 0 && result->status <= 999, "a status has three digits");
    fuzz::require(result->body.size() <= std::size_t{64} * 1024, "a body is within its limit");
    fuzz::require(!result->retry_after || result->retry_after->count() > 0, "a server asks for patience or does not");
    for (const auto& [name, value] : result->headers) {
        fuzz::require(name == "Metadata-Flavor", "only the headers that were asked for are there");
    }
    fuzz::require_contract(*result);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    World world;
    require_outcome(world.ask(fuzz::as_text(data, size)));
    const auto honest = world.ask(
        "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 41\r\n\r\n"
        R"({"access_token":"ya29.x","expires_in":60})");
    fuzz::require(honest && read_token(*honest), "an honest answer brings a token, whatever came before",
                  honest ? "" : honest.error().why);
    return 0;
}
