#pragma once

#include "base/clock.hpp"
#include "base/log.hpp"
#include "token/refresh_schedule.hpp"
#include "token/token.hpp"
#include "token/token_source.hpp"

#include <functional>
#include <optional>
#include <string>

namespace supervisor {

/// Provides a usable token for as long as the program runs: asks the token source whenever the schedule says so,
/// judges the answer, and reports each fresh token. It logs every outcome of a request, and the expiry once a minute.
///
/// It has no timer of its own: the caller calls tick() when sleep() is over, and may call it at any other time.
class TokenRefresher {
public:
    struct Limits {
        milliseconds refresh_interval{};  ///< a token is replaced after this long, or as soon as the source has another
        milliseconds start_deadline{};    ///< for the first token, by CLOCK_BOOTTIME alone
    };

    /// Who is told what comes of the requests.
    class Listener {
    public:
        /// A request was answered `took` after it was sent; no meaning stands for a failure.
        virtual void on_answered(std::optional<Freshness> meaning, milliseconds took) = 0;
        /// A token that differs from the one before has come; token() and expiry() are the new one's.
        virtual void on_fresh(Moment now) = 0;
        /// There was no first token within the start deadline; `why` is the last answer. Reported once.
        virtual void on_deadline(const std::string& why) = 0;

    protected:
        ~Listener() = default;
    };

    /// `random` returns a number from 0 to less than 1. All arguments by reference must outlive this object.
    TokenRefresher(Limits limits, TokenSource& source, Listener& listener, Log& log, Clock clock,
                   std::function<double()> random);
    TokenRefresher(const TokenRefresher&) = delete;
    TokenRefresher& operator=(const TokenRefresher&) = delete;

    /// Does what is due: sends a request, reports the start deadline or the expiry.
    void tick(Moment now);
    /// How long tick() may wait at most; never negative.
    [[nodiscard]] milliseconds sleep(Moment now) const;
    /// The process was frozen for some time, or may have been: what is due is tried at once.
    void resume(Moment now) { schedule_.resumed(now); }

    /// The newest token, or none before the first.
    [[nodiscard]] const std::optional<Secret>& token() const { return token_; }
    /// The newest token's hash, for the log and for comparison.
    [[nodiscard]] const std::string& hash() const { return hash_; }
    /// Whether there is a token, and it has expired.
    [[nodiscard]] bool expired(Moment now) const { return schedule_.expired(now); }
    /// When the newest token expires. Meaningful once there is one.
    [[nodiscard]] Moment expiry() const { return schedule_.expiry(); }
    [[nodiscard]] Moment next_request() const { return schedule_.next_request(); }
    /// Why the last request brought no fresh token; empty when it did.
    [[nodiscard]] const std::string& last_error() const { return last_error_; }

private:
    void fetch(Moment now);
    void on_answer(TokenAnswer answer);
    void judge(Token token, Moment now);
    void report_deadline(Moment now);

    [[nodiscard]] milliseconds until_deadline(Moment now) const {
        return started_at_.boot + limits_.start_deadline - now.boot;
    }

    Limits limits_;
    TokenSource& source_;
    Listener& listener_;
    Log& log_;
    Clock clock_;
    std::function<double()> random_;
    Moment started_at_;
    Moment asked_at_{};  ///< the newest request
    RefreshSchedule schedule_;
    std::optional<Secret> token_{};
    std::string hash_{};  ///< of token_, for the log
    std::string last_error_{};
    bool deadline_reported_ = false;
};

}  // namespace supervisor
