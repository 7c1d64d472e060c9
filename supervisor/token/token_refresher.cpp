#include "token/token_refresher.hpp"

#include "config/duration.hpp"

#include <algorithm>
#include <utility>

namespace supervisor {

TokenRefresher::TokenRefresher(Limits limits, TokenSource& source, Listener& listener, Log& log, Clock clock,
                               std::function<double()> random)
    : limits_(limits),
      source_(source),
      listener_(listener),
      log_(log),
      clock_(std::move(clock)),
      random_(std::move(random)),
      started_at_(clock_()),
      schedule_(limits.refresh_interval, started_at_) {}

void TokenRefresher::tick(Moment now) {
    if (schedule_.due(now)) {
        fetch(now);
    }
    report_deadline(now);
    // While a request is in flight its answer may still replace the expired token.
    if (!schedule_.in_flight() && schedule_.expired_report_due(now)) {
        log_.error("token: expired and not replaced; open connections work on, new ones fail",
                   {{"hash", hash_}, {"last_error", last_error_}});
    }
}

milliseconds TokenRefresher::sleep(Moment now) const {
    auto sleep = schedule_.sleep(now);
    if (!token_ && !deadline_reported_) {
        sleep = std::clamp(until_deadline(now), milliseconds{0}, sleep);
    }
    return sleep;
}

void TokenRefresher::report_deadline(Moment now) {
    if (token_ || deadline_reported_ || until_deadline(now) > milliseconds{0}) {
        return;
    }
    deadline_reported_ = true;
    const auto why = last_error_.empty() ? "no answer yet" : last_error_;
    log_.error("token: none within the start deadline of " + to_string(limits_.start_deadline) + ": " + why);
    listener_.on_deadline(why);
}

void TokenRefresher::fetch(Moment now) {
    asked_at_ = now;
    schedule_.sent(now);
    source_.fetch([this](TokenAnswer answer) { on_answer(std::move(answer)); });
}

void TokenRefresher::on_answer(TokenAnswer answer) {
    const auto now = clock_();
    if (answer.token) {
        judge(std::move(*answer.token), now);
        return;
    }
    listener_.on_answered(std::nullopt, elapsed(asked_at_, now));
    const auto pause = schedule_.failed(now, random_(), answer.retry_after);
    last_error_ = answer.token.error().why;
    std::vector<Field> fields{{"next_try_ms", pause.count()}};
    if (token_) {
        // How much time an operator has.
        const auto left = std::max(remaining(schedule_.expiry(), now), milliseconds{0});
        fields.push_back({"current_expires_in", std::chrono::floor<std::chrono::seconds>(left).count()});
    }
    log_.warning("token: can't get one from " + source_.name() + ": " + last_error_, fields);
}

void TokenRefresher::judge(Token token, Moment now) {
    const bool is_another = !token_ || *token_ != token.text;
    const auto hash = is_another ? token.text.short_hash() : hash_;
    const auto expires_in = std::int64_t{token.expires_in.count()};
    const auto meaning = schedule_.answered(is_another, token.expires_in, now, random_());
    listener_.on_answered(meaning, elapsed(asked_at_, now));
    switch (meaning) {
        case Freshness::unchanged:
            last_error_ = source_.name() + " still gives out the same token";
            log_.debug("token: still the same one", {{"hash", hash}, {"expires_in", expires_in}});
            return;
        case Freshness::too_old:
            last_error_ = "the token had expired before it arrived";
            log_.warning("token: " + last_error_, {{"hash", hash}, {"expires_in", expires_in}});
            return;
        case Freshness::fresh: break;
    }
    last_error_.clear();
    log_.info("token: fresh one in hand", {{"hash", hash}, {"expires_in", expires_in}});
    token_ = std::move(token.text);
    hash_ = hash;
    listener_.on_fresh(now);
}

}  // namespace supervisor
