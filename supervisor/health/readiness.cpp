#include "health/readiness.hpp"

#include <algorithm>

namespace supervisor {

void Readiness::child_started(Moment now) {
    child_runs_ = true;
    in_flight_ = false;
    lost_ = false;
    started_at_ = now;
    next_question_ = now + pause_until_ready;
    last_answer_.reset();
    ever_ready_ = ever_ready_ || !asks_;
}

void Readiness::child_handed_over(Moment now) {
    in_flight_ = false;
    next_question_ = now;
}

void Readiness::child_leaves() {
    child_runs_ = false;
    in_flight_ = false;
    last_answer_.reset();
}

bool Readiness::due(Moment now) const { return asks_ && child_runs_ && !in_flight_ && reached(next_question_, now); }

std::optional<milliseconds> Readiness::sleep(Moment now) const {
    if (!asks_ || !child_runs_ || in_flight_) {
        return std::nullopt;
    }
    return std::max(milliseconds{0}, remaining(next_question_, now));
}

void Readiness::asked() { in_flight_ = true; }

ReadinessChange Readiness::answered(bool good, Moment now) {
    in_flight_ = false;
    auto change = ReadinessChange::none;
    if (good) {
        change = !last_answer_ ? ReadinessChange::first : lost_ ? ReadinessChange::regained : ReadinessChange::none;
        last_answer_ = now;
        ever_ready_ = true;
        lost_ = false;
    }
    const auto pause = good ? pause_when_ready : last_answer_ ? pause_after_miss : pause_until_ready;
    next_question_ = now + pause;
    return change;
}

std::optional<milliseconds> Readiness::lost(Moment now) {
    if (lost_ || !child_runs_ || !last_answer_ || ready(now)) {
        return std::nullopt;
    }
    lost_ = true;
    return -remaining(*last_answer_, now);
}

bool Readiness::ready(Moment now) const {
    if (!child_runs_) {
        return false;
    }
    return !asks_ || (last_answer_ && !reached(*last_answer_ + answer_counts_for, now));
}

HttpRequest readiness_check(const std::string& url) {
    HttpRequest request;
    request.url = url;
    request.headers = {"User-Agent: prefect-supervisor"};
    return request;
}

std::optional<Fault> judge_readiness(const Result<HttpAnswer>& answer, bool is_prefect) {
    if (!answer) {
        return answer.error();
    }
    if (answer->status < 200 || answer->status > 299) {
        return Fault{"it answered " + std::to_string(answer->status)};
    }
    if (is_prefect && answer->body.find("true") != 0) {
        return Fault{"it answered 200, but not as Prefect's health page does"};
    }
    return std::nullopt;
}

}  // namespace supervisor
