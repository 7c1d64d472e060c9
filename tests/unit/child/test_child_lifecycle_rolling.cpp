// The phases of a rolling rotation.
#include "child/child_lifecycle.hpp"

#include "simulated/lifecycle_steps.hpp"

#include <catch2/catch_test_macros.hpp>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::lines;
using simulated::steps;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};
constexpr ChildTimeouts settings{.drain_timeout = 30s, .stop_timeout = 8s, .start_deadline = 60s};
const std::optional<std::string> room;

/// A child that has run for a minute, so that the minimum time between restarts does not matter.
ChildLifecycle running() {
    ChildLifecycle lifecycle{settings, /*rolling=*/true};
    lifecycle.start();
    lifecycle.child_started(100, start - 60s);
    return lifecycle;
}

ChildLifecycle overlapping() {
    auto lifecycle = running();
    lifecycle.rotate("fresh token", start);
    lifecycle.room_for_next(room, start);
    lifecycle.child_started(101, start);
    return lifecycle;
}

ChildLifecycle handing_over() {
    auto lifecycle = overlapping();
    lifecycle.next_listens(start + 3s);
    return lifecycle;
}

ChildLifecycle retiring() {
    auto lifecycle = handing_over();
    lifecycle.old_queue(0, start + 3s);
    lifecycle.old_queue(0, start + 4s);
    return lifecycle;
}

}  // namespace

TEST_CASE("A rolling rotation starts the next child beside the old one, hands over and ends the old one") {
    auto lifecycle = running();
    CHECK(steps(lifecycle.rotate("fresh token 1a2b3c4d", start)) == "room?");
    CHECK(lifecycle.phase() == Phase::running);

    auto actions = lifecycle.room_for_next(room, start);
    CHECK(lifecycle.phase() == Phase::overlapping);
    CHECK(steps(actions) == "disarm, launch other");
    CHECK(lines(actions) ==
          std::vector<LogLine>{
              {Level::info, "rotation: starting the next child beside this one", {{"why", "fresh token 1a2b3c4d"}}}});
    actions = lifecycle.child_started(101, start);
    CHECK(steps(actions) == "arm 60000");
    CHECK(lines(actions) == std::vector<LogLine>{{Level::info, "child: started", {{"pid", 101}, {"restarts", 1}}}});
    CHECK(lifecycle.restarts() == 0);

    actions = lifecycle.next_listens(start + 2800ms);
    CHECK(lifecycle.phase() == Phase::handing_over);
    CHECK(steps(actions) == "hand over, arm 5000");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::info, "rotation: new connections go to the next child", {{"after_ms", 2800}}}});
    CHECK(lifecycle.restarts() == 1);

    CHECK(lifecycle.old_queue(0, start + 2800ms).empty());
    actions = lifecycle.old_queue(0, start + 3800ms);
    CHECK(lifecycle.phase() == Phase::retiring);
    CHECK(steps(actions) == "close socket of other, TERM>other, CONT>other, arm 30000");

    actions = lifecycle.child_exited(Who::other, 143, start + 3960ms);
    CHECK(lifecycle.phase() == Phase::running);
    CHECK(steps(actions) == "KILL>other group, forget other, disarm");
    CHECK(lines(actions) ==
          std::vector<LogLine>{
              {Level::info, "rotation: child drained", {{"took_ms", 160}, {"how", "ended by itself"}, {"code", 143}}}});
    CHECK(lifecycle.restarts() == 1);
}

TEST_CASE("The old child is not ended while connections come into its queue") {
    auto lifecycle = handing_over();
    CHECK(lifecycle.old_queue(3, start + 3s).empty());
    CHECK(lifecycle.old_queue(0, start + 3050ms).empty());
    CHECK(lifecycle.old_queue(1, start + 3100ms).empty());
    CHECK(lifecycle.old_queue(0, start + 3200ms).empty());
    CHECK(lifecycle.old_queue(0, start + 4199ms).empty());
    CHECK(lifecycle.phase() == Phase::handing_over);
    CHECK_FALSE(lifecycle.old_queue(0, start + 4200ms).empty());
    CHECK(lifecycle.phase() == Phase::retiring);
}

TEST_CASE("An old child that takes nothing out of its queue is ended all the same") {
    auto lifecycle = handing_over();
    lifecycle.old_queue(3, start + 3s);
    const auto actions = lifecycle.timer_fired(start + 8s);
    CHECK(steps(actions) == "close socket of other, TERM>other, CONT>other, arm 30000");
    CHECK(lines(actions).front().level == Level::warning);
}

