#pragma once

#include "base/clock.hpp"
#include "http/http_client.hpp"

#include <optional>
#include <string>

namespace supervisor {

/// What an answer to the readiness question changes.
enum class ReadinessChange {
    none,
    first,     ///< the child's first good answer
    regained,  ///< a good one after lost()
};

/// When to ask the child whether it is ready, and for how long its answer counts. Pure policy.
///
/// Every 500 ms until a child's first answer, then every 10 s; a question without a good answer is asked again
/// after 2 s. An answer counts for 15 s, so that one that got lost is no outage.
class Readiness {
public:
    static constexpr milliseconds pause_until_ready{500};
    static constexpr milliseconds pause_when_ready{10'000};
    static constexpr milliseconds pause_after_miss{2'000};
    static constexpr milliseconds answer_counts_for{15'000};

    /// `asks` is false when the question is off: then a child is ready as soon as it runs.
    explicit Readiness(bool asks) : asks_(asks) {}

    void child_started(Moment now);
    void child_leaves();

    [[nodiscard]] bool due(Moment now) const;
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const;  ///< none: there is nobody to ask
    void asked();
    ReadinessChange answered(bool good, Moment now);
    /// Once, when the last good answer has ceased to count and no other has come: how long ago it was.
    std::optional<milliseconds> lost(Moment now);

    [[nodiscard]] bool ready(Moment now) const;
    /// Whether any child was ever ready: what a startup probe wants to know.
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

/// The child's readiness question as a request.
HttpRequest readiness_check(const std::string& url);

/// Whether `answer` is a good one: 200..299, and for Prefect's own page also its body `true`, since Prefect's UI
/// answers 200 to any path it does not know. Else why not.
std::optional<Fault> judge_readiness(const Result<HttpAnswer>& answer, bool is_prefect);

}  // namespace supervisor
