#include "token/refresh_schedule.hpp"

#include <catch2/catch_test_macros.hpp>

#include <optional>
#include <string>

using namespace supervisor;
using namespace std::chrono_literals;
using std::chrono::seconds;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

/// When the schedule asks next, counted from `now`.
milliseconds pause(const RefreshSchedule& schedule, Moment now) { return remaining(schedule.next_request(), now); }

/// A schedule with the first token in hand, sent for and answered at `start`.
RefreshSchedule with_token(seconds expires_in, milliseconds refresh_interval = 24h, double random = 0) {
    RefreshSchedule schedule{refresh_interval, start};
    schedule.sent(start);
    REQUIRE(schedule.answered(/*is_another=*/true, expires_in, start, random) == Freshness::fresh);
    return schedule;
}

/// The answer to a request that takes no time. The token of with_token() is "first".
Freshness answer(RefreshSchedule& schedule, Moment now, const std::string& text, seconds expires_in) {
    schedule.sent(now);
    return schedule.answered(/*is_another=*/text != "first", expires_in, now, 0);
}

milliseconds fail(RefreshSchedule& schedule, Moment now, double random,
                  std::optional<seconds> retry_after = std::nullopt) {
    schedule.sent(now);
    return schedule.failed(now, random, retry_after);
}

}  // namespace

TEST_CASE("The first token is asked for at once") {
    const RefreshSchedule schedule{55min, start};
    CHECK(schedule.due(start));
    CHECK(schedule.sleep(start) == 0ms);
    CHECK_FALSE(schedule.has_token());
    CHECK_FALSE(schedule.expired(start));
}

TEST_CASE("Nothing is due while a request is in flight however long it takes") {
    RefreshSchedule schedule{55min, start};
    schedule.sent(start);
    CHECK(schedule.in_flight());
    CHECK_FALSE(schedule.due(start));
    CHECK_FALSE(schedule.due(start + 48h));
    CHECK(schedule.sleep(start + 48h) == RefreshSchedule::longest_sleep);
    schedule.resumed(start + 48h);
    CHECK_FALSE(schedule.due(start + 48h));
}

TEST_CASE("A token's life counts from when it was asked for") {
    RefreshSchedule schedule{24h, start};
    schedule.sent(start);
    schedule.answered(/*is_another=*/true, 3600s, start + 4s, 0);
    CHECK(schedule.expiry() == start + 3600s);
    CHECK_FALSE(schedule.expired(start + 3600s - 1ms));
    CHECK(schedule.expired(start + 3600s));
}

TEST_CASE("The expiry is kept on both clocks and the earlier one rules") {
    auto schedule = with_token(3600s);
    CHECK(schedule.expired({start.wall + 3600s, start.boot}));
    CHECK(schedule.expired({start.wall, start.boot + 3600s}));
    CHECK(schedule.due({start.wall + 3400s, start.boot}));
    CHECK(schedule.due({start.wall, start.boot + 3400s}));
}

TEST_CASE("The next refresh is 225 s before the end with up to 5 s of jitter") {
    for (const double random : {0.0, 0.25, 0.5, 0.999999}) {
        CAPTURE(random);
        const auto schedule = with_token(3600s, 24h, random);
        const milliseconds jitter{static_cast<int>(random * 5000)};
        CHECK(pause(schedule, start) == 3375s - jitter);
        CHECK_FALSE(schedule.due(schedule.next_request() - 1ms));
        CHECK(schedule.due(schedule.next_request()));
    }
}

TEST_CASE("The refresh interval comes first when it is the shorter one") {
    CHECK(pause(with_token(3600s, 55min), start) == 55min);
    CHECK(pause(with_token(3600s, 1min), start) == 1min);
    CHECK(pause(with_token(3600s, 57min), start) == 3375s);
    CHECK(pause(with_token(1200s, 55min), start) == 975s);
}

TEST_CASE("The refresh interval counts from the request that fetched the token") {
    RefreshSchedule schedule{30min, start};
    schedule.sent(start);
    schedule.answered(/*is_another=*/true, 3600s, start + 3s, 0);
    CHECK(schedule.next_request() == start + 30min);
}

