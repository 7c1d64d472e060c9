#pragma once

#include "base/clock.hpp"
#include "base/freeze_detector.hpp"

#include <chrono>
#include <optional>

namespace supervisor {

// When to ask the metadata server for a token, and what an answer means. Pure policy: no I/O, no clock of its own,
// no randomness; the time and the random number (0 <= random < 1) are arguments. It knows no secret: the caller says
// whether an answer was the current token once more.
//
// The metadata server caches. It gives out the same token until 5 minutes before its end (Compute Engine), 4 minutes
// (the smallest cache Google's client libraries know) or 1 minute (GKE, which answers the old token while it fetches
// the new one). So a fetch is no refresh: only a token with another text is, and asking too early is wasted.
//
//   answer                       meaning             next request
//   another token                the current token   the earlier of the refresh interval and the margin before expiry
//   the same, before the margin  unchanged, quietly  after 2, 4, 8, 15, 30, 60, 60... s, but at the margin at the latest
//   the same, within the margin  unchanged           after 2, 4, 8, 15, 15... s; sooner when its end is nearer
//   none, or not usable          failed              after 1, 2, 4, 8, 15, 30, 30... s (+-20 %), not before Retry-After
//
// The margin is 225 s and up to 5 s of jitter, so that instances that started together do not ask together; for a
// token that never had so long, 1/16 of its life (which is what 225 s is of an hour). Two requests are at least 1 s
// apart, except for the +-20 % after a failure.

/// What an answer meant.
enum class Freshness {
    fresh,      ///< another token than the current one, which it replaces
    unchanged,  ///< the current token once more
    too_old,    ///< it had expired before it arrived: the instance was frozen in between
};

class RefreshSchedule {
public:
    /// The pause between two looks at the clocks is never longer: instances freeze and timers come late.
    static constexpr milliseconds longest_sleep = FreezeDetector::longest_sleep;
    static constexpr milliseconds margin{225'000};
    static constexpr milliseconds margin_jitter{5'000};
    /// A server that asks for more patience is asked again after this long, since a token cannot wait for days.
    static constexpr milliseconds longest_retry_after{300'000};
    static constexpr milliseconds expired_report_interval{60'000};

    RefreshSchedule(milliseconds refresh_interval, Moment start);

    /// Whether a request is to be sent now. Never while one is under way.
    [[nodiscard]] bool due(Moment now) const;
    /// How long to sleep before asking due() again: at most longest_sleep, never negative.
    [[nodiscard]] milliseconds sleep(Moment now) const;

    /// A request was sent at `now`.
    void sent(Moment now);
    /// It was answered with a token whose life of `expires_in` counts from when the request was sent; `is_another` is
    /// false when its text is that of the current token.
    Freshness answered(bool is_another, std::chrono::seconds expires_in, Moment now, double random);
    /// It failed; returns the pause before the next one. The current token is kept.
    milliseconds failed(Moment now, double random, std::optional<std::chrono::seconds> retry_after);

    /// The process was frozen for some time, or a signal indicates it. A due request is sent at once, and the pauses
    /// start again.
    void resumed(Moment now);

    /// Whether a first token has come.
    [[nodiscard]] bool has_token() const { return has_token_; }
    [[nodiscard]] bool expired(Moment now) const { return has_token_ && reached(expiry_, now); }
    /// When the current token ends. Meaningful once there is one.
    [[nodiscard]] Moment expiry() const { return expiry_; }
    [[nodiscard]] Moment next_request() const { return next_request_; }
    [[nodiscard]] bool in_flight() const { return in_flight_; }

    /// True once a minute while the current token is expired: the expiry is to be reported again.
    bool expired_report_due(Moment now);

private:
    [[nodiscard]] milliseconds pause_after_unchanged(bool within_margin, Moment now) const;
    [[nodiscard]] Moment margin_starts() const { return expiry_ - margin_; }
    [[nodiscard]] Moment planned() const { return earlier(fetched_at_ + refresh_interval_, margin_starts()); }

    milliseconds refresh_interval_;
    bool has_token_ = false;
    Moment fetched_at_{};
    Moment expiry_{};
    milliseconds margin_{};
    Moment next_request_;
    Moment sent_at_{};
    bool in_flight_ = false;
    unsigned failures_ = 0;   ///< in a row
    unsigned unchanged_ = 0;  ///< in a row, of the phase below
    bool within_margin_ = false;
    std::optional<Moment> expired_reported_{};
};

}  // namespace supervisor
