#include "token/refresh_schedule.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace supervisor {
namespace {

using std::chrono::seconds;

constexpr std::array<seconds, 6> pauses_after_failure{seconds{1}, seconds{2},  seconds{4},
                                                      seconds{8}, seconds{15}, seconds{30}};
// Before there is a token nothing works yet, so the wait for a metadata server that is still starting stays short.
constexpr std::array<seconds, 3> pauses_before_first_token{seconds{1}, seconds{2}, seconds{4}};
constexpr std::array<seconds, 4> pauses_after_unchanged{seconds{2}, seconds{4}, seconds{8}, seconds{15}};
constexpr std::array<seconds, 6> pauses_while_cached{seconds{2},  seconds{4},  seconds{8},
                                                     seconds{15}, seconds{30}, seconds{60}};

/// The pause after the `count`th event in a row; the last pause goes on.
milliseconds pause(std::span<const seconds> pauses, unsigned count) {
    return pauses[std::min<std::size_t>(count, pauses.size()) - 1];
}

constexpr milliseconds shortest_pause{1000};
constexpr int life_fraction_of_margin = 16;

milliseconds margin_for(milliseconds life, double random) {
    const milliseconds jitter{
        static_cast<milliseconds::rep>(random * static_cast<double>(RefreshSchedule::margin_jitter.count()))};
    if (life <= RefreshSchedule::margin + RefreshSchedule::margin_jitter) {
        return life / life_fraction_of_margin;
    }
    return RefreshSchedule::margin + jitter;
}

}  // namespace

RefreshSchedule::RefreshSchedule(milliseconds refresh_interval, Moment start)
    : refresh_interval_(refresh_interval), next_request_(start) {}

bool RefreshSchedule::due(Moment now) const { return !in_flight_ && reached(next_request_, now); }

milliseconds RefreshSchedule::sleep(Moment now) const {
    if (in_flight_) {
        return longest_sleep;
    }
    return std::clamp(remaining(next_request_, now), milliseconds{0}, longest_sleep);
}

void RefreshSchedule::sent(Moment now) {
    in_flight_ = true;
    sent_at_ = now;
}

Freshness RefreshSchedule::answered(bool is_another, seconds expires_in, Moment now, double random) {
    in_flight_ = false;
    failures_ = 0;
    const auto expiry = sent_at_ + expires_in;
    if (has_token_ && !is_another) {
        // A server that promises the same token for longer each time is not believed. The wall clock follows the
        // other one, so that the next answer corrects what a step of it has done.
        expiry_.boot = std::min(expiry_.boot, expiry.boot);
        expiry_.wall = now.wall + (expiry_.boot - now.boot);
        const bool within_margin = reached(margin_starts(), now);
        unchanged_ = within_margin == within_margin_ ? unchanged_ + 1 : 1;
        within_margin_ = within_margin;
        next_request_ = now + pause_after_unchanged(within_margin, now);
        return Freshness::unchanged;
    }
    if (reached(expiry, now)) {
        next_request_ = now + shortest_pause;
        return Freshness::too_old;
    }
    margin_ = margin_for(expires_in, random);
    has_token_ = true;
    fetched_at_ = sent_at_;
    expiry_ = expiry;
    // A token in its last second is no reason for a stream of requests.
    next_request_ = later(planned(), sent_at_ + shortest_pause);
    unchanged_ = 0;
    within_margin_ = false;
    expired_reported_.reset();
    return Freshness::fresh;
}

milliseconds RefreshSchedule::pause_after_unchanged(bool within_margin, Moment now) const {
    if (!within_margin) {
        return std::max(shortest_pause,
                        std::min(pause(pauses_while_cached, unchanged_), remaining(margin_starts(), now)));
    }
    const auto usual = pause(pauses_after_unchanged, unchanged_);
    const auto left = remaining(expiry_, now);
    return left > milliseconds{0} ? std::min(usual, std::max(left / 2, shortest_pause)) : usual;
}

milliseconds RefreshSchedule::failed(Moment now, double random, std::optional<seconds> retry_after) {
    in_flight_ = false;
    ++failures_;
    const auto base = has_token_ ? pause(pauses_after_failure, failures_) : pause(pauses_before_first_token, failures_);
    const auto spread = 0.8 + 0.4 * random;
    milliseconds wait{static_cast<milliseconds::rep>(static_cast<double>(base.count()) * spread)};
    if (retry_after) {
        wait = std::max<milliseconds>(wait, std::min<milliseconds>(*retry_after, longest_retry_after));
    }
    next_request_ = now + wait;
    return wait;
}

void RefreshSchedule::resumed(Moment now) {
    failures_ = 0;
    unchanged_ = 0;
    if (!has_token_ || reached(planned(), now)) {
        next_request_ = now;
    }
}

bool RefreshSchedule::expired_report_due(Moment now) {
    if (!expired(now) || (expired_reported_ && !reached(*expired_reported_ + expired_report_interval, now))) {
        return false;
    }
    expired_reported_ = now;
    return true;
}

}  // namespace supervisor
