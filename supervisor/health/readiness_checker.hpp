#pragma once

#include "base/clock.hpp"
#include "base/log.hpp"
#include "health/readiness.hpp"
#include "http/http_client.hpp"

#include <optional>
#include <string>

namespace supervisor {

/// Asks the child whether it is ready, as often as the readiness policy says, and logs what changes.
/// Like TokenRefresher it has no timer of its own.
class ReadinessChecker {
public:
    /// `url` is what is asked; without one a child is ready as soon as it runs. `is_prefect` says that `url` is
    /// Prefect's own health page, whose body is known.
    ReadinessChecker(std::optional<std::string> url, bool is_prefect, HttpGet get, Log& log, Clock clock);
    ReadinessChecker(const ReadinessChecker&) = delete;
    ReadinessChecker& operator=(const ReadinessChecker&) = delete;

    void child_started(Moment now);
    /// Another child, which is ready for connections, serves in place of the one before: nothing changes for who asks us, and
    /// it is asked at once.
    void child_handed_over(Moment now);
    /// The child is to end, or has ended; an answer that is still in flight does not count.
    void child_leaves();

    /// Asks when a check is due, and logs once when the last successful answer no longer counts.
    void tick(Moment now);
    /// How long tick() may wait at most, never negative; none when there is no child to ask.
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const { return readiness_.sleep(now); }

    [[nodiscard]] bool ready(Moment now) const { return readiness_.ready(now); }
    /// Whether any child was ever ready, for the startup probe.
    [[nodiscard]] bool ever_ready() const { return readiness_.ever_ready(); }

private:
    void ask();
    void on_answer(const Result<HttpAnswer>& answer);

    std::optional<std::string> url_;
    bool is_prefect_;
    HttpGet get_;
    Log& log_;
    Clock clock_;
    Readiness readiness_;
    unsigned child_number_ = 0;  ///< tells an answer of the child that was asked from one of the child before
};

}  // namespace supervisor
