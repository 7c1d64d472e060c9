#include "metrics_collector.hpp"

#include <catch2/catch_test_macros.hpp>

#include <numeric>
#include <optional>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

std::uint64_t count(const Histogram& histogram) {
    return std::accumulate(histogram.counts().begin(), histogram.counts().end(), std::uint64_t{0});
}

}  // namespace

TEST_CASE("Each answer about a token counts by its meaning, and all count by how long they took") {
    MetricsCollector collector{start};
    collector.token_answered(Freshness::fresh, 10ms);
    collector.token_answered(Freshness::unchanged, 20ms);
    collector.token_answered(Freshness::unchanged, 30ms);
    collector.token_answered(Freshness::too_old, 40ms);
    collector.token_answered(std::nullopt, 5s);
    const auto& metrics = collector.metrics();
    CHECK(metrics.token_refreshes.fresh == 1);
    CHECK(metrics.token_refreshes.stale == 2);
    CHECK(metrics.token_refreshes.expired == 1);
    CHECK(metrics.token_refreshes.failed == 1);
    CHECK(count(metrics.token_refresh_duration) == 5);
    CHECK(metrics.token_refresh_duration.sum() == 5100ms);
    CHECK(metrics.process_start == start.wall);
}

TEST_CASE("A child's start lasts until it is ready for the first time") {
    MetricsCollector collector{start};
    collector.child_ready(start);
    CHECK(count(collector.metrics().child_start_duration) == 0);
    collector.child_started(start);
    collector.child_ready(start + 3s);
    collector.child_ready(start + 10s);
    CHECK(count(collector.metrics().child_start_duration) == 1);
    CHECK(collector.metrics().child_start_duration.sum() == 3s);
}

TEST_CASE("A child that is drained before it is ready has no start to be measured") {
    MetricsCollector collector{start};
    collector.child_started(start);
    collector.child_left();
    collector.child_ready(start + 3s);
    CHECK(count(collector.metrics().child_start_duration) == 0);
    collector.child_drained(2s);
    CHECK(collector.metrics().child_drain_duration.sum() == 2s);
}

TEST_CASE("The start of a child beside another one lasts until it serves, and is counted once") {
    MetricsCollector collector{start};
    collector.child_started(start);
    collector.child_handed_over(start + 60s, start + 64s);
    collector.child_ready(start + 65s);
    CHECK(count(collector.metrics().child_start_duration) == 1);
    CHECK(collector.metrics().child_start_duration.sum() == 4s);
}

TEST_CASE("Rotations count by their result") {
    MetricsCollector collector{start};
    collector.rotated(true);
    collector.rotated(true);
    collector.rotated(false);
    collector.rotation_failed();
    CHECK(collector.metrics().rotations.success == 2);
    CHECK(collector.metrics().rotations.fallback == 1);
    CHECK(collector.metrics().rotations.failed == 1);
}
