#include "child/signal_receiver.hpp"

#include "child/signal_table.hpp"

#include <boost/asio/buffer.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace supervisor {

using boost::system::error_code;

std::optional<Fault> SignalReceiver::start(OnSignal on_signal, OnFailure on_failure) {
    on_signal_ = std::move(on_signal);
    on_failure_ = std::move(on_failure);
    const auto signals = handled_signals();
    const int descriptor = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (descriptor < 0) {
        return Fault{std::string{"can't receive signals by signalfd: "} + std::strerror(errno)};
    }
    error_code error;
    descriptor_.assign(descriptor, error);
    if (error) {
        ::close(descriptor);
        return Fault{"can't watch the descriptor of signalfd: " + error.message()};
    }
    read_next();
    return std::nullopt;
}

void SignalReceiver::read_next() {
    descriptor_.async_read_some(boost::asio::buffer(&signal_, sizeof signal_), [this](error_code error, std::size_t) {
        if (error) {
            on_failure_("can't receive signals: " + error.message());
            return;
        }
        // The next read is started first, so that no consequence of this signal can prevent it.
        const auto number = static_cast<int>(signal_.ssi_signo);
        read_next();
        on_signal_(number);
    });
}

}  // namespace supervisor
