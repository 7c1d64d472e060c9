#include "supervisor.hpp"

#include "announcement.hpp"
#include "check.hpp"
#include "child/exit_code_mapping.hpp"
#include "child/processes.hpp"
#include "child/signal_table.hpp"
#include "credentials.hpp"
#include "health_facts.hpp"

#include <boost/asio/post.hpp>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <utility>

namespace supervisor {
namespace {

constexpr milliseconds pause_without_signals{100};

Child::Options child_options(const Settings& settings) {
    Child::Options options{.command = settings.command, .single_child = settings.single_child};
    options.timeouts = {.drain_timeout = settings.drain_timeout,
                        .stop_timeout = settings.stop_timeout,
                        .stop_delay = settings.stop_delay,
                        .start_deadline = settings.start_deadline};
    options.rolling = settings.is_rolling();
    if (options.rolling || settings.runs_prefect || (settings.ready_url_is_prefect && settings.ready_url)) {
        options.port = settings.port;
        options.needs_port = options.rolling || settings.runs_prefect;
    }
    return options;
}

DatabaseWait::Options database_options(const Settings& settings) {
    return {.database = {settings.database.host, settings.database.port},
            .patience = settings.use_token ? settings.db_wait : std::nullopt,
            .once = settings.check_only};
}

}  // namespace

Supervisor::Supervisor(boost::asio::io_context& loop, Settings settings, Environment environment, Log& log,
                       Outside outside)
    : loop_(loop),
      settings_(std::move(settings)),
      environment_(std::move(environment)),
      log_(log),
      get_([this, get = std::move(outside.get)](HttpRequest request, HttpDone done) {
          get(std::move(request), [this, done = std::move(done)](const Result<HttpAnswer>& answer) {
              done(answer);
              tick();
          });
      }),
      clock_(std::move(outside.clock)),
      freeze_detector_(clock_()),
      metrics_(clock_()),
      token_source_(choose_token_source(settings_, {.get = get_,
                                                    .later =
                                                        [this](std::function<void()> action) {
                                                            boost::asio::post(loop_,
                                                                              [this, action = std::move(action)] {
                                                                                  action();
                                                                                  tick();
                                                                              });
                                                        },
                                                    .clock = clock_,
                                                    .route = std::move(outside.route)})),
      token_({settings_.refresh_interval, settings_.start_deadline}, *token_source_, *this, log_, clock_,
             [this] { return std::uniform_real_distribution<double>{0.0, 1.0}(random_); }),
      database_(database_options(settings_), get_, *this, log_, clock_),
      delivery_(settings_, environment_, password_file_directories(std::getenv("TMPDIR")), *this, log_),
      child_(child_options(settings_), outside.processes, *this, log_, clock_),
      readiness_(settings_.ready_url, settings_.ready_url_is_prefect, get_, log_, clock_),
      signals_(loop),
      health_server_(loop, [this](std::string_view path) { return on_probe(path); }),
      wake_timer_(loop) {}

// --- from the start to the end --------------------------------------------------------------------------------------

int Supervisor::run() {
    announce(settings_, log_);
    if (!start()) {
        return 1;
    }
    run_loop();
    if (failed_) {
        // Whatever the failure kept from being ended in order must not outlive us.
        child_.kill_all();
    }
    const int code = failed_ ? 1 : exit_code_;
    if (!settings_.check_only) {
        log_.info("stopped", {{"code", code}});
    }
    return code;
}

bool Supervisor::start() {
    if (!settings_.check_only) {
        if (const auto fault = become_subreaper(); fault && ::getpid() != 1) {
            log_.warning("init: " + fault->why + "; orphans go to another process");
        }
    }
    if (const auto fault =
            signals_.start([this](int number) { on_signal(number); }, [this](const std::string& why) { fail(why); })) {
        log_.error("init: " + fault->why);
        return false;
    }
    if (settings_.use_token && settings_.rotation == RotationMode::in_place && !settings_.check_only) {
        delivery_.sweep();
    }
    if (settings_.health_address && !settings_.check_only) {
        if (const auto error = health_server_.listen(*settings_.health_address)) {
            log_.error("health: can't listen for health requests on " + to_string(*settings_.health_address) + ": " +
                       error.message() + " (--health-address takes another, or off)");
            return false;
        }
    }
    // It runs in the loop, because run_loop() deals with what fails there.
    boost::asio::post(loop_, [this] { tick(); });
    return true;
}

/// Our own code throws nothing on the running path, but the libraries may when memory runs out. The child must not
/// outlive us unwatched, so it is ended first.
void Supervisor::run_loop() {
    std::string trouble;
    for (;;) {
        try {
            if (!trouble.empty()) {
                fail(trouble);
            }
            loop_.run();
            return;
        } catch (const std::exception& error) {
            if (failed_) {
                log_.error(std::string{"init: failed while ending the child, killing it: "} + error.what());
                return;
            }
            trouble = std::string{"failed: "} + error.what();
        }
    }
}

void Supervisor::fail(const std::string& why) {
    failed_ = true;
    log_.error("init: " + why + "; ending the child");
    child_.stop(SIGTERM);
    tick();
}

void Supervisor::finish(int code) {
    exit_code_ = code;
    loop_.stop();
}

// --- the loop -------------------------------------------------------------------------------------------------------

void Supervisor::tick() {
    start_when_possible();
    const auto now = clock_();
    resume_after_freeze(now);
    child_.allow_rotation(!token_.expired(now));
    child_.reap();
    child_.tick(now);
    if (waits_to_start()) {
        database_.tick(now);
    }
    if (tends_token()) {
        token_.tick(now);
        delivery_.tick(now);
    }
    readiness_.tick(now);
    if (settings_.ready_url && readiness_.ready(now)) {
        metrics_.child_ready(now);
    }

    auto sleep = failed_ ? pause_without_signals : FreezeDetector::longest_sleep;
    sleep = std::min(sleep, child_.sleep(now).value_or(sleep));
    if (waits_to_start()) {
        sleep = std::min(sleep, database_.sleep(now).value_or(sleep));
    }
    if (tends_token()) {
        sleep = std::min({sleep, token_.sleep(now), delivery_.sleep(now).value_or(sleep)});
    }
    wake_after(std::min(sleep, readiness_.sleep(now).value_or(sleep)));
}

void Supervisor::resume_after_freeze(Moment now) {
    if (const auto frozen = freeze_detector_.on_wake(now)) {
        log_.info("init: frozen for a while", {{"ms", frozen->count()}});
        token_.resume(now);
    }
}

void Supervisor::wake_after(milliseconds sleep) {
    wake_timer_.expires_after(sleep);
    wake_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) {
            tick();
        }
    });
}

