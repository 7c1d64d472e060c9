#pragma once

#include "base/clock.hpp"
#include "base/histogram.hpp"
#include "base/process_usage.hpp"
#include "config/settings.hpp"
#include "health/health_report.hpp"
#include "http/http_response.hpp"

#include <cstdint>

namespace supervisor {

/// What was counted since the start of the program: plain values, which the collector increments.
struct Metrics {
    /// The answers to our requests for a token, by what they meant.
    struct TokenRefreshes {
        std::uint64_t fresh = 0;    ///< another token than the current one
        std::uint64_t stale = 0;    ///< the current token once more
        std::uint64_t expired = 0;  ///< a token that had expired before it arrived
        std::uint64_t failed = 0;   ///< no token
    };
    struct Rotations {
        std::uint64_t success = 0;   ///< a fresh token reached the child in the way of the mode
        std::uint64_t fallback = 0;  ///< it did so by a restart, as no second child could start beside the first
        std::uint64_t failed = 0;    ///< a try after which the old token stayed in use
    };

    TokenRefreshes token_refreshes{};
    Histogram token_refresh_duration{milliseconds{5},     milliseconds{10},    milliseconds{25},    milliseconds{50},
                                     milliseconds{100},   milliseconds{250},   milliseconds{500},   milliseconds{1'000},
                                     milliseconds{2'500}, milliseconds{5'000}, milliseconds{10'000}};
    Rotations rotations{};  ///< of the mode that was chosen; there are none of the others
    Histogram child_start_duration{milliseconds{500},     milliseconds{1'000},  milliseconds{2'500},
                                   milliseconds{5'000},   milliseconds{10'000}, milliseconds{15'000},
                                   milliseconds{20'000},  milliseconds{30'000}, milliseconds{60'000},
                                   milliseconds{120'000}, milliseconds{300'000}};
    Histogram child_drain_duration{milliseconds{100},     milliseconds{500},    milliseconds{1'000},
                                   milliseconds{2'500},   milliseconds{5'000},  milliseconds{10'000},
                                   milliseconds{20'000},  milliseconds{30'000}, milliseconds{60'000},
                                   milliseconds{120'000}, milliseconds{300'000}};
    milliseconds process_start{};  ///< wall clock, since the epoch
};

/// The answer to a GET of /metrics, in Prometheus' text format. Pure.
HttpResponse metrics_answer(const Metrics& metrics, RotationMode mode, const HealthFacts& facts,
                            const ProcessUsage& usage);

}  // namespace supervisor