TEST_CASE("A token too short for the margin is refreshed at a sixteenth of its life before the end") {
    struct Row {
        seconds life;
        milliseconds margin;
    };
    for (const auto& [life, margin] : {Row{2s, 125ms}, Row{10s, 625ms}, Row{16s, 1s}, Row{60s, 3750ms}, Row{160s, 10s},
                                       Row{225s, 14062ms}, Row{230s, 14375ms}, Row{231s, 225s}, Row{300s, 225s},
                                       Row{1200s, 225s}, Row{3599s, 225s}, Row{86400s, 225s}}) {
        CAPTURE(life);
        CHECK(pause(with_token(life), start) == life - margin);
    }
}

TEST_CASE("A token in its last second is asked for again no sooner than after a second") {
    CHECK(pause(with_token(1s), start) == 1s);
}

TEST_CASE("The same token again within the margin is tried again after 2 4 8 15 15 s") {
    auto schedule = with_token(3600s);
    auto now = start + 3375s;
    for (const auto expected : {2s, 4s, 8s, 15s, 15s, 15s, 15s}) {
        CHECK(answer(schedule, now, "first", std::chrono::floor<seconds>(remaining(schedule.expiry(), now))) ==
              Freshness::unchanged);
        CHECK(pause(schedule, now) == expected);
        now = now + pause(schedule, now);
    }
}

TEST_CASE("The same token again while the server caches is tried again after 2 4 8 15 30 60 60 s") {
    auto schedule = with_token(3600s, 1min);
    auto now = start + 1min;
    for (const auto expected : {2s, 4s, 8s, 15s, 30s, 60s, 60s, 60s}) {
        CHECK(answer(schedule, now, "first", std::chrono::floor<seconds>(remaining(schedule.expiry(), now))) ==
              Freshness::unchanged);
        CHECK(pause(schedule, now) == expected);
        now = now + pause(schedule, now);
    }
}

TEST_CASE("The pauses of a caching server end where the margin starts and begin anew there") {
    auto schedule = with_token(3600s, 1min);
    auto now = start + 1min;
    while (now != start + 3375s) {
        REQUIRE(remaining(start + 3375s, now) > 0ms);
        answer(schedule, now, "first", std::chrono::floor<seconds>(remaining(schedule.expiry(), now)));
        REQUIRE(pause(schedule, now) <= 60s);
        now = schedule.next_request();
    }
    for (const auto expected : {2s, 4s, 8s, 15s, 15s}) {
        answer(schedule, now, "first", std::chrono::floor<seconds>(remaining(schedule.expiry(), now)));
        CHECK(pause(schedule, now) == expected);
        now = now + expected;
    }
}

TEST_CASE("The closer the end the sooner the next try but never within a second") {
    auto schedule = with_token(60s);
    // The margin starts 3.75 s before the expiry.
    auto now = schedule.next_request();
    answer(schedule, now, "first", 4s);
    CHECK(pause(schedule, now) == 1875ms);
    now = start + 59s;
    answer(schedule, now, "first", 1s);
    CHECK(pause(schedule, now) == 1s);
    now = start + 61s;
    answer(schedule, now, "first", 1s);
    CHECK(pause(schedule, now) == 8s);
}

TEST_CASE("The same token again at its very end is tried again after the usual pause") {
    auto schedule = with_token(3600s);
    CHECK(answer(schedule, start + 3600s, "first", 0s) == Freshness::unchanged);
    CHECK(pause(schedule, start + 3600s) == 2s);
}

TEST_CASE("A failure is followed by 1 2 4 8 15 30 30 s less or more 20 percent") {
    struct Row {
        double random;
        double factor;
    };
    for (const auto& [random, factor] : {Row{0.0, 0.8}, Row{0.5, 1.0}, Row{0.75, 1.1}, Row{1.0, 1.2}}) {
        CAPTURE(random);
        auto schedule = with_token(3600s);
        auto now = start + 3375s;
        for (const double base : {1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0}) {
            const auto wait = fail(schedule, now, random);
            CHECK(std::abs(static_cast<double>(wait.count()) - base * factor * 1000) <= 1.0);
            CHECK(schedule.next_request() == now + wait);
            now = now + wait;
        }
    }
}

