#pragma once

#include "base/freeze_detector.hpp"
#include "simulated/caching_server.hpp"
#include "simulated/captured_log.hpp"
#include "simulated/world_time.hpp"
#include "token/refresh_schedule.hpp"
#include "token/token_refresher.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace simulated {

using std::chrono::seconds;
using supervisor::FreezeDetector;
using supervisor::RefreshSchedule;
using supervisor::TokenAnswer;
using supervisor::TokenRefresher;

/// The faults around the schedule. Times between two events are drawn evenly from 0 to twice the mean.
struct Weather {
    milliseconds shortest_latency{1};
    milliseconds longest_latency{20};
    double failures = 0;      ///< share of the requests that fail on their own
    double retry_afters = 0;  ///< share of the failures that ask for patience
    milliseconds outages{0};  ///< mean time between two; 0 for none. In an outage every request fails.
    milliseconds longest_outage{0};
    double late_timers = 0;
    milliseconds latest_timer{0};
    milliseconds freezes{0};
    milliseconds longest_freeze{0};
    Counting counting = Counting::both;
    milliseconds wall_steps{0};
    milliseconds longest_wall_step{0};
    milliseconds probes{0};  ///< health requests, each of which wakes the loop
};

struct World {
    CacheModel model = CacheModel::new_at_300_s;
    milliseconds life{3'600'000};
    milliseconds first_age{0};
    milliseconds refresh_interval{3'300'000};
    Weather weather{};
    bool may_run_out = true;       ///< false: the server must accept the token in hand at every moment
    bool may_seem_expired = true;  ///< false: nor may the schedule, which loses up to 1 s to whole seconds, call it so
    std::uint64_t seed = 1;
};

/// The real TokenRefresher in a simulated world: its token source is a CachingServer behind a network that fails, its
/// clocks are simulated, and a simulated timer calls tick() after sleep(), or later. The real FreezeDetector tells it of
/// freezes. Every step is checked against what the header of the schedule promises.
class Refresh : private supervisor::TokenSource, private TokenRefresher::Listener {
public:
    struct Report {
        std::string violation{};  ///< empty: every promise was kept
        unsigned tokens = 0;
        unsigned requests = 0;
        unsigned most_requests_per_token = 0;
        milliseconds longest_without_newer{0};  ///< a newer token was there and nothing excused its absence
        milliseconds longest_expired{0};
        unsigned too_old = 0;
    };

    explicit Refresh(const World& world)
        : world_(world),
          dice_(world.seed),
          server_(world.model, world.life, world.first_age),
          freeze_detector_(clock_.now()),
          refresher_(
              {world.refresh_interval, no_deadline}, *this, *this, log_.log(), [this] { return clock_.now(); },
              [this] { return dice_.unit(); }) {
        next_freeze_ = later(world.weather.freezes);
        next_wall_step_ = later(world.weather.wall_steps);
        next_outage_ = later(world.weather.outages);
        next_probe_ = later(world.weather.probes);
    }

