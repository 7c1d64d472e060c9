#pragma once

#include "base/clock.hpp"

namespace supervisor {

/// When to ask whether the database can be reached, and for how long to go on. Pure policy.
///
/// The pause from one try to the next grows from 0.5 s to 5 s: 0.5, 1, 2, 4, 5, 5 s. A try may last until the next one
/// is due, so that a network that drops packets is noticed after half a second, and one that comes up late is noticed by
/// the retransmissions of the longer tries (after 1 and 3 s on Linux, tcp_syn_retries in tcp(7)).
///
/// All times are by CLOCK_BOOTTIME alone, because a step of the wall clock must not use up the patience.
class WaitSchedule {
public:
    static constexpr milliseconds first_pause{500};
    static constexpr milliseconds longest_pause{5'000};

    /// `patience` counts from `start` and is more than zero; `pause` is the first one.
    WaitSchedule(milliseconds patience, Moment start, milliseconds pause = first_pause)
        : deadline_(start.boot + patience), next_try_(start.boot), pause_(pause) {}

    /// Whether the next try is to be made now. Never while one is under way, or after the end.
    [[nodiscard]] bool due(Moment now) const;
    /// A try is made at `now`; returns how long it may last.
    milliseconds begin_try(Moment now);
    /// It failed.
    void failed() { in_flight_ = false; }
    /// The patience is used up, and no try is under way.
    [[nodiscard]] bool over(Moment now) const { return !in_flight_ && now.boot >= deadline_; }
    /// How long to sleep before due() and over() are asked again, never negative. A try that is under way wakes the
    /// caller by its answer.
    [[nodiscard]] milliseconds sleep(Moment now) const;

private:
    milliseconds deadline_;
    milliseconds next_try_;
    milliseconds pause_;
    bool in_flight_ = false;
};

}  // namespace supervisor
