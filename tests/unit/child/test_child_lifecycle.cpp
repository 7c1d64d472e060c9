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
constexpr ChildTimeouts settings{.drain_timeout = 30s, .stop_timeout = 8s};

/// A child that has run for a minute, so that the minimum time between restarts does not matter.
ChildLifecycle running() {
    ChildLifecycle lifecycle{settings};
    lifecycle.start();
    lifecycle.child_started(100, start - 60s);
    return lifecycle;
}

ChildLifecycle draining() {
    auto lifecycle = running();
    lifecycle.rotate("fresh token", start);
    return lifecycle;
}

ChildLifecycle replacing() {
    auto lifecycle = draining();
    lifecycle.child_exited(Who::serving, 143, start + 200ms);
    return lifecycle;
}

ChildLifecycle stopping() {
    auto lifecycle = running();
    lifecycle.stop(SIGTERM, start);
    return lifecycle;
}

}  // namespace

TEST_CASE("The first child is started once everything that it needs is in hand") {
    ChildLifecycle lifecycle{settings};
    CHECK(lifecycle.phase() == Phase::waiting);
    CHECK(lifecycle.is_rotation_allowed());
    CHECK(steps(lifecycle.start()) == "launch");
    const auto actions = lifecycle.child_started(100, start);
    CHECK(lines(actions) == std::vector<LogLine>{{Level::info, "child: started", {{"pid", 100}, {"restarts", 0}}}});
    CHECK(lifecycle.phase() == Phase::running);
    CHECK(lifecycle.restarts() == 0);
}

TEST_CASE("A rotation drains the child and starts the next one") {
    auto lifecycle = running();
    auto actions = lifecycle.rotate("fresh token 1a2b3c4d", start);
    CHECK(lifecycle.phase() == Phase::draining);
    CHECK(steps(actions) == "TERM>child, CONT>child, arm 30000");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::info, "rotation: draining the child", {{"why", "fresh token 1a2b3c4d"}}}});

    actions = lifecycle.child_exited(Who::serving, 143, start + 204ms);
    CHECK(lifecycle.phase() == Phase::replacing);
    CHECK(steps(actions) == "KILL>group, arm 2000, look");
    CHECK(lines(actions) ==
          std::vector<LogLine>{
              {Level::info, "rotation: child drained", {{"took_ms", 204}, {"how", "ended by itself"}, {"code", 143}}}});

    CHECK(steps(lifecycle.remaining_processes(true)).empty());
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, launch");
    lifecycle.child_started(101, start + 210ms);
    CHECK(lifecycle.phase() == Phase::running);
    CHECK(lifecycle.restarts() == 1);
}

TEST_CASE("A child that does not drain is killed and replaced all the same") {
    auto lifecycle = draining();
    const auto actions = lifecycle.timer_fired(start + 30s);
    CHECK(lifecycle.phase() == Phase::draining);
    CHECK(steps(actions) == "KILL>group, arm 5000");
    CHECK(lines(actions).front().level == Level::warning);
    const auto drained = lifecycle.child_exited(Who::serving, 137, start + 30s + 5ms);
    CHECK(steps(drained) == "KILL>group, arm 2000, look");
    CHECK(lines(drained).front().fields[1] == Field{"how", "killed after the drain timeout"});
}

TEST_CASE("A drain in which even SIGKILL does not end the child is the exit") {
    auto lifecycle = draining();
    lifecycle.timer_fired(start + 30s);
    const auto actions = lifecycle.timer_fired(start + 35s);
    CHECK(steps(actions) == "disarm, exit 137");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::error, "rotation: the child did not die of SIGKILL, leaving it", {}}});
}

