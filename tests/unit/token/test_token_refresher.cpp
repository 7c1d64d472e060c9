#include "token/token_refresher.hpp"

#include "simulated/captured_log.hpp"
#include "simulated/refresh.hpp"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::CacheModel;
using simulated::CapturedLog;
using simulated::Counting;
using std::chrono::seconds;

namespace {

using Lines = std::vector<std::string>;

/// A refresher whose token source answers when the test tells it to, on a clock that the test moves.
class Refresher : private TokenSource, private TokenRefresher::Listener {
public:
    explicit Refresher(milliseconds start_deadline = 60s) : limits_{55min, start_deadline} {}

    void tick() { refresher.tick(now); }
    void answer(const std::string& text, seconds expires_in) { take()({Token{Secret{text}, expires_in}}); }
    void fail(const std::string& why, std::optional<seconds> retry_after = std::nullopt) {
        take()({Fault{why}, retry_after});
    }
    [[nodiscard]] bool asks() const { return static_cast<bool>(done_); }

    Moment now{1'795'000'000'000ms, 4'711'000ms};
    CapturedLog log{};
    unsigned fresh = 0;
    std::vector<std::pair<std::optional<Freshness>, milliseconds>> answers{};
    std::vector<std::string> deadlines{};

private:
    void fetch(Done done) override {
        REQUIRE_FALSE(done_);
        done_ = std::move(done);
    }
    [[nodiscard]] std::string name() const override { return "metadata.test"; }
    void on_answered(std::optional<Freshness> meaning, milliseconds took) override {
        answers.emplace_back(meaning, took);
    }
    void on_fresh(Moment) override { ++fresh; }
    void on_deadline(const std::string& why) override { deadlines.push_back(why); }

    Done take() {
        REQUIRE(done_);
        return std::exchange(done_, nullptr);
    }

    TokenRefresher::Limits limits_;
    Done done_{};

public:
    TokenRefresher refresher{limits_, *this, *this, log.log(), [this] { return now; }, [] { return 0.0; }};
};

}  // namespace

TEST_CASE("The first tick asks for a token, and the answer is reported as fresh") {
    Refresher test;
    CHECK(test.refresher.sleep(test.now) == 0ms);
    test.tick();
    REQUIRE(test.asks());
    CHECK_FALSE(test.refresher.token().has_value());
    test.answer("ya29.one", 3600s);
    CHECK(test.fresh == 1);
    CHECK(test.refresher.token()->reveal() == "ya29.one");
    CHECK(test.refresher.expiry() == test.now + 3600s);
    CHECK(test.log.lines() ==
          Lines{"INFO token: fresh one in hand hash=" + Secret{"ya29.one"}.short_hash() + " expires_in=3600"});
}

TEST_CASE("No line shows a token, only its hash") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 1s);
    test.now = test.now + 2s;
    test.tick();
    test.answer("ya29.one", 1s);
    test.tick();
    for (const auto& line : test.log.lines()) {
        CHECK(line.find("ya29") == std::string::npos);
    }
}

TEST_CASE("The same token again is no fresh one, and the last error says so") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 3600s);
    test.log.lines();
    test.now = test.now + 56min;
    test.tick();
    test.answer("ya29.one", 240s);
    CHECK(test.fresh == 1);
    CHECK(test.refresher.last_error() == "metadata.test still gives out the same token");
    CHECK(test.log.lines().front().starts_with("DEBUG token: still the same one"));
    test.now = test.now + 15s;
    test.tick();
    test.answer("ya29.two", 3600s);
    CHECK(test.fresh == 2);
    CHECK(test.refresher.last_error().empty());
}

TEST_CASE("A failed try names the source and the reason, and leaves the token in hand") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 3600s);
    test.log.lines();
    test.now = test.now + 55min;
    test.tick();
    test.fail("the metadata server answered 503", 20s);
    CHECK(test.log.lines() ==
          Lines{"WARNING token: can't get one from metadata.test: the metadata server answered 503 next_try_ms=20000 "
                "current_expires_in=300"});
    CHECK(test.refresher.token()->reveal() == "ya29.one");
    CHECK(test.refresher.last_error() == "the metadata server answered 503");
    CHECK(test.refresher.sleep(test.now) == 20s);
    test.now = test.now + 20min;
    test.tick();
    test.fail("timed out", 20s);
    CHECK(test.log.lines().back().ends_with(" current_expires_in=0"));
}

