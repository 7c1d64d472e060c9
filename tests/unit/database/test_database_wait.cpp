#include "database/database_wait.hpp"

#include "simulated/captured_log.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::CapturedLog;

namespace {

using Lines = std::vector<std::string>;

/// A wait whose tries are answered by the test.
struct Waiting final : DatabaseWait::Listener {
    explicit Waiting(DatabaseWait::Options wanted = {.database = {"10.0.0.5", 5432}, .patience = 2min})
        : options(std::move(wanted)) {}

    void on_database_reached() override { ++reached; }
    void on_database_unreachable() override { ++unreachable; }

    /// Lets time pass in the steps that the wait asks for.
    void pass(milliseconds length) {
        const auto end = now + length;
        while (now.boot < end.boot) {
            now = now + std::min(std::max(1ms, wait.sleep(now).value_or(length)), end.boot - now.boot);
            wait.tick(now);
        }
    }
    /// The new lines of the log at its usual level.
    Lines told() {
        auto lines = log.lines();
        std::erase_if(lines, [](const auto& line) { return line.starts_with("DEBUG"); });
        return lines;
    }
    [[nodiscard]] bool asks() const { return static_cast<bool>(done); }
    void take() {
        REQUIRE(asks());
        std::exchange(done, nullptr)(HttpAnswer{});
    }
    void refuse(const std::string& why = "refused") {
        REQUIRE(asks());
        std::exchange(done, nullptr)(Fault{why});
    }

    DatabaseWait::Options options;
    Moment now{1'795'000'000'000ms, 4'711'000ms};
    CapturedLog log{};
    std::vector<HttpRequest> requests{};
    HttpDone done{};
    int reached = 0;
    int unreachable = 0;
    DatabaseWait wait{options,
                      [this](HttpRequest asked, HttpDone told) {
                          requests.push_back(std::move(asked));
                          done = std::move(told);
                      },
                      *this, log.log(), [this] { return now; }};
};

}  // namespace

TEST_CASE("A database that takes the first connection is reached without a line") {
    Waiting test;
    CHECK(test.wait.waits());
    test.wait.tick(test.now);
    REQUIRE(test.requests.size() == 1);
    CHECK(test.requests[0].url == "http://10.0.0.5:5432");
    CHECK(test.requests[0].connect_only);
    test.take();
    CHECK(test.reached == 1);
    CHECK(test.wait.reached());
    CHECK_FALSE(test.wait.sleep(test.now).has_value());
    CHECK(test.told().empty());
    test.pass(1h);
    CHECK(test.requests.size() == 1);
}

TEST_CASE("An IPv6 address is asked in brackets") {
    Waiting test{{.database = {"fd20::5", 5432}, .patience = 2min}};
    test.wait.tick(test.now);
    CHECK(test.requests[0].url == "http://[fd20::5]:5432");
}

TEST_CASE("One line when the first try fails, and one when the database takes a connection") {
    Waiting test;
    test.wait.tick(test.now);
    test.refuse();
    CHECK(test.told() ==
          Lines{"WARNING database: 10.0.0.5:5432 can't be reached yet, so the child waits: refused at_most_ms=120000"});
    CHECK(test.wait.last_error() == "refused");
    for (const auto pause : {500ms, 1000ms, 2000ms, 4000ms, 5000ms}) {
        test.pass(pause - 1ms);
        CHECK_FALSE(test.asks());
        test.pass(1ms);
        test.refuse("refused again");
    }
    CHECK(test.told().empty());
    CHECK(test.wait.last_error() == "refused again");
    test.pass(5s);
    test.take();
    CHECK(test.told() == Lines{"INFO database: takes connections address=10.0.0.5:5432 after_ms=17500 tries=7"});
    CHECK(test.wait.last_error().empty());
    CHECK(test.reached == 1);
    CHECK(test.unreachable == 0);
}

TEST_CASE("A try lasts until the next one is due") {
    Waiting test;
    test.wait.tick(test.now);
    for (const auto limit : {500ms, 1000ms, 2000ms, 4000ms, 5000ms, 5000ms}) {
        CHECK(test.requests.back().timeout == limit);
        CHECK(test.requests.back().connect_timeout == limit);
        const auto tries = test.requests.size();
        test.pass(limit);
        CHECK(test.requests.size() == tries);
        test.refuse("timed out");
        test.wait.tick(test.now);
        CHECK(test.requests.size() == tries + 1);
    }
}

TEST_CASE("After the patience it gives up with the last reason, once") {
    Waiting test;
    test.wait.tick(test.now);
    test.refuse();
    test.told();
    const auto begun = test.now.boot;
    while (test.unreachable == 0) {
        test.pass(1ms);
        if (test.asks()) {
            test.refuse("no route");
        }
    }
    CHECK(test.now.boot - begun == 2min);
    CHECK(test.told() == Lines{"ERROR database: 10.0.0.5:5432 can't be reached within 2m (--db-wait): no route"});
    CHECK_FALSE(test.wait.reached());
    CHECK_FALSE(test.wait.waits());
    test.pass(1h);
    CHECK(test.unreachable == 1);
}

TEST_CASE("Without patience nothing is asked, and the database counts as reached") {
    Waiting test{{.database = {"10.0.0.5", 5432}}};
    CHECK(test.wait.reached());
    test.pass(1h);
    CHECK(test.requests.empty());
    CHECK(test.reached == 0);
}

TEST_CASE("A check makes one try, of up to 5 s, and tells of either end") {
    for (const bool takes : {true, false}) {
        Waiting test{{.database = {"10.0.0.5", 5432}, .patience = 2min, .once = true}};
        test.wait.tick(test.now);
        CHECK(test.requests[0].timeout == 5s);
        test.pass(5s);
        CHECK(test.requests.size() == 1);
        takes ? test.take() : test.refuse();
        CHECK(test.reached == (takes ? 1 : 0));
        CHECK(test.unreachable == (takes ? 0 : 1));
        CHECK(test.told() == Lines{takes
                                       ? "INFO database: takes connections address=10.0.0.5:5432 after_ms=5000 tries=1"
                                       : "ERROR database: 10.0.0.5:5432 can't be reached: refused"});
        test.pass(1h);
        CHECK(test.requests.size() == 1);
    }
}