// --- the reports of the parts ---------------------------------------------------------------------------------------

void Supervisor::on_answered(std::optional<Freshness> meaning, milliseconds took) {
    metrics_.token_answered(meaning, took);
}

void Supervisor::on_fresh(Moment now) {
    delivery_.set_newest(*token_.token(), token_.expiry());
    if (!child_.was_started()) {
        return;  // the first child will start with it
    }
    if (settings_.rotation == RotationMode::in_place) {
        delivery_.hand_over_in_place(now);
    } else {
        child_.replace("fresh token " + token_.hash());
    }
}

/// The first child starts as soon as there is all that it waits for: a token that has not expired, and the database's network.
void Supervisor::start_when_possible() {
    if (!waits_to_start()) {
        return;
    }
    const bool can_log_in = !settings_.use_token || (token_.token() && !token_.expired(clock_()));
    if (!can_log_in || database_.waits()) {
        return;
    }
    if (settings_.check_only) {
        show_what_would_run(settings_, environment_, token_.token() ? &*token_.token() : nullptr, log_);
        finish(database_.reached() ? 0 : 1);
        return;
    }
    child_.start();
}

void Supervisor::on_database_reached() {
    // The tick that follows each answer starts the child.
}

void Supervisor::on_database_unreachable() {
    // A check shows what would run nevertheless.
    if (!settings_.check_only) {
        finish(1);
    }
}

void Supervisor::on_deadline(const std::string&) { finish(1); }

/// With rolling rotation a token reaches the child by the hand-over, unless the old child had to be ended first.
void Supervisor::on_rotated() {
    metrics_.rotated(/*as_planned=*/!settings_.is_rolling() || child_.phase() == Phase::handing_over);
}

void Supervisor::on_delivery_failed() { metrics_.rotation_failed(); }

Result<Environment> Supervisor::environment_for_child() { return delivery_.environment_for_child(); }

void Supervisor::on_started(Moment now) {
    delivery_.child_serves();
    readiness_.child_started(now);
    metrics_.child_started(now);
}

void Supervisor::on_handed_over(Moment now) {
    delivery_.child_serves();
    readiness_.child_handed_over(now);
    metrics_.child_handed_over(child_.started_at(), now);
}

void Supervisor::on_drained(milliseconds took) { metrics_.child_drained(took); }

void Supervisor::on_rotation_failed() { metrics_.rotation_failed(); }

void Supervisor::on_leaving() {
    readiness_.child_leaves();
    metrics_.child_left();
}

void Supervisor::on_exit(int code) { finish(map_exit_code(code, settings_.mapped_exit_codes)); }

void Supervisor::on_signal(int number) {
    switch (role_of(number, !settings_.use_token)) {
        case SignalRole::reap: break;  // tick() reaps
        case SignalRole::stop: child_.stop(number); break;
        case SignalRole::forward:
            log_.debug("child: forwarding a signal", {{"signal", name_of(number)}});
            child_.forward(number);
            break;
        case SignalRole::ignore: log_.info("init: signal not forwarded", {{"signal", name_of(number)}}); break;
    }
    if (number == SIGCONT) {
        // A process that was stopped has lost time.
        token_.resume(clock_());
    }
    tick();
}

HttpResponse Supervisor::on_probe(std::string_view path) {
    tick();
    const auto facts = health_facts({child_, token_, database_, delivery_, readiness_, settings_.use_token}, clock_());
    return path == "/metrics" ? metrics_answer(metrics_.metrics(), settings_.rotation, facts, read_process_usage())
                              : health_answer(path, facts);
}

}  // namespace supervisor