TEST_CASE("A queue that is empty at last is no reason for a warning") {
    auto lifecycle = handing_over();
    lifecycle.old_queue(3, start + 3s);
    lifecycle.old_queue(0, start + 7500ms);
    const auto actions = lifecycle.timer_fired(start + 8s);
    CHECK(steps(actions) == "close socket of other, TERM>other, CONT>other, arm 30000");
    CHECK(lines(actions).empty());
}

TEST_CASE("An old child that does not drain beside the next one is killed") {
    auto lifecycle = retiring();
    CHECK(steps(lifecycle.timer_fired(start + 40s)) == "KILL>other group, arm 5000");
    const auto actions = lifecycle.child_exited(Who::other, 137, start + 40s);
    CHECK(lines(actions).front().fields[1] == Field{"how", "killed after the drain timeout"});
    CHECK(lifecycle.phase() == Phase::running);
}

TEST_CASE("An old child that even SIGKILL does not end is the exit") {
    auto lifecycle = retiring();
    lifecycle.timer_fired(start + 40s);
    CHECK(steps(lifecycle.timer_fired(start + 45s)) == "disarm, exit 137");
}

TEST_CASE("An old child that ends by itself after the hand-over has drained") {
    auto lifecycle = handing_over();
    CHECK(steps(lifecycle.child_exited(Who::other, 0, start + 4s)) == "KILL>other group, forget other, disarm");
    CHECK(lifecycle.phase() == Phase::running);
}

TEST_CASE("A next child that does not listen in time is ended, and the next try comes after growing pauses") {
    auto lifecycle = overlapping();
    auto now = start;
    std::vector<std::int64_t> pauses;
    for (int i = 0; i < 6; ++i) {
        now = now + 60s;
        const auto actions = lifecycle.timer_fired(now);
        CHECK(lifecycle.phase() == Phase::retiring);
        CHECK(steps(actions) == "close socket of other, TERM>other, CONT>other, arm 30000");
        CHECK(lines(actions).front().message ==
              "rotation: the next child failed, the old one is kept: it did not listen within the start deadline");
        const auto ended = lifecycle.child_exited(Who::other, 143, now + 1s);
        CHECK(lifecycle.phase() == Phase::running);
        const auto pause = ended.back().delay + 1s;
        pauses.push_back(std::chrono::duration_cast<std::chrono::seconds>(pause).count());
        now = now + pause;
        CHECK(steps(lifecycle.timer_fired(now)) == "room?");
        CHECK(steps(lifecycle.room_for_next(room, now)) == "disarm, launch other");
        lifecycle.child_started(102, now);
    }
    CHECK(pauses == std::vector<std::int64_t>{30, 60, 120, 300, 300, 300});
    CHECK(lifecycle.restarts() == 0);
    // Success begins the pauses anew.
    lifecycle.next_listens(now + 1s);
    lifecycle.child_exited(Who::other, 0, now + 2s);
    lifecycle.rotate("newer", now + 60s);
    lifecycle.room_for_next(room, now + 60s);
    const auto failed = lifecycle.launch_failed(1, "fork", /*may_pass=*/true, now + 60s);
    CHECK(steps(failed) == "forget other, arm 30000");
}

TEST_CASE("A next child that ends before it listens leaves the old one alone") {
    auto lifecycle = overlapping();
    const auto actions = lifecycle.child_exited(Who::other, 3, start + 1s);
    CHECK(steps(actions) == "KILL>other group, forget other, arm 30000");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::error,
                                "rotation: the next child failed, the old one is kept: it ended with code 3 before it "
                                "listened",
                                {{"next_try_ms", 30000}}}});
    CHECK(lifecycle.phase() == Phase::running);
}

TEST_CASE("A next child that can't be launched leaves the old one alone") {
    for (const bool may_pass : {true, false}) {
        auto lifecycle = running();
        lifecycle.rotate("fresh token", start);
        lifecycle.room_for_next(room, start);
        const auto actions = lifecycle.launch_failed(127, "not found", may_pass, start);
        CHECK(steps(actions) == "forget other, arm 30000");
        CHECK(lifecycle.phase() == Phase::running);
    }
}