TEST_CASE("A launch between two children that may work later is tried again with growing pauses, within a limit") {
    auto lifecycle = replacing();
    lifecycle.remaining_processes(false);
    auto now = start + 300ms;
    std::string pauses;
    for (;;) {
        const auto actions = lifecycle.launch_failed(1, "can't start prefect: fork", /*may_pass=*/true, now);
        if (lifecycle.phase() == Phase::stopped) {
            CHECK(steps(actions) == "disarm, exit 1");
            break;
        }
        CHECK(lifecycle.phase() == Phase::replacing);
        CHECK(lifecycle.remaining_processes(false).empty());
        REQUIRE(actions.size() == 3);
        CHECK(actions.at(1).kind == simulated::Kind::report_failed);
        const auto pause = actions.back().delay;
        pauses += std::to_string(pause.count()) + ' ';
        now = now + pause;
        const auto again = lifecycle.timer_fired(now);
        CHECK(steps(again) == "disarm, launch");
        CHECK(lines(again).empty());
    }
    CHECK(pauses == "100 200 400 800 1600 2000 2000 2000 2000 2000 2000 ");
}

TEST_CASE("A launch that fails at the very end of the time for it is not tried again") {
    auto lifecycle = replacing();
    lifecycle.remaining_processes(false);
    lifecycle.launch_failed(1, "can't start prefect: fork", /*may_pass=*/true, start);
    const auto end = start + ChildLifecycle::relaunch_limit;
    CHECK(steps(lifecycle.launch_failed(1, "can't start prefect: fork", /*may_pass=*/true, end)) == "disarm, exit 1");
}

TEST_CASE("A launch that can't work later is not tried again") {
    auto lifecycle = replacing();
    lifecycle.remaining_processes(false);
    CHECK(steps(lifecycle.launch_failed(127, "not found", /*may_pass=*/false, start)) == "disarm, exit 127");
}

TEST_CASE("A stop timeout of zero forwards the stop and waits for the child alone") {
    ChildLifecycle lifecycle{{.drain_timeout = 30s, .stop_timeout = 0s}};
    lifecycle.start();
    lifecycle.child_started(100, start);
    CHECK(steps(lifecycle.stop(SIGTERM, start)) == "TERM>all, CONT>all, disarm");
    CHECK(steps(lifecycle.child_exited(Who::serving, 0, start + 1h)) == "disarm, exit 0");
}

TEST_CASE("A group that can't be cleared does not keep the next child from starting") {
    auto lifecycle = replacing();
    const auto actions = lifecycle.timer_fired(start + 3s);
    CHECK(steps(actions) == "disarm, launch");
    CHECK(lines(actions).size() == 1);
}

TEST_CASE("Restarts are at least 30 s apart") {
    ChildLifecycle lifecycle{settings};
    lifecycle.start();
    lifecycle.child_started(100, start);
    CHECK(steps(lifecycle.rotate("early", start + 10s)) == "arm 20000");
    CHECK(lifecycle.phase() == Phase::running);
    CHECK(steps(lifecycle.rotate("again", start + 29s)) == "arm 1000");
    CHECK(steps(lifecycle.timer_fired(start + 30s)) == "TERM>child, CONT>child, arm 30000");
    CHECK(lifecycle.phase() == Phase::draining);
}

TEST_CASE("The timer of a running child without a rotation does nothing") {
    auto lifecycle = running();
    CHECK(lifecycle.timer_fired(start).empty());
    CHECK(lifecycle.phase() == Phase::running);
}

TEST_CASE("A rotation that is asked for while another is under way is part of it") {
    for (auto lifecycle : {draining(), replacing(), stopping()}) {
        const auto phase = lifecycle.phase();
        CHECK(lifecycle.rotate("newer", start + 1s).empty());
        CHECK(lifecycle.phase() == phase);
    }
}

TEST_CASE("A child that ends by itself ends us with its code at once") {
    for (const int code : {0, 1, 3, 137, 255}) {
        CAPTURE(code);
        auto lifecycle = running();
        const auto actions = lifecycle.child_exited(Who::serving, code, start);
        CHECK(steps(actions) == "TERM>remaining, CONT>remaining, arm 8000, look");
        std::vector<Field> fields{{"code", code}};
        if (code == 137) {
            fields.push_back({"why", "SIGKILL, and not by us: mostly the kernel's, for want of memory"});
        }
        CHECK(lines(actions) ==
              std::vector<LogLine>{{code == 0 ? Level::info : Level::error, "child: ended by itself", fields}});
        CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit " + std::to_string(code));
        CHECK(lifecycle.phase() == Phase::stopped);
    }
}

