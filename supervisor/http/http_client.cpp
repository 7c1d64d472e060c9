#include "http/http_client.hpp"

#include "http/http_transfer.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <curl/curl.h>

#include <new>
#include <utility>

namespace supervisor {
namespace {

struct FreeMulti {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

/// A socket that curl wants to be watched. The descriptor stays curl's: it is released, never closed here.
struct Watch {
    explicit Watch(boost::asio::io_context& loop) : descriptor(loop) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        if (descriptor.is_open()) {
            descriptor.release();
        }
    }

    boost::asio::posix::stream_descriptor descriptor;
    CURL* transfer = nullptr;  ///< the one that uses the socket; connections are not shared
    int wanted = CURL_POLL_NONE;
    bool waiting_to_read = false;
    bool waiting_to_write = false;
};

}  // namespace

/// Everything here runs in handlers of the loop, and some of it is called by curl, through which no exception may pass:
/// whatever fails, and epoll_ctl(2) can, becomes the fault of the request in question.
///
/// Each handler holds the object weakly, because a handler that is queued already can't be cancelled.
struct HttpClient::Transfers : std::enable_shared_from_this<HttpClient::Transfers> {
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
        auto transfer = std::make_unique<Transfer>(std::move(request), std::move(done));
        CURL* easy = transfer->easy.get();
        if (easy == nullptr || multi == nullptr) {
            fail(std::move(transfer), curl_easy_strerror(CURLE_OUT_OF_MEMORY));
            return;
        }
        set_up(*transfer);
        const auto code = curl_multi_add_handle(multi.get(), easy);
        if (code != CURLM_OK) {
            fail(std::move(transfer), curl_multi_strerror(code));
            return;
        }
        active.emplace(easy, std::move(transfer));
    }

    void fail(std::unique_ptr<Transfer> transfer, const char* why) {
        transfer->own_fault = std::string{"can't start the request: "} + why;
        report(std::move(transfer), CURLE_OK);
    }

    static int on_socket(CURL* easy, curl_socket_t socket, int what, void* user, void*) {
        auto& self = *static_cast<Transfers*>(user);
        if (what == CURL_POLL_REMOVE) {
            // The release must come before curl closes the socket: a handler may hold the watch a little longer, when the
            // number may already be another socket's.
            if (const auto node = self.watches.extract(socket)) {
                node.mapped()->descriptor.release();
            }
            return 0;
        }
        try {
            self.watch(easy, socket, what);
        } catch (const std::bad_alloc&) {
            // The reason is short enough to need no memory of its own.
            self.watches.erase(socket);
            self.give_up(easy, "no memory");
        }
        return 0;
    }

    void watch(CURL* easy, curl_socket_t socket, int what) {
        auto& watch = watches[socket];
        if (!watch) {
            auto fresh = std::make_shared<Watch>(loop);
            boost::system::error_code error;
            fresh->descriptor.assign(socket, error);
            if (error) {
                watches.erase(socket);
                give_up(easy, "can't watch the connection: " + error.message());
                return;
            }
            watch = std::move(fresh);
        }
        watch->transfer = easy;
        watch->wanted = what;
        wait(socket, watch);
    }

    /// Called by curl, which does not let a transfer be removed from within a callback: advance() removes it.
    /// A -1 for curl would fail every other transfer, too (CURLMOPT_SOCKETFUNCTION(3)).
    void give_up(CURL* easy, std::string why) {
        const auto transfer = active.find(easy);
        if (transfer != active.end()) {
            transfer->second->own_fault = std::move(why);
            given_up.push_back(easy);
        }
    }

    static int on_timer(CURLM*, long delay, void* user) {
        auto& self = *static_cast<Transfers*>(user);
        self.timer.cancel();
        if (delay >= 0) {
            self.timer.expires_after(std::chrono::milliseconds{delay});
            self.timer.async_wait([weak = self.weak_from_this()](boost::system::error_code error) {
                const auto still_there = weak.lock();
                if (!error && still_there) {
                    still_there->advance(CURL_SOCKET_TIMEOUT, 0);
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

    /// The handler of one readiness. It holds the watch weakly: curl may have taken the socket back in the meantime, and
    /// the number may already be another socket's. A watch never outlives the Transfers that `this` points to.
    std::function<void(boost::system::error_code)> ready(curl_socket_t socket, std::weak_ptr<Watch> weak,
                                                         int direction) {
        return [this, socket, weak = std::move(weak), direction](boost::system::error_code error) {
            const auto watch = weak.lock();
            if (error == boost::asio::error::operation_aborted || !watch) {
                return;
            }
            (direction == CURL_CSELECT_IN ? watch->waiting_to_read : watch->waiting_to_write) = false;
            if (error) {
                // To ask again would fail again at once, and the loop would spin until the request times out.
                give_up(watch->transfer, "can't watch the connection: " + error.message());
                finish_given_up();
                return;
            }
            const int wanted = direction == CURL_CSELECT_IN ? CURL_POLL_IN : CURL_POLL_OUT;
            if ((watch->wanted & wanted) == 0) {
                return;
            }
            advance(socket, direction);
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
        finish_given_up();
    }

    void finish_given_up() {
        for (CURL* easy : std::exchange(given_up, {})) {
            finish(easy, CURLE_OK);
        }
    }

    void finish(CURL* easy, CURLcode code) {
        auto node = active.extract(easy);
        if (node) {
            curl_multi_remove_handle(multi.get(), easy);
            report(std::move(node.mapped()), code);
        }
    }

    /// Posted, so that the caller may start its next request from within `done`.
    void report(std::unique_ptr<Transfer> transfer, CURLcode code) {
        transfer->result = outcome(*transfer, code);
        boost::asio::post(loop, [weak = weak_from_this(), transfer = std::move(transfer)] {
            if (weak.lock()) {
                transfer->done(transfer->result);
            }
        });
    }

    boost::asio::io_context& loop;
    boost::asio::steady_timer timer;
    std::map<curl_socket_t, std::shared_ptr<Watch>> watches;
    std::map<CURL*, std::unique_ptr<Transfer>> active;
    std::vector<CURL*> given_up;
    std::unique_ptr<CURLM, FreeMulti> multi{curl_multi_init()};
};

HttpClient::HttpClient(boost::asio::io_context& loop) : transfers_(std::make_shared<Transfers>(loop)) {}
HttpClient::~HttpClient() = default;

void HttpClient::get(HttpRequest request, HttpDone done) { transfers_->start(std::move(request), std::move(done)); }

}  // namespace supervisor