TEST_CASE("Each answer is reported with what it meant and how long it took") {
    Refresher test;
    test.tick();
    test.now = test.now + 30ms;
    test.fail("the metadata server answered 503");
    test.now = test.now + 2s;
    test.tick();
    // A step of the wall clock is not the server's doing.
    test.now.wall += 2h;
    test.now.boot += 5ms;
    test.answer("ya29.old", 3600s);
    test.now = test.now + 1s;
    test.tick();
    test.now = test.now + 40ms;
    test.answer("ya29.one", 3600s);
    test.now = test.now + 55min;
    test.tick();
    test.answer("ya29.one", 300s);
    using Answers = std::vector<std::pair<std::optional<Freshness>, milliseconds>>;
    CHECK(test.answers ==
          Answers{
              {std::nullopt, 30ms}, {Freshness::too_old, 5ms}, {Freshness::fresh, 40ms}, {Freshness::unchanged, 0ms}});
}

TEST_CASE("The start deadline is reported once, with the last answer") {
    Refresher test{10s};
    test.tick();
    test.fail("the metadata server answered 404");
    test.now = test.now + 10s - 1ms;
    test.log.lines();
    CHECK(test.refresher.sleep(test.now) <= 1ms);
    test.tick();
    CHECK(test.deadlines.empty());
    test.now = test.now + 1ms;
    test.tick();
    test.tick();
    CHECK(test.deadlines == Lines{"the metadata server answered 404"});
    CHECK(test.log.lines() ==
          Lines{"ERROR token: none within the start deadline of 10s: the metadata server answered 404"});
}

TEST_CASE("The start deadline comes while the first request is still in flight") {
    Refresher test{10s};
    test.tick();
    CHECK(test.refresher.sleep(test.now) == 10s);
    test.now = test.now + 10s;
    test.tick();
    CHECK(test.deadlines == Lines{"no answer yet"});
}

TEST_CASE("A step of the wall clock does not use up the start deadline") {
    Refresher test{60s};
    test.tick();
    test.now.wall += 2h;
    test.tick();
    CHECK(test.deadlines.empty());
    test.now.boot += 60s;
    test.tick();
    CHECK(test.deadlines.size() == 1);
}

TEST_CASE("An expired token is reported once a minute until another one comes") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 3600s);
    test.now = test.now + 3600s;
    test.tick();
    test.fail("refused");
    test.log.lines();
    const auto line = "ERROR token: expired and not replaced; open connections work on, new ones fail hash=" +
                      Secret{"ya29.one"}.short_hash() + " last_error=refused";
    const auto reports = [&test] {
        test.refresher.tick(test.now);
        if (test.asks()) {
            test.fail("refused");
        }
        test.refresher.tick(test.now);
        unsigned count = 0;
        for (const auto& one : test.log.lines()) {
            count += one.find("expired and not replaced") != std::string::npos ? 1U : 0U;
        }
        return count;
    };
    test.tick();
    CHECK(test.log.lines() == Lines{line});
    test.now = test.now + 59s;
    CHECK(reports() == 0);
    test.now = test.now + 1s;
    CHECK(reports() == 1);
}

TEST_CASE("The expiry is not reported while a request is in flight that may replace the token") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 3600s);
    test.log.lines();
    test.now = test.now + 3601s;
    test.tick();
    REQUIRE(test.asks());
    test.tick();
    CHECK(test.log.lines().empty());
    test.answer("ya29.two", 3600s);
    test.tick();
    CHECK(test.log.lines().size() == 1);
}

TEST_CASE("After a freeze a token that is due is asked for at once") {
    Refresher test;
    test.tick();
    test.answer("ya29.one", 3600s);
    test.now = test.now + 56min;
    test.tick();
    test.fail("refused");
    test.tick();
    REQUIRE_FALSE(test.asks());
    test.refresher.resume(test.now);
    test.tick();
    CHECK(test.asks());
}

// --- the simulation: days in a world with a caching metadata server ------------------------------------------------