TEST_CASE("What a child leaves behind gets TERM and later KILL") {
    auto lifecycle = running();
    lifecycle.child_exited(Who::serving, 7, start);
    CHECK(steps(lifecycle.remaining_processes(true)) == "TERM>new orphans");
    CHECK(steps(lifecycle.timer_fired(start + 8s)) == "KILL>remaining, arm 400, look");
    CHECK(steps(lifecycle.remaining_processes(true)) == "KILL>remaining");
    CHECK(steps(lifecycle.timer_fired(start + 8400ms)) == "disarm, exit 7");
}

TEST_CASE("A stop before the first child is the exit with the signal's code") {
    for (const int signal : {SIGTERM, SIGINT}) {
        ChildLifecycle lifecycle{settings};
        CHECK(steps(lifecycle.stop(signal, start)) == "disarm, exit " + std::to_string(128 + signal));
    }
}

TEST_CASE("A stop is forwarded and waits for the child") {
    auto lifecycle = running();
    const auto actions = lifecycle.stop(SIGINT, start);
    CHECK(steps(actions) == "INT>all, CONT>all, arm 8000");
    CHECK(lines(actions) == std::vector<LogLine>{{Level::info, "stop: asked to end, forwarding", {{"signal", 2}}}});
    CHECK(lifecycle.phase() == Phase::stopping);
    const auto ended = lifecycle.child_exited(Who::serving, 0, start + 1s);
    CHECK(steps(ended) == "TERM>remaining, CONT>remaining, arm 7000, look");
    CHECK(lines(ended) == std::vector<LogLine>{{Level::info, "child: stopped", {{"code", 0}}}});
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 0");
}

TEST_CASE("A second stop is forwarded too") {
    auto lifecycle = stopping();
    CHECK(steps(lifecycle.stop(SIGINT, start + 1s)) == "INT>all");
    lifecycle.child_exited(Who::serving, 143, start + 2s);
    CHECK(steps(lifecycle.stop(SIGTERM, start + 3s)) == "TERM>remaining");
}

TEST_CASE("A child that ignores the stop is killed after the stop timeout") {
    auto lifecycle = stopping();
    CHECK(steps(lifecycle.timer_fired(start + 8s)) == "KILL>all groups, arm 400");
    CHECK(steps(lifecycle.child_exited(Who::serving, 137, start + 8s)) ==
          "TERM>remaining, CONT>remaining, arm 0, look");
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 137");
}

TEST_CASE("A child that even SIGKILL does not end is left behind") {
    auto lifecycle = stopping();
    lifecycle.timer_fired(start + 8s);
    CHECK(steps(lifecycle.timer_fired(start + 8400ms)) == "disarm, exit 137");
}

TEST_CASE("A stop during a drain turns it into the exit") {
    auto lifecycle = draining();
    CHECK(steps(lifecycle.stop(SIGTERM, start + 1s)) == "TERM>all, CONT>all, arm 8000");
    lifecycle.child_exited(Who::serving, 143, start + 2s);
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 143");
}

TEST_CASE("A stop during a drain that has come to KILL still has its own timeout") {
    auto lifecycle = draining();
    lifecycle.timer_fired(start + 30s);
    lifecycle.stop(SIGTERM, start + 30s);
    CHECK(steps(lifecycle.timer_fired(start + 38s)) == "KILL>all groups, arm 400");
}

TEST_CASE("A stop between two children is the exit with the old one's code") {
    auto lifecycle = replacing();
    CHECK(steps(lifecycle.stop(SIGTERM, start + 300ms)) == "TERM>remaining, CONT>remaining, arm 8000, look");
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 143");
}

TEST_CASE("After a rotation no other one is due") {
    auto lifecycle = replacing();
    lifecycle.remaining_processes(false);
    lifecycle.child_started(101, start + 300ms);
    CHECK(lifecycle.timer_fired(start + 1h).empty());
    CHECK(lifecycle.phase() == Phase::running);
}

