#pragma once

#include "base/fault.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/signalfd.h>

#include <functional>
#include <optional>
#include <string>

namespace supervisor {

/// Receives the signals that are sent to us on the loop, by signalfd(2): there is no signal handler anywhere, so a child
/// between fork and exec cannot run one.
class SignalReceiver {
public:
    using OnSignal = std::function<void(int number)>;
    using OnFailure = std::function<void(const std::string& why)>;

    explicit SignalReceiver(boost::asio::io_context& loop) : descriptor_(loop) {}
    SignalReceiver(const SignalReceiver&) = delete;
    SignalReceiver& operator=(const SignalReceiver&) = delete;

    /// Calls `on_signal` for each signal of handled_signals(), which must be blocked already. `on_failure` is called once
    /// if no more signals can be read.
    std::optional<Fault> start(OnSignal on_signal, OnFailure on_failure);

private:
    void read_next();

    boost::asio::posix::stream_descriptor descriptor_;
    OnSignal on_signal_{};
    OnFailure on_failure_{};
    signalfd_siginfo signal_{};
};

}  // namespace supervisor
