#pragma once

#include "base/clock.hpp"
#include "http/http_client.hpp"

#include <optional>
#include <string>

namespace supervisor {

/// What the answer to a readiness check changes.
enum class ReadinessChange {
    none,
    first,     ///< the child's first successful answer
    regained,  ///< a successful one after lost()
};

/// When to ask the child whether it is ready, and for how long its answer counts. Pure policy.
///
/// The child is asked every 500 ms until its first answer, then every 10 s; a check without a successful answer is
/// repeated after 2 s. An answer counts for 15 s, so that a single lost answer is not an outage.
class Readiness {
public:
    static constexpr milliseconds pause_until_ready{500};
    static constexpr milliseconds pause_when_ready{10'000};
    static constexpr milliseconds pause_after_miss{2'000};
    static constexpr milliseconds answer_counts_for{15'000};

    /// `asks` is false when the question is off: then a child is ready as soon as it runs.
    explicit Readiness(bool asks) : asks_(asks) {}

    void child_started(Moment now);
    /// The next child serves, and the last answer of the one before still counts.
    void child_handed_over(Moment now);
    void child_leaves();

    [[nodiscard]] bool due(Moment now) const;
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const;  ///< none: there is no child to ask
    void asked();
    ReadinessChange answered(bool good, Moment now);
    /// Reported once, when the last successful answer no longer counts and no other has come: the age of that answer.
    std::optional<milliseconds> lost(Moment now);

    [[nodiscard]] bool ready(Moment now) const;
    /// Whether any child was ever ready, for the startup probe.
    [[nodiscard]] bool ever_ready() const { return ever_ready_; }
    /// The running child's start, for "ready after".
    [[nodiscard]] Moment child_started_at() const { return started_at_; }

private:
    bool asks_;
    bool child_runs_ = false;
    bool in_flight_ = false;
    bool ever_ready_ = false;
    bool lost_ = false;
    Moment started_at_{};
    Moment next_question_{};
    std::optional<Moment> last_answer_{};
};

/// The child's readiness check as a request.
HttpRequest readiness_check(const std::string& url);

/// Accepts an answer with a status of 200 to 299; for Prefect's own page also its body has to be `true`, since
/// Prefect's UI answers 200 to any path it does not know. Otherwise the fault says why not.
std::optional<Fault> judge_readiness(const Result<HttpAnswer>& answer, bool is_prefect);

}  // namespace supervisor