TEST_CASE("Failures before the first token are tried again after at most 4.8 s") {
    RefreshSchedule schedule{55min, start};
    auto now = start;
    for (const auto expected : {1s, 2s, 4s, 4s, 4s, 4s}) {
        CHECK(fail(schedule, now, 0.5) == expected);
        now = schedule.next_request();
    }
    CHECK(fail(schedule, now, 0.999999) < 4800ms);
}

TEST_CASE("A failure leaves the token in hand where it is, past its end too") {
    auto schedule = with_token(3600s);
    for (auto now = start + 3375s; remaining(start + 2h, now) > 0ms; now = schedule.next_request()) {
        fail(schedule, now, 0.5);
        REQUIRE(schedule.has_token());
        REQUIRE(schedule.expiry() == start + 3600s);
        REQUIRE(pause(schedule, now) <= 36s);
    }
    CHECK(schedule.expired(start + 2h));
    CHECK(answer(schedule, start + 2h, "second", 3600s) == Freshness::fresh);
    CHECK_FALSE(schedule.expired(start + 2h));
}

TEST_CASE("An answer ends a row of failures") {
    auto schedule = with_token(3600s, 1min);
    auto now = start + 1min;
    for (int i = 0; i < 6; ++i) {
        fail(schedule, now, 0.5);
        now = schedule.next_request();
    }
    answer(schedule, now, "first", 3000s);
    CHECK(fail(schedule, now + 2s, 0.5) == 1s);
}

TEST_CASE("Retry-After lengthens a pause, up to five minutes, and never shortens one") {
    auto schedule = with_token(3600s);
    auto now = start + 3375s;
    CHECK(fail(schedule, now, 0.5, 20s) == 20s);
    CHECK(fail(schedule, now, 0.5, 1s) == 2s);
    CHECK(fail(schedule, now, 0.5, 0s) == 4s);
    CHECK(fail(schedule, now, 0.5, 300s) == 300s);
    CHECK(fail(schedule, now, 0.5, 301s) == 300s);
    CHECK(fail(schedule, now, 0.5, 86400s * 365) == 300s);
    CHECK(schedule.next_request() == now + 300s);
}

TEST_CASE("Retry-After is honoured before the first token too") {
    RefreshSchedule schedule{55min, start};
    CHECK(fail(schedule, start, 0.5, 20s) == 20s);
    CHECK_FALSE(schedule.due(start + 20s - 1ms));
    CHECK(schedule.due(start + 20s));
}

TEST_CASE("A token that had expired before it arrived is not taken and asked for again a second later") {
    RefreshSchedule schedule{55min, start};
    schedule.sent(start);
    // The instance was frozen between the request and its answer, and only one clock noticed.
    const Moment boot_only{start.wall + 1s, start.boot + 3600s};
    CHECK(schedule.answered(/*is_another=*/true, 3600s, boot_only, 0) == Freshness::too_old);
    CHECK_FALSE(schedule.has_token());
    CHECK(pause(schedule, boot_only) == 1s);

    schedule.sent(boot_only + 1s);
    const Moment wall_only{boot_only.wall + 3601s, boot_only.boot + 2s};
    CHECK(schedule.answered(/*is_another=*/true, 3600s, wall_only, 0) == Freshness::too_old);

    schedule.sent(wall_only + 1s);
    CHECK(schedule.answered(/*is_another=*/true, 3600s, wall_only + 2s, 0) == Freshness::fresh);
    CHECK(schedule.expiry() == wall_only + 1s + 3600s);
}

TEST_CASE("A token in hand survives an answer that is too old") {
    auto schedule = with_token(3600s);
    schedule.sent(start + 3375s);
    const auto now = start + 3500s;
    CHECK(schedule.answered(/*is_another=*/true, 60s, now, 0) == Freshness::too_old);
    CHECK(schedule.expiry() == start + 3600s);
    CHECK_FALSE(schedule.expired(now));
}

TEST_CASE("After a freeze what is due is tried at once and the pauses start anew") {
    auto schedule = with_token(3600s);
    auto now = start + 3375s;
    for (int i = 0; i < 6; ++i) {
        fail(schedule, now, 0.5);
        now = schedule.next_request() - 1ms;
    }
    CHECK_FALSE(schedule.due(now));
    schedule.resumed(now);
    CHECK(schedule.due(now));
    CHECK(fail(schedule, now, 0.5) == 1s);
}