namespace {

using simulated::Refresh;
using simulated::Weather;
using simulated::World;

constexpr std::array models{CacheModel::new_at_300_s, CacheModel::new_at_240_s, CacheModel::stale_while_refresh};
constexpr std::array<milliseconds, 6> lives{10s, 30s, 60s, 5min, 20min, 1h};
constexpr std::array<milliseconds, 4> intervals{1min, 30min, 55min, 24h};

std::string description(const World& world) {
    return to_string(world.model) + ", life " + std::to_string(world.life.count() / 1000) + " s, first token " +
           std::to_string(world.first_age.count() / 1000) + " s old, refresh interval " +
           std::to_string(world.refresh_interval.count() / 1000) + " s, seed " + std::to_string(world.seed);
}

/// Runs every cache model, life and refresh interval in `weather`, with first tokens of several ages.
void run_everywhere(const Weather& weather, milliseconds length, std::uint64_t first_seed) {
    auto seed = first_seed;
    for (const auto model : models) {
        for (const auto life : lives) {
            for (const auto interval : intervals) {
                World world{.model = model, .life = life, .refresh_interval = interval, .weather = weather};
                world.seed = seed++;
                // The ages range from a new token to one that the model is about to replace.
                world.first_age = life * static_cast<int>(world.seed % 5) * 22 / 100;
                INFO(description(world));
                const auto report = Refresh{world}.run(length);
                CHECK(report.violation == "");
                CHECK(report.tokens > 0);
            }
        }
    }
}

/// The same with freezes in which both clocks go on, or only one of them.
void run_with_each_clock(Weather weather, milliseconds length, std::uint64_t first_seed) {
    for (const auto counting : {Counting::both, Counting::wall_only, Counting::boot_only}) {
        weather.counting = counting;
        CAPTURE(static_cast<int>(counting));
        run_everywhere(weather, length, first_seed);
    }
}

constexpr Weather storm{.shortest_latency = 1ms,
                        .longest_latency = 5s,
                        .failures = 0.2,
                        .retry_afters = 0.2,
                        .outages = 3h,
                        .longest_outage = 40min,
                        .late_timers = 0.1,
                        .latest_timer = 5s,
                        .probes = 20s};

}  // namespace

TEST_CASE("In three calm days no newer token is missed and none in hand runs out") {
    auto seed = std::uint64_t{1};
    for (const auto model : models) {
        for (const milliseconds life : {16s, 20s, 30s, 60s, 300s, 1200s, 3600s}) {
            if (life < 20s && model == CacheModel::stale_while_refresh) {
                // Its margin is 1 s, which the pause between the two requests that this model takes uses up.
                continue;
            }
            for (const auto interval : intervals) {
                World world{.model = model, .life = life, .refresh_interval = interval};
                world.may_run_out = false;
                world.may_seem_expired = life < 60s;
                world.seed = seed++;
                INFO(description(world));
                const auto report = Refresh{world}.run(72h);
                CHECK(report.violation == "");
                CHECK(report.tokens >= 72h / life);
            }
        }
    }
}

TEST_CASE("However old the first token is it does not run out in calm weather") {
    for (const auto model : models) {
        for (const milliseconds life : {300s, 1200s, 3600s}) {
            for (int percent = 0; percent < 100; ++percent) {
                World world{.model = model, .life = life, .first_age = life * percent / 100};
                world.may_run_out = false;
                world.seed = static_cast<std::uint64_t>(percent) + 1;
                INFO(description(world));
                CHECK(Refresh{world}.run(3h).violation == "");
            }
        }
    }
}

