#pragma once

#include "base/clock.hpp"
#include "base/freeze_detector.hpp"
#include "base/log.hpp"
#include "child/child.hpp"
#include "child/signal_receiver.hpp"
#include "config/settings.hpp"
#include "database/database_wait.hpp"
#include "delivery/token_delivery.hpp"
#include "health/health_report.hpp"
#include "health/readiness_checker.hpp"
#include "http/http_client.hpp"
#include "http/http_server.hpp"
#include "metrics_collector.hpp"
#include "token/token_refresher.hpp"
#include "token/token_source.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace supervisor {

/// Runs the child and keeps its token fresh until the child has ended or we are told to end. It wires the parts
/// together on one loop and one thread, and passes on what one part reports to the part that acts on it.
class Supervisor final : private TokenRefresher::Listener,
                         private DatabaseWait::Listener,
                         private TokenDelivery::Listener,
                         private Child::Listener {
public:
    /// The outside of the program: the real processes, clock and HTTP client in main(), simulated ones in a test.
    struct Outside {
        HttpGet get;
        ProcessCalls& processes;
        Clock clock;
        Route route{};  ///< of requests by HTTPS, for the sources of tokens that need it
    };

    Supervisor(boost::asio::io_context& loop, Settings settings, Environment environment, Log& log, Outside outside);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

    /// Runs until the end and returns the exit code, --map-exit applied. The signals of handled_signals() must be
    /// blocked already, so that none is lost before.
    int run();

    /// A signal was sent to us.
    void on_signal(int number);
    /// A probe asks for `path`.
    HttpResponse on_probe(std::string_view path);

private:
    bool start();
    void run_loop();
    void start_when_possible();

    /// Does what is due and sleeps until the next thing is. Called after every event, and by the timer.
    void tick();
    void resume_after_freeze(Moment now);
    void wake_after(milliseconds sleep);

    void on_answered(std::optional<Freshness> meaning, milliseconds took) override;
    void on_fresh(Moment now) override;
    void on_deadline(const std::string& why) override;
    void on_database_reached() override;
    void on_database_unreachable() override;
    void on_rotated() override;
    void on_delivery_failed() override;
    Result<Environment> environment_for_child() override;
    void on_started(Moment now) override;
    void on_handed_over(Moment now) override;
    void on_drained(milliseconds took) override;
    void on_rotation_failed() override;
    void on_leaving() override;
    void on_exit(int code) override;

    void fail(const std::string& why);
    void finish(int code);
    [[nodiscard]] bool waits_to_start() const { return !child_.was_started() && !child_.is_ending(); }
    [[nodiscard]] bool tends_token() const { return settings_.use_token && !child_.is_ending(); }

    boost::asio::io_context& loop_;
    Settings settings_;
    Environment environment_;
    Log& log_;
    HttpGet get_;  ///< the outside's, followed by a tick()
    Clock clock_;
    FreezeDetector freeze_detector_;
    MetricsCollector metrics_;
    std::minstd_rand random_{std::random_device{}()};

    std::unique_ptr<TokenSource> token_source_;
    TokenRefresher token_;
    DatabaseWait database_;
    TokenDelivery delivery_;
    Child child_;
    ReadinessChecker readiness_;
    SignalReceiver signals_;
    HttpServer health_server_;
    boost::asio::steady_timer wake_timer_;

    bool failed_ = false;  ///< the supervisor itself failed: the child is ended, and the exit code is 1
    int exit_code_ = 0;
};

}  // namespace supervisor