TEST_CASE("A freeze within a token's life asks for nothing") {
    auto schedule = with_token(3600s);
    schedule.resumed(start + 30min);
    CHECK_FALSE(schedule.due(start + 30min));
    CHECK(schedule.next_request() == start + 3375s);
}

TEST_CASE("After a freeze without a token it is asked for at once in spite of Retry-After") {
    RefreshSchedule schedule{55min, start};
    fail(schedule, start, 0.5, 300s);
    schedule.resumed(start + 40s);
    CHECK(schedule.due(start + 40s));
}

TEST_CASE("An expired token is reported once a minute until there is another one") {
    auto schedule = with_token(60s);
    int reports = 0;
    for (auto now = start; remaining(start + 10min, now) > 0ms; now = now + 1s) {
        reports += schedule.expired_report_due(now) ? 1 : 0;
    }
    CHECK(reports == 9);
    answer(schedule, start + 10min, "second", 60s);
    CHECK_FALSE(schedule.expired_report_due(start + 10min));
    CHECK_FALSE(schedule.expired_report_due(start + 11min - 1ms));
    CHECK(schedule.expired_report_due(start + 11min));
    CHECK_FALSE(schedule.expired_report_due(start + 11min));
}

TEST_CASE("The sleep is at most 30 s and ends when a request is due") {
    const auto schedule = with_token(3600s);
    CHECK(schedule.sleep(start) == 30s);
    CHECK(schedule.sleep(start + 3345s) == 30s);
    CHECK(schedule.sleep(start + 3345s + 1ms) == 30s - 1ms);
    CHECK(schedule.sleep(start + 3375s) == 0ms);
    CHECK(schedule.sleep(start + 24h) == 0ms);
    CHECK(schedule.sleep({start.wall - 24h, start.boot}) == 30s);
    CHECK(schedule.sleep({start.wall - 24h, start.boot + 3374s}) == 1s);
}

TEST_CASE("A server that says 3600 for ever with the same token is not believed and never rotates") {
    auto schedule = with_token(3600s);
    auto now = schedule.next_request();
    unsigned requests = 0;
    unsigned requests_before_the_end = 0;
    while (remaining(start + 24h, now) > 0ms) {
        ++requests;
        requests_before_the_end += schedule.expired(now) ? 0 : 1;
        REQUIRE(answer(schedule, now, "first", 3600s) == Freshness::unchanged);
        REQUIRE(pause(schedule, now) >= 1s);
        REQUIRE(pause(schedule, now) <= 15s);
        now = schedule.next_request();
    }
    CHECK(schedule.expiry() == start + 3600s);
    CHECK(schedule.expired(start + 3600s));
    CHECK(requests_before_the_end <= 22);
    CHECK(requests <= 24 * 60 * 4);
}

TEST_CASE("A server that corrects the end of the same token to an earlier one is believed") {
    auto schedule = with_token(3600s, 1min);
    answer(schedule, start + 1min, "first", 600s);
    CHECK(schedule.expiry() == start + 660s);
}

TEST_CASE("The next answer corrects what a step of the wall clock has done") {
    auto schedule = with_token(3600s);
    Moment now{start.wall + 5h, start.boot + 600s};
    CHECK(schedule.due(now));
    CHECK(schedule.expired(now));
    CHECK(answer(schedule, now, "first", 3000s) == Freshness::unchanged);
    CHECK_FALSE(schedule.expired(now));
    CHECK(remaining(schedule.expiry(), now) == 3000s);
}

TEST_CASE("A step of the wall clock makes no stream of requests") {
    auto schedule = with_token(3600s);
    Moment now{start.wall + 5h, start.boot + 600s};
    unsigned requests = 0;
    while (now.boot < start.boot + 3370s) {
        ++requests;
        answer(schedule, now, "first", std::chrono::floor<seconds>(start.boot + 3600s - now.boot));
        now = schedule.next_request();
    }
    CHECK(requests <= 52);
}