TEST_CASE("A rotation at the very end of the time between two starts is not held back") {
    ChildLifecycle lifecycle{settings};
    lifecycle.start();
    lifecycle.child_started(100, start);
    CHECK(steps(lifecycle.rotate("fresh token", start + ChildLifecycle::floor)) == "TERM>child, CONT>child, arm 30000");
}

TEST_CASE("A rotation that is due waits while the newest token has expired, and begins when it is usable after all") {
    for (const auto begins_after : {5s, 40s}) {
        ChildLifecycle lifecycle{settings};
        lifecycle.start();
        lifecycle.child_started(100, start);
        lifecycle.rotate("early", start + 1s);
        CHECK(lifecycle.is_rotation_allowed());
        CHECK(lifecycle.allow_rotation(true, start + 2s).empty());
        CHECK(lifecycle.allow_rotation(false, start + 2s).empty());
        CHECK(lifecycle.allow_rotation(false, start + 3s).empty());
        if (begins_after > ChildLifecycle::floor) {
            CHECK(lines(lifecycle.timer_fired(start + 30s)) ==
                  std::vector<LogLine>{
                      {Level::info, "rotation: held back, the newest token has expired", {{"why", "early"}}}});
        }
        CHECK(lifecycle.phase() == Phase::running);
        const auto left = begins_after > ChildLifecycle::floor ? "arm 0" : "arm 25000";
        CHECK(steps(lifecycle.allow_rotation(true, start + begins_after)) == left);
        CHECK(steps(lifecycle.timer_fired(start + 41s)) == "TERM>child, CONT>child, arm 30000");
    }
}

TEST_CASE("Between two children the next one waits for a usable token") {
    // By the end of the group, by the time for it, and by the time until the next try.
    for (const int way : {0, 1, 2}) {
        auto lifecycle = replacing();
        if (way == 2) {
            lifecycle.launch_failed(1, "no memory", /*may_pass=*/true, start + 300ms);
        }
        CHECK(lifecycle.allow_rotation(false, start + 300ms).empty());
        const auto actions = way == 0 ? lifecycle.remaining_processes(false) : lifecycle.timer_fired(start + 3s);
        CHECK(steps(actions) == "disarm");
        CHECK(lines(actions).back().message ==
              "rotation: the next child waits for a fresh token, the newest one has expired");
        CHECK(lifecycle.remaining_processes(false).empty());
        CHECK(steps(lifecycle.allow_rotation(true, start + 10s)) == "disarm, launch");
        lifecycle.child_started(101, start + 10s);
        CHECK(lifecycle.phase() == Phase::running);
        // The next rotation waits for nothing.
        lifecycle.rotate("fresh token", start + 100s);
        lifecycle.child_exited(Who::serving, 143, start + 101s);
        CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, launch");
    }
}

TEST_CASE("The old group's end is waited for although the token is usable again") {
    auto lifecycle = replacing();
    lifecycle.allow_rotation(false, start + 300ms);
    CHECK(lifecycle.allow_rotation(true, start + 400ms).empty());
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, launch");
}

TEST_CASE("A stop while the next child waits for a usable token is the exit") {
    auto lifecycle = replacing();
    lifecycle.allow_rotation(false, start + 300ms);
    lifecycle.remaining_processes(false);
    lifecycle.stop(SIGTERM, start + 1s);
    CHECK(lifecycle.allow_rotation(true, start + 2s).empty());
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 143");
}

TEST_CASE("A newer token ends the wait for a usable one") {
    auto lifecycle = running();
    lifecycle.allow_rotation(false, start);
    CHECK(steps(lifecycle.rotate("fresh token", start)) == "TERM>child, CONT>child, arm 30000");
}

TEST_CASE("A token that is usable again means nothing without a rotation that is due, or in any other phase") {
    for (auto lifecycle : {running(), draining(), replacing(), stopping()}) {
        const auto phase = lifecycle.phase();
        CHECK(lifecycle.allow_rotation(false, start + 1s).empty());
        CHECK(lifecycle.allow_rotation(true, start + 1s).empty());
        CHECK(lifecycle.phase() == phase);
    }
}

