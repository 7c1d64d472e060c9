#pragma once

#include "base/clock.hpp"

#include <optional>

namespace supervisor {

/// Notices that the process got no CPU for a long time: Cloud Run freezes instances, and their timers come late. Pure
/// policy.
///
/// The loop never plans to sleep for longer than `longest_sleep`. Two wake-ups that are further apart than that and
/// `tolerance`, by either clock, mean that the instance was frozen in between, or that the wall clock was stepped
/// forward by as much. A freeze that falls into a planned sleep is noticed only as far as it outlasts that sleep.
class FreezeDetector {
public:
    static constexpr milliseconds longest_sleep{30'000};
    static constexpr milliseconds tolerance{5'000};

    explicit FreezeDetector(Moment start) : last_wake_(start) {}

    /// To be called at every wake-up of the loop. Returns the time since the wake-up before when it means a freeze.
    std::optional<milliseconds> on_wake(Moment now) {
        const auto since_last_wake = -remaining(last_wake_, now);
        last_wake_ = now;
        return since_last_wake > longest_sleep + tolerance ? std::optional{since_last_wake} : std::nullopt;
    }

private:
    Moment last_wake_;
};

}  // namespace supervisor
