#include "health/readiness_checker.hpp"

#include "simulated/captured_log.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::CapturedLog;

namespace {

using Lines = std::vector<std::string>;

/// A checker whose requests are answered by the test.
struct Asking {
    explicit Asking(std::optional<std::string> url = "http://127.0.0.1:8080/api/health") : url_(std::move(url)) {}

    void pass(milliseconds length) {
        now = now + length;
        checker.tick(now);
    }
    void answer(long status, const std::string& body = "true") {
        REQUIRE(done);
        std::exchange(done, nullptr)(HttpAnswer{.status = status, .body = body});
    }
    void refuse() {
        REQUIRE(done);
        std::exchange(done, nullptr)(Fault{"Connection refused"});
    }
    [[nodiscard]] bool asks() const { return static_cast<bool>(done); }

    Moment now{1'795'000'000'000ms, 4'711'000ms};
    CapturedLog log{};
    HttpRequest request{};
    HttpDone done{};
    std::optional<std::string> url_;
    ReadinessChecker checker{url_, /*is_prefect=*/true,
                             [this](HttpRequest asked, HttpDone told) {
                                 request = std::move(asked);
                                 done = std::move(told);
                             },
                             log.log(), [this] { return now; }};
};

}  // namespace

TEST_CASE("Nobody is asked before there is a child") {
    Asking test;
    test.pass(1h);
    CHECK_FALSE(test.asks());
    CHECK_FALSE(test.checker.sleep(test.now).has_value());
}

TEST_CASE("The child is asked every 500 ms until it answers well, and is ready then") {
    Asking test;
    test.checker.child_started(test.now);
    for (int i = 0; i < 5; ++i) {
        CHECK(test.checker.sleep(test.now) == 500ms);
        test.pass(500ms);
        CHECK(test.request.url == "http://127.0.0.1:8080/api/health");
        test.refuse();
        CHECK_FALSE(test.checker.ready(test.now));
    }
    test.pass(500ms);
    test.answer(200);
    CHECK(test.checker.ready(test.now));
    CHECK(test.checker.ever_ready());
    CHECK(test.log.lines() == Lines{"INFO child: ready after_ms=3000"});
    CHECK(test.checker.sleep(test.now) == 10s);
}

TEST_CASE("A ready child that does not answer is logged at once, and not ready after 15 s") {
    Asking test;
    test.checker.child_started(test.now);
    test.pass(500ms);
    test.answer(200);
    test.log.lines();
    test.pass(10s);
    test.answer(500);
    CHECK(test.log.lines() == Lines{"WARNING child: no answer to the readiness question: it answered 500"});
    test.pass(5s);
    CHECK_FALSE(test.checker.ready(test.now));
    CHECK(test.log.lines() == Lines{"WARNING child: not ready any more no_answer_for_ms=15000"});
    test.answer(200);
    CHECK(test.checker.ready(test.now));
    CHECK(test.log.lines() == Lines{"INFO child: ready again"});
}

TEST_CASE("An answer of the child before does not make its successor ready") {
    Asking test;
    test.checker.child_started(test.now);
    test.pass(500ms);
    const auto late = std::exchange(test.done, nullptr);
    test.checker.child_leaves();
    test.checker.child_started(test.now);
    late(HttpAnswer{.status = 200, .body = "true"});
    CHECK_FALSE(test.checker.ready(test.now));
    CHECK(test.log.lines().empty());
    test.pass(500ms);
    CHECK(test.asks());
}

TEST_CASE("An answer that comes while the child is drained does not count") {
    Asking test;
    test.checker.child_started(test.now);
    test.pass(500ms);
    test.checker.child_leaves();
    test.answer(200);
    CHECK_FALSE(test.checker.ready(test.now));
    CHECK_FALSE(test.checker.ever_ready());
}

TEST_CASE("Without a question the child is ready as soon as it runs") {
    Asking test{std::nullopt};
    CHECK_FALSE(test.checker.ready(test.now));
    test.checker.child_started(test.now);
    CHECK(test.checker.ready(test.now));
    test.pass(1h);
    CHECK_FALSE(test.asks());
    test.checker.child_leaves();
    CHECK_FALSE(test.checker.ready(test.now));
}

TEST_CASE("An answer of the child before does not count for the one that took over") {
    Asking test;
    test.checker.child_started(test.now);
    test.pass(500ms);
    test.answer(200);
    test.log.lines();
    test.pass(10s);
    REQUIRE(test.asks());
    const auto of_old = std::exchange(test.done, nullptr);
    test.checker.child_handed_over(test.now);
    test.pass(0ms);
    REQUIRE(test.asks());
    of_old(Fault{"Connection reset by peer"});
    CHECK(test.log.lines().empty());
    test.answer(200);
    CHECK(test.checker.ready(test.now + 14s));
    CHECK(test.log.lines().empty());
}
