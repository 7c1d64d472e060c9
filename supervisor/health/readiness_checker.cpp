#include "health/readiness_checker.hpp"

#include <utility>

namespace supervisor {

ReadinessChecker::ReadinessChecker(std::optional<std::string> url, bool is_prefect, HttpGet get, Log& log, Clock clock)
    : url_(std::move(url)),
      is_prefect_(is_prefect),
      get_(std::move(get)),
      log_(log),
      clock_(std::move(clock)),
      readiness_(url_.has_value()) {}

void ReadinessChecker::child_started(Moment now) {
    ++child_number_;
    readiness_.child_started(now);
}

void ReadinessChecker::child_handed_over(Moment now) {
    ++child_number_;
    readiness_.child_handed_over(now);
}

void ReadinessChecker::child_leaves() {
    ++child_number_;
    readiness_.child_leaves();
}

void ReadinessChecker::tick(Moment now) {
    if (const auto since = readiness_.lost(now)) {
        log_.warning("child: not ready any more", {{"no_answer_for_ms", since->count()}});
    }
    if (readiness_.due(now)) {
        ask();
    }
}

void ReadinessChecker::ask() {
    readiness_.asked();
    get_(readiness_check(*url_), [this, asked = child_number_](const Result<HttpAnswer>& answer) {
        if (asked == child_number_) {
            on_answer(answer);
        }
    });
}

void ReadinessChecker::on_answer(const Result<HttpAnswer>& answer) {
    const auto now = clock_();
    const auto fault = judge_readiness(answer, is_prefect_);
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
}

}  // namespace supervisor
