#include "base/clock.hpp"

#include <catch2/catch_test_macros.hpp>

#include <ctime>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

/// Ten seconds before noon, while the wall clock was fast by 70 s.
constexpr Moment noon{43'200s, 100s};
constexpr Moment stepped{43'260s, 90s};

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

TEST_CASE("A time is added to both clocks and taken from both") {
    CHECK(noon + 5s == Moment{43'205s, 105s});
    CHECK(noon - 5s == Moment{43'195s, 95s});
}

TEST_CASE("The clock on which a deadline comes first says how long it is until then") {
    CHECK(remaining(Moment{43'210s, 130s}, noon) == 10s);
    CHECK(remaining(Moment{43'230s, 110s}, noon) == 10s);
    CHECK(remaining(Moment{43'190s, 130s}, noon) == -10s);
}

TEST_CASE("A deadline is reached when either clock shows it, at that very moment") {
    CHECK_FALSE(reached(noon, noon - 1ms));
    CHECK(reached(noon, noon));
    CHECK(reached(noon, noon + 1ms));
    CHECK(reached(noon, Moment{noon.wall, noon.boot - 1h}));
    CHECK(reached(noon, Moment{noon.wall - 1h, noon.boot}));
}

TEST_CASE("The time between two moments is by the clock that nobody steps") {
    CHECK(elapsed(stepped, noon) == 10s);
    CHECK(elapsed(noon, stepped) == -10s);
}

TEST_CASE("The earlier and the later of two deadlines are found on each clock") {
    CHECK(earlier(noon, stepped) == Moment{43'200s, 90s});
    CHECK(earlier(stepped, noon) == Moment{43'200s, 90s});
    CHECK(later(noon, stepped) == Moment{43'260s, 100s});
    CHECK(later(stepped, noon) == Moment{43'260s, 100s});
}
