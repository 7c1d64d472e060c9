#pragma once

#include "base/clock.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace supervisor {

/// Durations, counted by their size. A plain value: it knows nothing of how it is shown.
class Histogram {
public:
    /// `bounds` are the upper bounds of the buckets, rising; a duration that equals a bound is within it. Longer ones
    /// than the last bound are counted as well.
    Histogram(std::initializer_list<milliseconds> bounds) : bounds_(bounds), counts_(bounds_.size() + 1) {}

    /// A negative duration counts as none: a sum that falls would look like a restart to who reads it.
    void observe(milliseconds duration) {
        duration = std::max(duration, milliseconds{0});
        std::size_t bucket = 0;
        while (bucket < bounds_.size() && duration > bounds_[bucket]) {
            ++bucket;
        }
        ++counts_[bucket];
        sum_ += duration;
    }

    [[nodiscard]] const std::vector<milliseconds>& bounds() const { return bounds_; }
    /// For each bound the number of durations in its own bucket alone, and at last that of the longer ones.
    [[nodiscard]] const std::vector<std::uint64_t>& counts() const { return counts_; }
    [[nodiscard]] milliseconds sum() const { return sum_; }

private:
    std::vector<milliseconds> bounds_;
    std::vector<std::uint64_t> counts_;
    milliseconds sum_{};
};

}  // namespace supervisor
