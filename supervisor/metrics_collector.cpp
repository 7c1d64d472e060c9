#include "metrics_collector.hpp"

namespace supervisor {

void MetricsCollector::token_answered(std::optional<Freshness> meaning, milliseconds took) {
    metrics_.token_refresh_duration.observe(took);
    auto& refreshes = metrics_.token_refreshes;
    if (!meaning) {
        ++refreshes.failed;
        return;
    }
    switch (*meaning) {
        case Freshness::fresh: ++refreshes.fresh; break;
        case Freshness::unchanged: ++refreshes.stale; break;
        case Freshness::too_old: ++refreshes.expired; break;
    }
}

void MetricsCollector::child_handed_over(Moment started, Moment now) {
    starting_since_.reset();
    metrics_.child_start_duration.observe(elapsed(started, now));
}

void MetricsCollector::child_ready(Moment now) {
    if (starting_since_) {
        metrics_.child_start_duration.observe(elapsed(*starting_since_, now));
        starting_since_.reset();
    }
}

}  // namespace supervisor