// The bound on requests for each token life in calm weather, the request that brings the token included. It is one more
// than the number of answers with the same token, which follow from the pauses in refresh_schedule.hpp. For a life of
// one hour and a server that parts with its token at 300 s left, that is 3300 s after the start:
//   interval 55 min   asks at 3300 s, the edge itself: at most 1 early answer, so 2
//   interval 30 min   asks at 1800 s, then after 2, 4, 8, 15, 30 s, which is 1859 s, then every 60 s: (3300 - 1859) / 60
//                     is 24.02, so 6 + 24 answers with the same token, so 31
//   interval 1 min    the same from 60 s on: (3300 - 119) / 60 is 53.02, so 6 + 53, so 60
//   interval 24 h     asks 225 to 230 s before the end, when the server has parted with it: 1
// At 240 s left the edge is at 3360 s, so an interval of 55 min meets it with the pauses 2, 4, 8, 15, 30 and, up to the
// margin, 16 s: 7. A server that refreshes while it answers the old token costs one more request.
// For 20 min the margin begins at 975 s and the edge is at 1100 s: asked at 975 s and after 2, 4, 8, 15, 15... s, which
// is 4 + 7 answers with the same token, so 12; with an interval of 1 min the 20 answers before the margin come on top.
// For 5 min it is 75 s and 275 s: 4 + 12, so 17. Shorter tokens have a margin of a sixteenth of their life, which lies
// within the server's: one request, and up to two more because expires_in is given in whole seconds.
TEST_CASE("The number of requests in a token's life is bounded") {
    struct Row {
        milliseconds life;
        std::array<unsigned, 4> most;  ///< with a refresh interval of 1 min, 30 min, 55 min, 24 h
    };
    struct Table {
        CacheModel model;
        std::array<Row, 6> rows;
    };
    constexpr std::array tables{
        Table{CacheModel::new_at_300_s,
              {Row{10s, {2, 2, 2, 2}}, Row{30s, {2, 2, 2, 2}}, Row{60s, {1, 1, 1, 1}}, Row{5min, {20, 17, 17, 17}},
               Row{20min, {32, 12, 12, 12}}, Row{1h, {60, 31, 2, 1}}}},
        Table{CacheModel::new_at_240_s,
              {Row{10s, {2, 2, 2, 2}}, Row{30s, {2, 2, 2, 2}}, Row{60s, {2, 2, 2, 2}}, Row{5min, {21, 18, 18, 18}},
               Row{20min, {34, 14, 14, 14}}, Row{1h, {61, 32, 7, 1}}}},
        Table{CacheModel::stale_while_refresh,
              {Row{10s, {3, 3, 3, 3}}, Row{30s, {3, 3, 3, 3}}, Row{60s, {2, 2, 2, 2}}, Row{5min, {21, 18, 18, 18}},
               Row{20min, {33, 13, 13, 13}}, Row{1h, {61, 32, 2, 2}}}}};
    for (const auto& [model, rows] : tables) {
        for (const auto& [life, most] : rows) {
            for (std::size_t i = 0; i < intervals.size(); ++i) {
                for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U}) {
                    World world{.model = model, .life = life, .refresh_interval = intervals[i], .seed = seed};
                    world.first_age = life * static_cast<int>(seed % 5) * 22 / 100;
                    INFO(description(world));
                    const auto report = Refresh{world}.run(24h);
                    CHECK(report.most_requests_per_token <= most[i]);
                    CHECK(report.tokens >= 24h / life);
                }
            }
        }
    }
}

TEST_CASE("In days of failures, outages, Retry-After and late timers every promise is kept") {
    run_everywhere(storm, 72h, 1000);
}

TEST_CASE("In days of freezes every promise is kept, whichever clock goes on") {
    Weather weather;
    weather.longest_latency = 2s;
    weather.freezes = 20min;
    weather.longest_freeze = 3h;
    run_with_each_clock(weather, 48h, 2000);
}

TEST_CASE("In days of freezes and failures every promise is kept, whichever clock goes on") {
    auto weather = storm;
    weather.freezes = 40min;
    weather.longest_freeze = 90min;
    run_with_each_clock(weather, 48h, 3000);
}

TEST_CASE("In days of a wall clock stepped back and forth every promise is kept") {
    Weather weather;
    weather.wall_steps = 15min;
    weather.longest_wall_step = 2h;
    run_everywhere(weather, 48h, 4000);
}

TEST_CASE("In days of everything at once every promise is kept") {
    auto weather = storm;
    weather.wall_steps = 30min;
    weather.longest_wall_step = 26h;
    weather.freezes = 40min;
    weather.longest_freeze = 90min;
    run_everywhere(weather, 48h, 5000);
}

TEST_CASE("Requests are bounded in any weather") {
    // At most one request for each second, and far fewer if the tokens have a long life.
    auto weather = storm;
    weather.failures = 1;
    weather.retry_afters = 0;
    World world{.weather = weather};
    const auto without_token = Refresh{world}.run(24h);
    CHECK(without_token.violation == "");
    CHECK(without_token.tokens == 0);
    CHECK(without_token.requests <= 24h / 3200ms + 3);
}
