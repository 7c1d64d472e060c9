#include "base/freeze_detector.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

}  // namespace

TEST_CASE("A sleep of the planned length, or a little late, is no freeze") {
    FreezeDetector detector{start};
    CHECK_FALSE(detector.on_wake(start + 30s).has_value());
    CHECK_FALSE(detector.on_wake(start + 65s).has_value());
}

TEST_CASE("A sleep that overran by more than the tolerance is a freeze of that length") {
    FreezeDetector detector{start};
    CHECK(detector.on_wake(start + 35s + 1ms) == 35'001ms);
    // It is reported once.
    CHECK_FALSE(detector.on_wake(start + 35s + 2ms).has_value());
}

TEST_CASE("Either clock alone tells of a freeze") {
    FreezeDetector wall{start};
    CHECK(wall.on_wake({start.wall + 1h, start.boot}) == 1h);
    FreezeDetector boot{start};
    CHECK(boot.on_wake({start.wall, start.boot + 1h}) == 1h);
}

TEST_CASE("A backward step of the wall clock is no freeze") {
    FreezeDetector detector{start};
    CHECK_FALSE(detector.on_wake({start.wall - 1h, start.boot + 1s}).has_value());
}

TEST_CASE("Many short sleeps are no freeze") {
    FreezeDetector detector{start};
    for (auto now = start; remaining(start + 1h, now) > 0ms; now = now + 1s) {
        CHECK_FALSE(detector.on_wake(now).has_value());
    }
}