TEST_CASE("A token that comes during a pause after a failure waits for the pause") {
    auto lifecycle = overlapping();
    lifecycle.child_exited(Who::other, 3, start + 1s);
    const auto actions = lifecycle.rotate("newer", start + 11s);
    CHECK(steps(actions) == "arm 20000");
    CHECK(lines(actions).front().message == "rotation: held back, the last one failed a moment ago");
}

TEST_CASE("Without room for two the rotation is a plain restart") {
    auto lifecycle = running();
    lifecycle.rotate("fresh token", start);
    const auto actions = lifecycle.room_for_next("40 MiB of memory are left", start);
    CHECK(steps(actions) == "TERM>child, CONT>child, arm 30000");
    CHECK(lines(actions).front() ==
          LogLine{Level::warning,
                  "rotation: the next child can't run beside this one, which is ended first: 40 MiB of memory are left",
                  {}});
    CHECK(lifecycle.phase() == Phase::draining);
    lifecycle.child_exited(Who::serving, 143, start + 1s);
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, launch");
}

TEST_CASE("A token that comes during a rolling rotation is the reason for another one") {
    for (auto lifecycle : {overlapping(), handing_over(), retiring()}) {
        CHECK(lifecycle.rotate("newer", start + 3s).empty());
        lifecycle.next_listens(start + 4s);
        // 30 s after the start of the child that serves now.
        CHECK(lifecycle.child_exited(Who::other, 143, start + 5s).back().delay == 25s);
        CHECK(steps(lifecycle.timer_fired(start + 30s)) == "room?");
    }
}

TEST_CASE("A stop in a rolling rotation goes to both children, and waits for the serving one") {
    for (auto lifecycle : {overlapping(), handing_over(), retiring()}) {
        CHECK(steps(lifecycle.stop(SIGTERM, start + 4s)) == "TERM>all, CONT>all, arm 8000");
        CHECK(lifecycle.phase() == Phase::stopping);
        CHECK(lifecycle.child_exited(Who::other, 0, start + 5s).empty());
        CHECK(lifecycle.next_listens(start + 5s).empty());
        CHECK(lifecycle.old_queue(0, start + 5s).empty());
        CHECK(steps(lifecycle.child_exited(Who::serving, 143, start + 6s)) ==
              "TERM>remaining, CONT>remaining, arm 6000, look");
        CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 143");
    }
}

TEST_CASE("A stop that comes between the look for room and its answer is a stop") {
    auto lifecycle = running();
    lifecycle.rotate("fresh token", start);
    lifecycle.stop(SIGTERM, start);
    CHECK(lifecycle.room_for_next(room, start).empty());
    CHECK(lifecycle.phase() == Phase::stopping);
}

TEST_CASE("The end of the serving child in a rolling rotation is the end, and the other one is cleaned up") {
    for (auto lifecycle : {overlapping(), handing_over(), retiring()}) {
        CHECK(steps(lifecycle.child_exited(Who::serving, 3, start + 4s)) ==
              "TERM>remaining, CONT>remaining, arm 8000, look");
        CHECK(steps(lifecycle.remaining_processes(true)) == "TERM>new orphans");
        CHECK(lifecycle.child_exited(Who::other, 143, start + 5s).empty());
        CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 3");
    }
}

TEST_CASE("Room for another child means nothing unless a rotation is due and the child runs") {
    auto lifecycle = running();
    CHECK(lifecycle.room_for_next(room, start).empty());
    CHECK(lifecycle.phase() == Phase::running);

    lifecycle = overlapping();
    lifecycle.rotate("a newer token", start + 1s);
    CHECK(lifecycle.room_for_next(room, start + 1s).empty());
    CHECK(lifecycle.phase() == Phase::overlapping);
}

TEST_CASE("An old child that ends during the hand-over has ended by itself, whatever became of the one before") {
    auto lifecycle = retiring();
    lifecycle.timer_fired(start + 40s);
    lifecycle.child_exited(Who::other, 137, start + 41s);
    REQUIRE(lifecycle.phase() == Phase::running);

    const auto next = start + 10min;
    lifecycle.rotate("fresh token", next);
    lifecycle.room_for_next(room, next);
    lifecycle.child_started(102, next);
    lifecycle.next_listens(next + 3s);
    const auto actions = lifecycle.child_exited(Who::other, 0, next + 3s);
    CHECK(lines(actions) ==
          std::vector<LogLine>{
              {Level::info, "rotation: child drained", {{"took_ms", 0}, {"how", "ended by itself"}, {"code", 0}}}});
}
