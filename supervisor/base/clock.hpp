#pragma once

#include <algorithm>
#include <chrono>
#include <functional>

namespace supervisor {

using std::chrono::milliseconds;

/// One reading of the two clocks that an expiry is kept on. `wall` is CLOCK_REALTIME since the epoch: it is right
/// after a freeze but may be stepped. `boot` is CLOCK_BOOTTIME: it is never stepped and counts suspension, but a
/// sandbox may freeze it with the instance. Neither is trusted alone.
struct Moment {
    milliseconds wall{};
    milliseconds boot{};

    friend bool operator==(const Moment&, const Moment&) = default;
};

constexpr Moment operator+(Moment moment, milliseconds later) { return {moment.wall + later, moment.boot + later}; }

constexpr Moment operator-(Moment moment, milliseconds earlier) { return moment + -earlier; }

/// Time left until `deadline`, by the clock on which it comes first; negative when it has passed.
constexpr milliseconds remaining(Moment deadline, Moment now) {
    return std::min(deadline.wall - now.wall, deadline.boot - now.boot);
}

/// Whether either clock says that `deadline` has come.
constexpr bool reached(Moment deadline, Moment now) { return remaining(deadline, now) <= milliseconds{0}; }

/// The time between two moments by CLOCK_BOOTTIME, which no step of the wall clock changes; negative when `to` is first.
constexpr milliseconds elapsed(Moment from, Moment to) { return to.boot - from.boot; }

/// The earlier of two deadlines, on each clock.
constexpr Moment earlier(Moment one, Moment other) {
    return {std::min(one.wall, other.wall), std::min(one.boot, other.boot)};
}

/// The later of two deadlines, on each clock.
constexpr Moment later(Moment one, Moment other) {
    return {std::max(one.wall, other.wall), std::max(one.boot, other.boot)};
}

/// Reads both clocks: the only place of the program that asks the system for the time of a token.
Moment read_clocks();

/// Where a part reads the time that is not handed to it, such as the moment at which an answer arrives: read_clocks()
/// in the program, a simulated clock in a test.
using Clock = std::function<Moment()>;

}  // namespace supervisor