    Report run(milliseconds length) {
        wake();
        while (clock_.world() < length && report_.violation.empty()) {
            step();
        }
        return report_;
    }

private:
    struct Flight {
        Done done;
        Moment sent;
        milliseconds arrives{};
        std::optional<supervisor::Token> token{};  ///< none: it will fail
        std::optional<seconds> retry_after{};
        milliseconds end{};  ///< of the token, in the world's time
    };
    struct Hand {
        std::string text;
        milliseconds end;
        milliseconds margin_starts;
        milliseconds interval_ends;
    };
    static constexpr milliseconds never = milliseconds::max();
    static constexpr milliseconds no_deadline{std::chrono::hours{10'000}};

    // --- the world ---------------------------------------------------------------------------------------------

    milliseconds later(milliseconds mean) {
        return mean == milliseconds{0} ? never : clock_.world() + dice_.between(milliseconds{1}, 2 * mean);
    }

    void step() {
        const auto answer = flight_ ? flight_->arrives : never;
        const auto next = std::min({timer_, answer, next_freeze_, next_wall_step_, next_outage_, next_probe_});
        clock_.advance_to(std::max(next, clock_.world()));
        check_bound();
        if (next == next_freeze_) {
            freeze();
        } else if (next == next_wall_step_) {
            const auto most = world_.weather.longest_wall_step;
            clock_.step_wall(dice_.between(-most, most));
            undisturbed_ = false;
            next_wall_step_ = later(world_.weather.wall_steps);
        } else if (next == next_outage_) {
            outage_ends_ = clock_.world() + dice_.between(milliseconds{0}, world_.weather.longest_outage);
            next_outage_ = std::max(outage_ends_, later(world_.weather.outages));
        } else if (next == answer) {
            land();
            wake();
        } else {
            if (next == next_probe_) {
                next_probe_ = later(world_.weather.probes);
            }
            wake();
        }
    }

    void freeze() {
        const auto length = dice_.between(milliseconds{1}, world_.weather.longest_freeze);
        clock_.freeze(length, world_.weather.counting);
        const auto resumed = clock_.world();
        timer_ += length;  // timers stand still with the instance
        if (flight_) {
            flight_->arrives = std::max(flight_->arrives, resumed);
        }
        next_freeze_ = later(world_.weather.freezes);
        excused_until_ = std::max(excused_until_, resumed + RefreshSchedule::longest_sleep + slack());
        undisturbed_ = false;
    }

    // --- the process -------------------------------------------------------------------------------------------

    void wake() {
        const auto now = clock_.now();
        if (freeze_detector_.on_wake(now)) {
            refresher_.resume(now);
            undisturbed_ = false;
        }
        refresher_.tick(now);
        if (!world_.may_seem_expired && refresher_.token() && reached(refresher_.expiry(), now)) {
            violated("the token in hand is called expired");
        }
        const auto sleep = refresher_.sleep(now);
        if (sleep < milliseconds{0} || sleep > RefreshSchedule::longest_sleep) {
            violated("sleep() is " + std::to_string(sleep.count()) + " ms");
        }
        timer_ = clock_.world() + sleep;
        if (dice_.chance(world_.weather.late_timers)) {
            timer_ += dice_.between(milliseconds{0}, world_.weather.latest_timer);
        }
    }

    void fetch(Done done) override {
        if (flight_) {
            violated("a second request while one is in flight");
            return;
        }
        const auto apart = clock_.world() - last_sent_;
        // The shortest pause after a failure is 1 s less 20 %.
        const milliseconds least{last_failed_ ? 800 : 1'000};
        if (last_sent_ >= milliseconds{0} && undisturbed_ && apart < least) {
            violated("two requests only " + std::to_string(apart.count()) + " ms apart");
        }
        last_sent_ = clock_.world();
        undisturbed_ = true;
        ++report_.requests;
        ++requests_for_token_;

        const auto latency = dice_.between(world_.weather.shortest_latency, world_.weather.longest_latency);
        Flight flight{.done = std::move(done), .sent = clock_.now(), .arrives = clock_.world() + latency};
        if (clock_.world() >= outage_ends_ && !dice_.chance(world_.weather.failures)) {
            flight.token = server_.answer(clock_.world() + latency / 2);
            flight.end = server_.end();
        } else if (dice_.chance(world_.weather.retry_afters)) {
            flight.retry_after = seconds{static_cast<seconds::rep>(1 + dice_.below(400))};
        }
        flight_ = std::move(flight);
    }

    [[nodiscard]] std::string name() const override { return "the simulated server"; }

    void land() {
        const auto now = clock_.now();
        auto flight = std::move(*flight_);
        flight_.reset();
        last_failed_ = !flight.token;
        if (!flight.token) {
            flight.done({supervisor::Fault{"the simulated network failed"}, flight.retry_after});
            const auto pause = remaining(refresher_.next_request(), now);
            excused_until_ = std::max(excused_until_, clock_.world() + pause + slack());
            return;
        }
        const auto text = flight.token->text.reveal();
        const auto life = milliseconds{flight.token->expires_in};
        const bool is_another = !hand_ || hand_->text != text;
        const bool too_old = reached(flight.sent + life, now);
        reported_fresh_ = false;
        flight.done({std::move(*flight.token)});
        if (reported_fresh_ != (is_another && !too_old)) {
            violated(reported_fresh_ ? "a token was reported that is not fresh" : "a fresh token was not reported");
        }
        if (reported_fresh_) {
            adopt(text, flight.end, life);
        } else if (is_another) {
            ++report_.too_old;
            excused_until_ = std::max(excused_until_, clock_.world() + seconds{1} + slack());
        }
        if (hand_ && (!refresher_.token() || refresher_.token()->reveal() != hand_->text)) {
            violated("the token in hand was lost");
        }
    }

    void on_answered(std::optional<supervisor::Freshness>, milliseconds) override {}
    void on_fresh(Moment) override { reported_fresh_ = true; }
    void on_deadline(const std::string&) override { violated("the start deadline was reported"); }

    void adopt(const std::string& text, milliseconds end, milliseconds life) {
        const auto number = std::stoul(text.substr(std::string_view{"ya29."}.size()));
        if (hand_ && number <= newest_adopted_) {
            violated("a token was adopted twice");
        }
        newest_adopted_ = number;
        if (hand_) {
            report_.longest_expired = std::max(report_.longest_expired, clock_.world() - hand_->end);
            report_.most_requests_per_token = std::max(report_.most_requests_per_token, requests_for_token_);
        }
        requests_for_token_ = 0;
        ++report_.tokens;
        const bool long_enough = life > RefreshSchedule::margin + RefreshSchedule::margin_jitter;
        hand_ = Hand{text, end, end - (long_enough ? RefreshSchedule::margin : life / 16),
                     last_sent_ + world_.refresh_interval};
    }

    // --- the promise -------------------------------------------------------------------------------------------

    /// Two answers, one that was just too early and the next, and the lateness of the timer between them.
    [[nodiscard]] milliseconds slack() const {
        return 2 * world_.weather.longest_latency + world_.weather.latest_timer + milliseconds{10};
    }

    /// Within the margin the longest pause is 15 s, in a refresh interval that has passed it is 60 s: a newer token
    /// is in hand that much after it was there, at the latest; after a failure or a freeze counted from its end.
    void check_bound() {
        if (!hand_) {
            return;
        }
        if (!world_.may_run_out && clock_.world() >= hand_->end) {
            violated("the token in hand ran out");
        }
        const auto newer = std::max(server_.newer_since(hand_->text), excused_until_);
        const auto within_margin = std::max(newer, hand_->margin_starts);
        const auto after_interval = std::max(newer, hand_->interval_ends);
        const auto late = clock_.world() - std::min(within_margin + seconds{15}, after_interval + seconds{60});
        if (late > slack()) {
            violated("a newer token was there and not got, " + std::to_string(late.count()) + " ms too late");
        }
        const auto without = clock_.world() - std::min(within_margin, after_interval);
        report_.longest_without_newer = std::max(report_.longest_without_newer, without);
    }

    void violated(const std::string& what) {
        if (report_.violation.empty()) {
            report_.violation = what + ", at " + std::to_string(clock_.world().count()) + " ms";
        }
    }

    World world_;
    Dice dice_;
    Clock clock_{};
    CachingServer server_;
    CapturedLog log_{supervisor::Level::error};
    FreezeDetector freeze_detector_;
    TokenRefresher refresher_;
    Report report_{};

    std::optional<Flight> flight_{};
    std::optional<Hand> hand_{};
    unsigned long newest_adopted_ = 0;
    unsigned requests_for_token_ = 0;
    milliseconds timer_{0};
    milliseconds next_freeze_ = never;
    milliseconds next_wall_step_ = never;
    milliseconds next_outage_ = never;
    milliseconds next_probe_ = never;
    milliseconds outage_ends_{-1};
    milliseconds excused_until_{0};
    milliseconds last_sent_{-1};
    bool last_failed_ = false;
    bool reported_fresh_ = false;
    bool undisturbed_ = true;  ///< no freeze, step or resumed() since the last request
};

}  // namespace simulated
