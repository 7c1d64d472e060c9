#include "base/histogram.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;

using Counts = std::vector<std::uint64_t>;

TEST_CASE("A duration is counted in the smallest bucket that holds it, and one that equals a bound is within it") {
    Histogram histogram{10ms, 1s};
    CHECK(histogram.counts() == Counts{0, 0, 0});
    for (const auto duration : {0ms, 10ms, 11ms, 1000ms, 1001ms, 3'600'000ms}) {
        histogram.observe(duration);
    }
    CHECK(histogram.counts() == Counts{2, 2, 2});
    CHECK(histogram.sum() == 3'602'022ms);
    CHECK(histogram.bounds() == std::vector<milliseconds>{10ms, 1s});
}

TEST_CASE("A negative duration does not make the sum fall") {
    Histogram histogram{10ms};
    histogram.observe(5ms);
    histogram.observe(-7ms);
    CHECK(histogram.counts() == Counts{2, 0});
    CHECK(histogram.sum() == 5ms);
}
