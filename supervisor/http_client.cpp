#include "http_client.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <curl/curl.h>

#include <array>

namespace supervisor {
namespace {

struct FreeEasy {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// One request under way, from get() to its `done`.
struct Transfer {
    HttpRequest request;
    HttpDone done;
    std::unique_ptr<CURL, FreeEasy> easy{curl_easy_init()};
    std::unique_ptr<curl_slist, FreeList> headers{};
    std::string body{};
    bool body_too_large = false;
    std::array<char, CURL_ERROR_SIZE> error{};
};

std::size_t take_body(char* data, std::size_t, std::size_t size, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    if (transfer.body.size() + size > transfer.request.max_body) {
        transfer.body_too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    transfer.body.append(data, size);
    return size;
}

void set_up(Transfer& transfer) {
    CURL* easy = transfer.easy.get();
    const auto& request = transfer.request;
    for (const auto& line : request.headers) {
        transfer.headers.reset(curl_slist_append(transfer.headers.release(), line.c_str()));
    }
    curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    // The empty string switches proxies off, also those of the environment (curl's documentation of CURLOPT_PROXY).
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    // Without it curl joins the resolver's thread when a request times out or is removed, and the whole loop waits until
    // getaddrinfo() gives up (Curl_async_thrdd_shutdown() in curl's lib/asyn-thrdd.c). With it the thread is detached and
    // frees its data itself.
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
}

Result<HttpAnswer> outcome(Transfer& transfer, CURLcode code) {
    if (transfer.body_too_large) {
        return Fault{"the answer's body is longer than " + std::to_string(transfer.request.max_body) + " bytes"};
    }
    if (code != CURLE_OK) {
        return Fault{transfer.error[0] != '\0' ? transfer.error.data() : curl_easy_strerror(code)};
    }
    HttpAnswer answer;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &answer.status);
    curl_off_t retry_after = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RETRY_AFTER, &retry_after);
    if (retry_after > 0) {
        answer.retry_after = std::chrono::seconds{retry_after};
    }
    for (const auto& name : transfer.request.answer_headers) {
        curl_header* header = nullptr;
        if (curl_easy_header(transfer.easy.get(), name.c_str(), 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
            answer.headers.emplace(name, header->value);
        }
    }
    answer.body = std::move(transfer.body);
    return answer;
}

/// A socket that curl wants to be watched. The descriptor stays curl's: it is released, never closed here.
struct Watch {
    Watch(boost::asio::io_context& loop, curl_socket_t socket) : descriptor(loop, socket) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        if (descriptor.is_open()) {
            descriptor.release();
        }
    }

