#pragma once

#include "base/clock.hpp"
#include "health/metrics.hpp"
#include "token/refresh_schedule.hpp"

#include <optional>

namespace supervisor {

/// Counts what the parts report, for /metrics. The supervisor tells it of each event; it knows none of the parts and
/// changes nothing.
class MetricsCollector {
public:
    explicit MetricsCollector(Moment start) { metrics_.process_start = start.wall; }

    /// A request for a token was answered; no meaning stands for a failure.
    void token_answered(std::optional<Freshness> meaning, milliseconds took);
    /// A fresh token has reached a child; `as_planned` is false when it did so by a restart in place of a rolling rotation.
    void rotated(bool as_planned) { ++(as_planned ? metrics_.rotations.success : metrics_.rotations.fallback); }
    void rotation_failed() { ++metrics_.rotations.failed; }

    /// The child serves from its start on, and is asked whether it is ready.
    void child_started(Moment now) { starting_since_ = now; }
    /// The child, which was started at `started`, serves now that it is ready for connections.
    void child_handed_over(Moment started, Moment now);
    /// To be called as often as anyone likes while the child is ready: the first time counts.
    void child_ready(Moment now);
    void child_left() { starting_since_.reset(); }
    void child_drained(milliseconds took) { metrics_.child_drain_duration.observe(took); }

    [[nodiscard]] const Metrics& metrics() const { return metrics_; }

private:
    Metrics metrics_{};
    std::optional<Moment> starting_since_{};  ///< until the child is ready
};

}  // namespace supervisor
