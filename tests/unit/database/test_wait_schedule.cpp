#include "database/wait_schedule.hpp"

#include <catch2/catch_test_macros.hpp>

#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

}  // namespace

TEST_CASE("The first try is due at once") {
    const WaitSchedule schedule{2min, start};
    CHECK(schedule.due(start));
    CHECK(schedule.sleep(start) == 0ms);
    CHECK_FALSE(schedule.over(start));
}

TEST_CASE("Tries that fail at once are 0.5 s apart, growing to 5 s") {
    WaitSchedule schedule{1h, start};
    auto now = start;
    for (const auto pause : {500ms, 1000ms, 2000ms, 4000ms, 5000ms, 5000ms, 5000ms}) {
        REQUIRE(schedule.due(now));
        CHECK(schedule.begin_try(now) == pause);
        schedule.failed();
        CHECK(schedule.sleep(now) == pause);
        CHECK_FALSE(schedule.due(now + pause - 1ms));
        now = now + pause;
    }
}

TEST_CASE("A try that lasts as long as it may is followed by the next at once") {
    WaitSchedule schedule{1h, start};
    auto now = start;
    for (int tries = 0; tries < 10; ++tries) {
        const auto limit = schedule.begin_try(now);
        CHECK_FALSE(schedule.due(now + limit));
        CHECK(schedule.sleep(now + limit) > 0ms);
        now = now + limit;
        schedule.failed();
        CHECK(schedule.due(now));
        CHECK(schedule.sleep(now) == 0ms);
    }
}

TEST_CASE("The last try ends with the patience, and then it is over") {
    WaitSchedule schedule{800ms, start};
    CHECK(schedule.begin_try(start) == 500ms);
    schedule.failed();
    const auto second = start + 500ms;
    CHECK(schedule.begin_try(second) == 300ms);
    CHECK_FALSE(schedule.over(start + 800ms));
    schedule.failed();
    CHECK(schedule.over(start + 800ms));
    CHECK_FALSE(schedule.due(start + 800ms));
    CHECK(schedule.sleep(start + 800ms) == 0ms);
}

TEST_CASE("The end of the patience is not slept over") {
    WaitSchedule schedule{600ms, start};
    schedule.begin_try(start);
    schedule.failed();
    schedule.begin_try(start + 500ms);
    schedule.failed();
    // The next try would be due after another second.
    CHECK(schedule.sleep(start + 501ms) == 99ms);
    CHECK_FALSE(schedule.over(start + 599ms));
    CHECK(schedule.over(start + 600ms));
}

TEST_CASE("A step of the wall clock changes nothing") {
    WaitSchedule schedule{2min, start};
    schedule.begin_try(start);
    schedule.failed();
    for (const auto step : {-24h, 24h}) {
        const Moment stepped{start.wall + step, start.boot + 499ms};
        CHECK_FALSE(schedule.due(stepped));
        CHECK_FALSE(schedule.over(stepped));
        CHECK(schedule.sleep(stepped) == 1ms);
    }
}

TEST_CASE("A try that would be due as the patience ends is not made") {
    WaitSchedule schedule{500ms, start};
    CHECK(schedule.begin_try(start) == 500ms);
    schedule.failed();
    CHECK_FALSE(schedule.due(start + 500ms));
    CHECK(schedule.over(start + 500ms));
}