    boost::asio::posix::stream_descriptor descriptor;
    int wanted = CURL_POLL_NONE;
    bool waiting_to_read = false;
    bool waiting_to_write = false;
};

}  // namespace

struct HttpClient::Transfers {
    explicit Transfers(boost::asio::io_context& io) : loop(io), timer(io) {
        curl_multi_setopt(multi.get(), CURLMOPT_SOCKETFUNCTION, &Transfers::on_socket);
        curl_multi_setopt(multi.get(), CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(multi.get(), CURLMOPT_TIMERFUNCTION, &Transfers::on_timer);
        curl_multi_setopt(multi.get(), CURLMOPT_TIMERDATA, this);
    }

    Transfers(const Transfers&) = delete;
    Transfers& operator=(const Transfers&) = delete;

    ~Transfers() {
        for (auto& [easy, transfer] : active) {
            curl_multi_remove_handle(multi.get(), easy);
        }
    }

    void start(HttpRequest request, HttpDone done) {
        auto transfer = std::make_unique<Transfer>(Transfer{std::move(request), std::move(done)});
        set_up(*transfer);
        CURL* easy = transfer->easy.get();
        active.emplace(easy, std::move(transfer));
        curl_multi_add_handle(multi.get(), easy);
    }

    static int on_socket(CURL*, curl_socket_t socket, int what, void* user, void*) {
        auto& self = *static_cast<Transfers*>(user);
        if (what == CURL_POLL_REMOVE) {
            // Now, before curl closes it: a handler may hold the watch a little longer than the number is this socket's.
            if (const auto node = self.watches.extract(socket)) {
                node.mapped()->descriptor.release();
            }
            return 0;
        }
        auto& watch = self.watches[socket];
        if (!watch) {
            watch = std::make_shared<Watch>(self.loop, socket);
        }
        watch->wanted = what;
        self.wait(socket, watch);
        return 0;
    }

    static int on_timer(CURLM*, long delay, void* user) {
        auto& self = *static_cast<Transfers*>(user);
        self.timer.cancel();
        if (delay >= 0) {
            self.timer.expires_after(std::chrono::milliseconds{delay});
            self.timer.async_wait([&self](boost::system::error_code error) {
                if (!error) {
                    self.advance(CURL_SOCKET_TIMEOUT, 0);
                }
            });
        }
        return 0;
    }

    void wait(curl_socket_t socket, const std::shared_ptr<Watch>& watch) {
        using boost::asio::posix::stream_descriptor;
        if ((watch->wanted & CURL_POLL_IN) != 0 && !watch->waiting_to_read) {
            watch->waiting_to_read = true;
            watch->descriptor.async_wait(stream_descriptor::wait_read, ready(socket, watch, CURL_CSELECT_IN));
        }
        if ((watch->wanted & CURL_POLL_OUT) != 0 && !watch->waiting_to_write) {
            watch->waiting_to_write = true;
            watch->descriptor.async_wait(stream_descriptor::wait_write, ready(socket, watch, CURL_CSELECT_OUT));
        }
    }

    /// The handler of one readiness. It holds the watch weakly: curl may have taken the socket back meanwhile, and
    /// the number may already be another socket's.
    std::function<void(boost::system::error_code)> ready(curl_socket_t socket, std::weak_ptr<Watch> weak,
                                                         int direction) {
        return [this, socket, weak = std::move(weak), direction](boost::system::error_code error) {
            const auto watch = weak.lock();
            if (error == boost::asio::error::operation_aborted || !watch) {
                return;
            }
            (direction == CURL_CSELECT_IN ? watch->waiting_to_read : watch->waiting_to_write) = false;
            const int wanted = direction == CURL_CSELECT_IN ? CURL_POLL_IN : CURL_POLL_OUT;
            if ((watch->wanted & wanted) == 0) {
                return;
            }
            advance(socket, error ? CURL_CSELECT_ERR : direction);
            const auto still = watches.find(socket);
            if (still != watches.end() && still->second == watch) {
                wait(socket, watch);
            }
        };
    }

    void advance(curl_socket_t socket, int events) {
        int running = 0;
        curl_multi_socket_action(multi.get(), socket, events, &running);
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
            if (message->msg == CURLMSG_DONE) {
                finish(message->easy_handle, message->data.result);
            }
        }
    }

    void finish(CURL* easy, CURLcode code) {
        curl_multi_remove_handle(multi.get(), easy);
        const auto node = active.extract(easy);
        auto& transfer = *node.mapped();
        // Posted, so that the caller may start its next request from within `done`.
        boost::asio::post(loop, [done = std::move(transfer.done), result = outcome(transfer, code)] { done(result); });
    }

    boost::asio::io_context& loop;
    boost::asio::steady_timer timer;
    std::map<curl_socket_t, std::shared_ptr<Watch>> watches;
    std::map<CURL*, std::unique_ptr<Transfer>> active;
    std::unique_ptr<CURLM, FreeMulti> multi{curl_multi_init()};
};

HttpClient::HttpClient(boost::asio::io_context& loop) : transfers_(std::make_unique<Transfers>(loop)) {}
HttpClient::~HttpClient() = default;

void HttpClient::get(HttpRequest request, HttpDone done) { transfers_->start(std::move(request), std::move(done)); }

}  // namespace supervisor
