#include "base/clock.hpp"

#include <catch2/catch_test_macros.hpp>

#include <ctime>

using namespace supervisor;

namespace {

/// One clock in milliseconds, computed from the fields of timespec and not by the code under test.
milliseconds milliseconds_of(clockid_t clock) {
    timespec time{};
    REQUIRE(::clock_gettime(clock, &time) == 0);
    return milliseconds{time.tv_sec * 1'000 + time.tv_nsec / 1'000'000};
}

}  // namespace

// clock_gettime(2): CLOCK_REALTIME counts from the epoch, CLOCK_BOOTTIME from the start of the machine, and a later
// call of the second is never earlier. The wall clock may be stepped between two readings, but not by the test.
TEST_CASE("Both clocks are read in milliseconds, between a reading before and one after") {
    for (int i = 0; i < 100; ++i) {
        const auto wall_before = milliseconds_of(CLOCK_REALTIME);
        const auto boot_before = milliseconds_of(CLOCK_BOOTTIME);
        const auto now = read_clocks();
        const auto wall_after = milliseconds_of(CLOCK_REALTIME);
        const auto boot_after = milliseconds_of(CLOCK_BOOTTIME);
        CHECK(wall_before <= now.wall);
        CHECK(now.wall <= wall_after);
        CHECK(boot_before <= now.boot);
        CHECK(now.boot <= boot_after);
    }
}

TEST_CASE("The clocks go on between two readings") {
    const auto before = read_clocks();
    const auto until = milliseconds_of(CLOCK_BOOTTIME) + milliseconds{20};
    while (milliseconds_of(CLOCK_BOOTTIME) < until) {
    }
    const auto after = read_clocks();
    CHECK((after.boot - before.boot) >= milliseconds{20});
    CHECK(remaining(before + milliseconds{20}, after) <= milliseconds{0});
}
