#include "supervise.hpp"

#include "child_environment.hpp"
#include "child_process.hpp"
#include "clock.hpp"
#include "duration.hpp"
#include "exit_code.hpp"
#include "health_server.hpp"
#include "http_client.hpp"
#include "metadata_server.hpp"
#include "password_file.hpp"
#include "readiness.hpp"
#include "reaper.hpp"
#include "refresh_schedule.hpp"
#include "rotation.hpp"
#include "signal_table.hpp"
#include "version.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <set>

namespace supervisor {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// A sleep that took this much longer than planned was none: the instance was frozen in it.
constexpr milliseconds freeze_threshold{5'000};
constexpr milliseconds first_handover_pause{1'000};
constexpr milliseconds longest_handover_pause{30'000};

std::string joined(const std::vector<std::string>& words) {
    std::string line;
    for (const auto& word : words) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line;
}

/// A token by its tag and end: what is known of the one that the child works with.
struct TokenInUse {
    std::string tag;
    Moment expiry;
};

/// A token that is in hand and did not reach the password file.
struct MissedHandover {
    Moment next_try;
    milliseconds pause;
};

}  // namespace

class Supervise::Impl {
public:
    Impl(asio::io_context& loop, Settings settings, Environment environment, Log& log)
        : loop_(loop),
          settings_(std::move(settings)),
          environment_(std::move(environment)),
          log_(log),
          started_at_(read_clocks()),
          last_wake_(started_at_),
          schedule_(settings_.refresh_interval, started_at_),
          rotation_({settings_.drain_timeout, settings_.stop_timeout}),
          readiness_(settings_.ready_url.has_value()) {}

    int run() {
        announce();
        if (!watch_signals() || !open_health_server()) {
            return 1;
        }
        if (!settings_.use_token) {
            have_what_it_takes();
        }
        wake();
        loop_.run();
        const int code = exit_code(exit_code_, settings_.mapped_exit_codes);
        if (!settings_.check_only) {
            log_.info("stopped", {{"code", code}});
        }
        return code;
    }

private:
    // --- start -------------------------------------------------------------------------------------------------

    void announce() {
        for (const auto& warning : settings_.warnings) {
            log_.warning(warning);
        }
        if (settings_.check_only) {
            return;
        }
        std::vector<Field> fields{{"version", std::string{version}}, {"pid", std::int64_t{::getpid()}}};
        if (settings_.use_token) {
            fields.push_back({"rotation", settings_.rotation == RotationMode::in_place ? "in-place" : "restart"});
            fields.push_back({"metadata_server", settings_.metadata_host});
            fields.push_back({"database", settings_.database.host});
        }
        fields.push_back({"command", joined(settings_.command)});
        log_.info("starting", std::move(fields));
        if (const auto fault = become_subreaper(); fault && ::getpid() != 1) {
            log_.warning("init: " + fault->why + "; orphans go to another process");
        }
    }

    bool watch_signals() {
        const auto signals = handled_signals();
        const int descriptor = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
        if (descriptor < 0) {
            log_.error(std::string{"init: can't receive signals by signalfd: "} + std::strerror(errno));
            return false;
        }
        signals_.assign(descriptor);
        next_signal();
        return true;
    }

    bool open_health_server() {
        if (!settings_.health_address || settings_.check_only) {
            return true;
        }
        if (const auto fault = health_server_.listen(*settings_.health_address)) {
            log_.error("health: " + fault->why);
            return false;
        }
        return true;
    }

    /// Called once, with the first token, or at once where none is needed.
    void have_what_it_takes() {
        if (settings_.check_only) {
            show_what_would_run();
            finish(0);
            return;
        }
        handle([this] { return rotation_.start(); });
    }

    void show_what_would_run() {
        std::optional<Secret> redacted;
        if (schedule_.token()) {
            redacted.emplace("TOKEN-" + schedule_.token()->text.tag());
        }
        const bool in_place = settings_.rotation == RotationMode::in_place;
        const Credentials credentials{in_place || !redacted ? nullptr : &*redacted, "/dev/shm/.../pgpass"};
        const auto child = child_environment(settings_, environment_, credentials);
        for (const auto& warning : child.warnings) {
            log_.warning("check: " + warning);
        }
        for (const auto& [name, value] : child.variables) {
            const auto before = environment_.find(name);
            if (before == environment_.end() || before->second != value) {
                log_.info("check: would set", {{"variable", name}, {"value", value}});
            }
        }
        log_.info("check: would run", {{"command", joined(settings_.command)}});
    }

    // --- the loop: one timer wakes it for the schedule and the readiness question -------------------------------

    /// Looks at the clocks and does what is due. Called by the timer and by every health request, for a frozen
    /// instance wakes up to one.
    void wake() {
        const auto now = read_clocks();
        if (-remaining(last_wake_, now) > RefreshSchedule::longest_sleep + freeze_threshold) {
            log_.info("init: frozen for a while", {{"ms", (-remaining(last_wake_, now)).count()}});
            schedule_.resumed(now);
        }
        last_wake_ = now;
        if (settings_.use_token && !leaving()) {
            tend_token(now);
        }
        if (const auto since = readiness_.lost(now)) {
            log_.warning("child: not ready any more", {{"no_answer_for_ms", since->count()}});
        }
        if (readiness_.due(now)) {
            ask_readiness();
        }
        arm_wake(now);
    }

    void tend_token(Moment now) {
        if (schedule_.due(now)) {
            fetch_token(now);
        }
        if (!schedule_.token() && reached(start_deadline(), now)) {
            log_.error("token: none within the start deadline of " + to_string(settings_.start_deadline) + ": " +
                       (last_error_.empty() ? "no answer yet" : last_error_));
            finish(1);
        }
        // An answer that is on its way may end it.
        if (!schedule_.in_flight() && schedule_.expired_report_due(now)) {
            log_.error("token: expired and not replaced; open connections work on, new ones fail",
                       {{"hash", schedule_.token()->text.tag()}, {"last_error", last_error_}});
        }
        if (missed_handover_ && reached(missed_handover_->next_try, now)) {
            hand_over_in_place(now);
        }
    }

    void arm_wake(Moment now) {
        auto sleep = RefreshSchedule::longest_sleep;
        if (settings_.use_token && !leaving()) {
            sleep = schedule_.sleep(now);
            if (!schedule_.token()) {
                sleep = std::min(sleep, std::max(milliseconds{0}, remaining(start_deadline(), now)));
            }
            if (missed_handover_) {
                sleep = std::min(sleep, std::max(milliseconds{0}, remaining(missed_handover_->next_try, now)));
            }
        }
        sleep = std::min(sleep, readiness_.sleep(now).value_or(sleep));
        wake_timer_.expires_after(sleep);
        wake_timer_.async_wait([this](error_code error) {
            if (!error) {
                wake();
            }
        });
    }

    [[nodiscard]] Moment start_deadline() const { return started_at_ + settings_.start_deadline; }

    [[nodiscard]] bool leaving() const {
        const auto phase = rotation_.phase();
        return phase == Phase::stopping || phase == Phase::leaving || phase == Phase::stopped;
    }

    // --- token -------------------------------------------------------------------------------------------------

    void fetch_token(Moment now) {
        schedule_.sent(now);
        http_.get(token_request(settings_.metadata_host, settings_.token_scope),
                  [this](const Result<HttpAnswer>& answer) { on_token_answer(answer); });
    }

    void on_token_answer(const Result<HttpAnswer>& answer) {
        const auto now = read_clocks();
        auto token = answer ? read_token(*answer) : Result<Token>{answer.error()};
        if (!token) {
            const auto pause = schedule_.failed(now, random(), answer ? answer->retry_after : std::nullopt);
            last_error_ = token.error().why;
            log_.warning("token: can't get one from " + settings_.metadata_host + ": " + last_error_,
                         {{"next_try_ms", pause.count()}});
        } else {
            take_token(std::move(*token), now);
        }
        wake();
    }

    void take_token(Token token, Moment now) {
        const bool first = !schedule_.token();
        const auto tag = token.text.tag();
        const auto expires_in = std::int64_t{token.expires_in.count()};
        switch (schedule_.answered(std::move(token), now, random())) {
            case Freshness::stale:
                last_error_ = "the metadata server still gives out the same token";
                log_.debug("token: still the same one", {{"hash", tag}, {"expires_in", expires_in}});
                return;
            case Freshness::too_old:
                last_error_ = "the token had expired before it arrived";
                log_.warning("token: " + last_error_, {{"hash", tag}, {"expires_in", expires_in}});
                return;
            case Freshness::fresh: break;
        }
        last_error_.clear();
        log_.info("token: fresh one in hand", {{"hash", tag}, {"expires_in", expires_in}});
        if (first) {
            have_what_it_takes();
        } else if (settings_.rotation == RotationMode::in_place) {
            hand_over_in_place(now);
        } else {
            handle([this, tag, now] { return rotation_.rotate("fresh token " + tag, now); });
        }
    }

    void hand_over_in_place(Moment now) {
        if (!password_file_) {
            return;
        }
        if (const auto fault = password_file_->replace(schedule_.token()->text)) {
            const auto pause =
                missed_handover_ ? std::min(missed_handover_->pause * 2, longest_handover_pause) : first_handover_pause;
            missed_handover_ = MissedHandover{now + pause, pause};
            last_error_ = fault->why;
            log_.error("rotation: the child keeps the old token: " + fault->why, {{"next_try_ms", pause.count()}});
            return;
        }
        missed_handover_.reset();
        ++rotations_;
        in_use_ = TokenInUse{schedule_.token()->text.tag(), schedule_.expiry()};
        log_.info("rotation: fresh token handed over in place", {{"hash", in_use_->tag}});
    }

    // --- child -------------------------------------------------------------------------------------------------

    /// Hands one event to the policy and performs what it answers. An action may raise the next event, such as the
    /// start of a child; that one waits in the queue until all actions of the event before it are done, so that no
    /// action re-enters the policy.
    void handle(std::function<Actions()> event) {
        events_.push_back(std::move(event));
        if (handling_) {
            return;
        }
        handling_ = true;
        while (!events_.empty()) {
            const auto next = std::move(events_.front());
            events_.pop_front();
            for (const auto& action : next()) {
                perform(action);
            }
        }
        if (rotation_.phase() != Phase::running) {
            readiness_.child_leaves();
        }
        handling_ = false;
    }

    void perform(const Action& action) {
        switch (action.kind) {
            case Action::Kind::launch: launch_child(); break;
            case Action::Kind::signal_child: signal_child(action.signal); break;
            case Action::Kind::kill_group: kill_group(); break;
            case Action::Kind::signal_leftovers: signal_leftovers(action.signal); break;
            case Action::Kind::signal_new_orphans: signal_orphans(action.signal, /*new_ones_only=*/true); break;
            case Action::Kind::look_for_leftovers:
                handle([this] { return rotation_.leftovers(any_leftovers()); });
                break;
            case Action::Kind::arm: arm_rotation_timer(action.delay); break;
            case Action::Kind::disarm: rotation_timer_.cancel(); break;
            case Action::Kind::exit: finish(action.code); break;
            case Action::Kind::log: log_.write(action.line); break;
        }
    }

    void launch_child() {
        auto credentials = credentials_for_child();
        if (!credentials) {
            handle([this, why = credentials.error().why] { return rotation_.launch_failed(1, why); });
            return;
        }
        auto child = child_environment(settings_, environment_, *credentials);
        if (launches_++ == 0) {
            for (const auto& warning : child.warnings) {
                log_.warning("child: " + warning);
            }
        }
        const auto pid = launch(settings_.command, child.variables);
        for (auto& [name, value] : child.variables) {
            wipe(value);
        }
        if (!pid) {
            handle([this, fault = pid.error()] { return rotation_.launch_failed(fault.exit_code, fault.why); });
            return;
        }
        const auto now = read_clocks();
        child_pid_ = *pid;
        group_ = *pid;
        readiness_.child_started(now);
        handle([this, started = *pid, now] { return rotation_.child_started(started, now); });
        arm_wake(now);
    }

    /// What the next child logs in with, by the newest token there is.
    Result<Credentials> credentials_for_child() {
        if (!settings_.use_token) {
            return Credentials{};
        }
        const auto& token = *schedule_.token();
        rotations_ += in_use_.has_value() ? 1U : 0U;
        in_use_ = TokenInUse{token.text.tag(), schedule_.expiry()};
        if (settings_.rotation == RotationMode::restart) {
            return Credentials{&token.text, {}};
        }
        auto file = PasswordFile::create(password_file_directories(std::getenv("TMPDIR")), token.text);
        if (!file) {
            return file.error();
        }
        password_file_.emplace(std::move(*file));
        return Credentials{nullptr, password_file_->path()};
    }

    void signal_child(int signal) {
        if (!child_pid_) {
            return;
        }
        const pid_t target = settings_.single_child ? *child_pid_ : -group_;
        if (::kill(target, signal) != 0) {
            log_.debug("child: signal not delivered",
                       {{"signal", std::int64_t{signal}}, {"why", std::strerror(errno)}});
        }
    }

    void kill_group() {
        ::kill(-group_, SIGKILL);
        if (child_pid_) {
            // It may have moved to a group of its own.
            ::kill(*child_pid_, SIGKILL);
        }
    }

    void signal_leftovers(int signal) {
        ::kill(-group_, signal);
        signal_orphans(signal, /*new_ones_only=*/false);
    }

    void signal_orphans(int signal, bool new_ones_only) {
        if (!children_left_) {
            return;
        }
        for (const pid_t orphan : children()) {
            const bool is_new = orphans_signalled_.insert(orphan).second;
            if (::getpgid(orphan) != group_ && (is_new || !new_ones_only)) {
                ::kill(orphan, signal);
            }
        }
    }

    [[nodiscard]] bool any_leftovers() const {
        return group_exists(group_) || (rotation_.phase() == Phase::leaving && children_left_);
    }

    void arm_rotation_timer(milliseconds delay) {
        rotation_timer_.expires_after(delay);
        rotation_timer_.async_wait([this](error_code error) {
            if (!error) {
                handle([this] { return rotation_.timer_fired(read_clocks()); });
            }
        });
    }

    void ask_readiness() {
        readiness_.asked();
        http_.get(readiness_question(*settings_.ready_url),
                  [this, asked = child_pid_](const Result<HttpAnswer>& answer) { on_readiness_answer(answer, asked); });
    }

    void on_readiness_answer(const Result<HttpAnswer>& answer, std::optional<pid_t> asked) {
        if (asked != child_pid_ || rotation_.phase() != Phase::running) {
            return;
        }
        const auto now = read_clocks();
        const auto fault = judge_readiness(answer, settings_.ready_url_is_prefect);
        const bool was_ready = readiness_.ready(now);
        switch (readiness_.answered(!fault, now)) {
            case ReadinessChange::first:
                log_.info("child: ready", {{"after_ms", (now.boot - readiness_.child_started_at().boot).count()}});
                break;
            case ReadinessChange::regained: log_.info("child: ready again"); break;
            case ReadinessChange::none:
                if (fault && was_ready) {
                    log_.warning("child: no answer to the readiness question: " + fault->why);
                }
                break;
        }
        wake();
    }

    // --- signals -----------------------------------------------------------------------------------------------

    void next_signal() {
        signals_.async_read_some(asio::buffer(&signal_, sizeof signal_), [this](error_code error, std::size_t) {
            if (error) {
                log_.error("init: can't receive signals: " + error.message());
                finish(1);
                return;
            }
            on_signal(static_cast<int>(signal_.ssi_signo));
            next_signal();
        });
    }

    void on_signal(int signal) {
        switch (role_of(signal, !settings_.use_token)) {
            case SignalRole::child: on_child_signal(); break;
            case SignalRole::stop: handle([this, signal] { return rotation_.stop(signal, read_clocks()); }); break;
            case SignalRole::forward:
                log_.debug("child: forwarding a signal", {{"signal", name_of(signal)}});
                signal_child(signal);
                break;
            case SignalRole::ignore: log_.info("init: signal not forwarded", {{"signal", name_of(signal)}}); break;
        }
        if (signal == SIGCONT) {
            // Whoever was stopped has lost time.
            schedule_.resumed(read_clocks());
            wake();
        }
    }

    void on_child_signal() {
        std::optional<int> ended;
        children_left_ = reap([this, &ended](pid_t pid, int code) {
            if (pid == child_pid_) {
                // Forgotten at once: the number may be another process's from here on.
                child_pid_.reset();
                ended = code;
            } else {
                ++orphans_reaped_;
            }
        });
        if (ended) {
            handle([this, code = *ended] { return rotation_.child_exited(code, read_clocks()); });
        } else if (rotation_.phase() == Phase::clearing || rotation_.phase() == Phase::leaving) {
            handle([this] { return rotation_.leftovers(any_leftovers()); });
        }
    }

    void finish(int code) {
        exit_code_ = code;
        loop_.stop();
    }

    // --- health ------------------------------------------------------------------------------------------------

    HealthAnswer answer_probe(std::string_view path) {
        wake();
        return health_answer(path, facts(read_clocks()));
    }

    [[nodiscard]] HealthFacts facts(Moment now) const {
        HealthFacts facts;
        facts.phase = rotation_.phase();
        facts.child_pid = child_pid_;
        facts.child_uptime = now.boot - readiness_.child_started_at().boot;
        facts.restarts = rotation_.restarts();
        facts.rotations = rotations_;
        facts.orphans_reaped = orphans_reaped_;
        facts.child_ready = readiness_.ready(now);
        facts.ever_ready = readiness_.ever_ready();
        facts.last_error = last_error_;
        if (in_use_) {
            const bool newest = schedule_.token() && schedule_.token()->text.tag() == in_use_->tag;
            const auto expiry = newest ? schedule_.expiry() : in_use_->expiry;
            facts.token = HealthFacts::TokenFacts{in_use_->tag, remaining(expiry, now), expiry.wall};
        }
        if (settings_.use_token) {
            facts.next_refresh = std::max(milliseconds{0}, remaining(schedule_.next_request(), now));
        }
        return facts;
    }

    double random() { return std::uniform_real_distribution<double>{0.0, 1.0}(random_); }

    asio::io_context& loop_;
    Settings settings_;
    Environment environment_;
    Log& log_;
    Moment started_at_;
    Moment last_wake_;

    RefreshSchedule schedule_;
    Rotation rotation_;
    Readiness readiness_;

    HttpClient http_{loop_};
    HealthServer health_server_{loop_, [this](std::string_view path) { return answer_probe(path); }};
    asio::steady_timer wake_timer_{loop_};
    asio::steady_timer rotation_timer_{loop_};
    asio::posix::stream_descriptor signals_{loop_};
    signalfd_siginfo signal_{};
    std::minstd_rand random_{std::random_device{}()};

    std::deque<std::function<Actions()>> events_{};
    bool handling_ = false;
    std::optional<pid_t> child_pid_{};
    pid_t group_ = 0;
    std::set<pid_t> orphans_signalled_{};  ///< while leaving
    bool children_left_ = false;           ///< when the last one was reaped
    std::optional<PasswordFile> password_file_{};
    std::optional<TokenInUse> in_use_{};
    std::optional<MissedHandover> missed_handover_{};
    std::string last_error_{};
    unsigned launches_ = 0;
    unsigned rotations_ = 0;
    unsigned orphans_reaped_ = 0;
    int exit_code_ = 0;
};

Supervise::Supervise(asio::io_context& loop, Settings settings, Environment environment, Log& log)
    : impl_(std::make_unique<Impl>(loop, std::move(settings), std::move(environment), log)) {}
Supervise::~Supervise() = default;

int Supervise::run() { return impl_->run(); }

}  // namespace supervisor