TEST_CASE("A stop while a rotation is held back is a stop") {
    ChildLifecycle lifecycle{settings};
    lifecycle.start();
    lifecycle.child_started(100, start);
    lifecycle.rotate("early", start + 1s);
    lifecycle.stop(SIGTERM, start + 2s);
    CHECK(steps(lifecycle.timer_fired(start + 10s)) == "KILL>all groups, arm 400");
}

TEST_CASE("A child that can't be started ends us with the reason's code") {
    ChildLifecycle lifecycle{settings};
    lifecycle.start();
    const auto actions =
        lifecycle.launch_failed(127, "can't execute prefect: not found in PATH", /*may_pass=*/true, start);
    CHECK(steps(actions) == "disarm, exit 127");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::error, "child: can't execute prefect: not found in PATH", {}}});
}

TEST_CASE("Nothing happens once the exit code is known") {
    auto lifecycle = running();
    lifecycle.child_exited(Who::serving, 0, start);
    lifecycle.remaining_processes(false);
    CHECK(lifecycle.stop(SIGTERM, start).empty());
    CHECK(lifecycle.rotate("late", start).empty());
    CHECK(lifecycle.timer_fired(start).empty());
    CHECK(lifecycle.remaining_processes(false).empty());
    CHECK(lifecycle.child_exited(Who::serving, 1, start).empty());
}

namespace {

ChildLifecycle delaying_stop(bool rolling = false) {
    ChildLifecycle lifecycle{{.drain_timeout = 30s, .stop_timeout = 8s, .stop_delay = 5s}, rolling};
    lifecycle.start();
    lifecycle.child_started(100, start - 60s);
    const auto actions = lifecycle.stop(SIGTERM, start);
    CHECK(steps(actions) == "arm 5000");
    CHECK(lines(actions).front().message == "stop: asked to end, not ready from now on, forwarding later");
    CHECK(lifecycle.phase() == Phase::delaying_stop);
    return lifecycle;
}

}  // namespace

TEST_CASE("With a stop delay the child gets its TERM later, and has the whole stop timeout from then on") {
    auto lifecycle = delaying_stop();
    CHECK(steps(lifecycle.timer_fired(start + 5s)) == "TERM>all, CONT>all, arm 8000");
    CHECK(lifecycle.phase() == Phase::stopping);
    CHECK(steps(lifecycle.timer_fired(start + 13s)) == "KILL>all groups, arm 400");
}

TEST_CASE("A second stop ends the stop delay") {
    auto lifecycle = delaying_stop();
    CHECK(steps(lifecycle.stop(SIGTERM, start + 1s)) == "TERM>all, CONT>all, arm 8000");
}

TEST_CASE("An interrupt from the keyboard is not delayed") {
    ChildLifecycle lifecycle{{.stop_delay = 5s}};
    lifecycle.start();
    lifecycle.child_started(100, start);
    CHECK(steps(lifecycle.stop(SIGINT, start)) == "INT>all, CONT>all, arm 8000");
}

TEST_CASE("A child that ends during the stop delay ends us with its code") {
    auto lifecycle = delaying_stop();
    CHECK(steps(lifecycle.child_exited(Who::serving, 3, start + 1s)) ==
          "TERM>remaining, CONT>remaining, arm 8000, look");
    CHECK(steps(lifecycle.remaining_processes(false)) == "disarm, exit 3");
}

TEST_CASE("No rotation begins during the stop delay") {
    auto lifecycle = delaying_stop(/*rolling=*/true);
    CHECK(lifecycle.rotate("fresh token", start + 1s).empty());
    CHECK(lifecycle.room_for_next(std::nullopt, start + 1s).empty());
}

TEST_CASE("A drain or the moment between two children has no stop delay, since the child takes no requests then") {
    for (const bool drained : {false, true}) {
        ChildLifecycle lifecycle{{.stop_delay = 5s}};
        lifecycle.start();
        lifecycle.child_started(100, start - 60s);
        lifecycle.rotate("fresh token", start);
        if (drained) {
            lifecycle.child_exited(Who::serving, 143, start + 1s);
        }
        CHECK(steps(lifecycle.stop(SIGTERM, start + 1s)).starts_with("TERM>"));
    }
}
