#include "health/readiness.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

}  // namespace

TEST_CASE("A child is asked every 500 ms until its first answer") {
    Readiness readiness{true};
    CHECK_FALSE(readiness.sleep(start).has_value());
    readiness.child_started(start);
    auto now = start;
    for (int i = 0; i < 5; ++i) {
        CHECK(readiness.sleep(now) == 500ms);
        CHECK_FALSE(readiness.due(now + 499ms));
        now = now + 500ms;
        CHECK(readiness.due(now));
        readiness.asked();
        CHECK_FALSE(readiness.due(now));
        CHECK(readiness.answered(false, now) == ReadinessChange::none);
        CHECK_FALSE(readiness.lost(now).has_value());
        CHECK_FALSE(readiness.ready(now));
        CHECK_FALSE(readiness.ever_ready());
    }
    readiness.asked();
    CHECK(readiness.answered(true, now) == ReadinessChange::first);
    CHECK(readiness.ready(now));
    CHECK(readiness.ever_ready());
}

TEST_CASE("A ready child is asked every 10 s and sooner after a miss") {
    Readiness readiness{true};
    readiness.child_started(start);
    readiness.answered(true, start);
    CHECK(readiness.sleep(start) == 10s);
    readiness.asked();
    CHECK(readiness.answered(false, start + 10s) == ReadinessChange::none);
    CHECK(readiness.sleep(start + 10s) == 2s);
    CHECK(readiness.answered(true, start + 12s) == ReadinessChange::none);
    CHECK(readiness.sleep(start + 12s) == 10s);
}

TEST_CASE("An answer counts for 15 s") {
    Readiness readiness{true};
    readiness.child_started(start);
    readiness.answered(true, start);
    CHECK(readiness.ready(start + 15s - 1ms));
    CHECK_FALSE(readiness.ready(start + 15s));
    readiness.answered(true, start + 20s);
    CHECK(readiness.ready(start + 20s));
}

TEST_CASE("The next child has to answer for itself but the start is over") {
    Readiness readiness{true};
    readiness.child_started(start);
    readiness.answered(true, start);
    readiness.child_leaves();
    CHECK_FALSE(readiness.ready(start));
    CHECK_FALSE(readiness.sleep(start).has_value());
    readiness.child_started(start + 1s);
    CHECK_FALSE(readiness.ready(start + 1s));
    CHECK(readiness.ever_ready());
    CHECK(readiness.sleep(start + 1s) == 500ms);
    CHECK(readiness.answered(true, start + 2s) == ReadinessChange::first);
}

TEST_CASE("A child that took over is asked at once, and the answer of the one before counts until then") {
    Readiness readiness{true};
    readiness.child_started(start);
    readiness.answered(true, start);
    readiness.asked();
    readiness.child_handed_over(start + 5s);
    CHECK(readiness.ready(start + 5s));
    CHECK(readiness.due(start + 5s));
    readiness.asked();
    CHECK(readiness.answered(true, start + 5s) == ReadinessChange::none);
    CHECK(readiness.sleep(start + 5s) == 10s);
    CHECK(readiness.ready(start + 19s));
}

TEST_CASE("That a child is not ready any more and ready again is told once each") {
    Readiness readiness{true};
    readiness.child_started(start);
    CHECK_FALSE(readiness.lost(start + 1h).has_value());
    readiness.answered(true, start);
    readiness.answered(false, start + 10s);
    CHECK_FALSE(readiness.lost(start + 15s - 1ms).has_value());
    CHECK(readiness.lost(start + 16s) == 16s);
    CHECK_FALSE(readiness.lost(start + 17s).has_value());
    CHECK(readiness.answered(false, start + 17s) == ReadinessChange::none);
    CHECK(readiness.answered(true, start + 19s) == ReadinessChange::regained);
    CHECK(readiness.answered(true, start + 29s) == ReadinessChange::none);
    CHECK(readiness.lost(start + 29s + 15s) == 15s);
    readiness.child_leaves();
    CHECK_FALSE(readiness.lost(start + 1h).has_value());
    readiness.child_started(start + 1h);
    CHECK(readiness.answered(true, start + 1h) == ReadinessChange::first);
}

TEST_CASE("With the question off a child is ready as long as it runs") {
    Readiness readiness{false};
    CHECK_FALSE(readiness.ever_ready());
    readiness.child_started(start);
    CHECK(readiness.ready(start + 24h));
    CHECK(readiness.ever_ready());
    CHECK_FALSE(readiness.due(start + 24h));
    readiness.child_leaves();
    CHECK_FALSE(readiness.ready(start));
}

TEST_CASE("Only a good answer counts and Prefect's own is known by its body") {
    const auto good = [](long status, const std::string& body, bool is_prefect) {
        return !judge_readiness(HttpAnswer{.status = status, .body = body}, is_prefect).has_value();
    };
    CHECK(good(200, "true", true));
    CHECK_FALSE(good(200, "<!doctype html>", true));
    CHECK(good(299, "", false));
    CHECK(good(200, "<!doctype html>", false));
    CHECK(good(204, "", false));
    for (const long status : {301, 404, 500, 503}) {
        CHECK_FALSE(good(status, "true", true));
        CHECK_FALSE(good(status, "", false));
    }
    CHECK(judge_readiness(Fault{"connection refused"}, true)->why == "connection refused");
}
