#include "rotation.hpp"

#include <catch2/catch_test_macros.hpp>

#include <csignal>
#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;
using Kind = Action::Kind;

namespace {

constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};
constexpr RotationSettings settings{.drain_timeout = 30s, .stop_timeout = 8s};

/// What is to be done, in order, without the log lines: `TERM>child`, `arm 30s`, `exit 143`.
std::string steps(const Actions& actions) {
    std::string text;
    const auto add = [&text](const std::string& step) { text += (text.empty() ? "" : ", ") + step; };
    for (const auto& action : actions) {
        const auto signal = action.signal == SIGTERM   ? std::string{"TERM"}
                            : action.signal == SIGCONT ? "CONT"
                            : action.signal == SIGINT  ? "INT"
                            : action.signal == SIGKILL ? "KILL"
                                                       : std::to_string(action.signal);
        switch (action.kind) {
            case Kind::launch: add("launch"); break;
            case Kind::signal_child: add(signal + ">child"); break;
            case Kind::kill_group: add("KILL>group"); break;
            case Kind::signal_leftovers: add(signal + ">leftovers"); break;
            case Kind::signal_new_orphans: add(signal + ">new orphans"); break;
            case Kind::look_for_leftovers: add("look"); break;
            case Kind::arm: add("arm " + std::to_string(action.delay.count())); break;
            case Kind::disarm: add("disarm"); break;
            case Kind::exit: add("exit " + std::to_string(action.code)); break;
            case Kind::log: break;
        }
    }
    return text;
}

std::vector<LogLine> lines(const Actions& actions) {
    std::vector<LogLine> found;
    for (const auto& action : actions) {
        if (action.kind == Kind::log) {
            found.push_back(action.line);
        }
    }
    return found;
}

/// A child that has run for a minute, so that the floor between restarts is no matter.
Rotation running() {
    Rotation rotation{settings};
    rotation.start();
    rotation.child_started(100, start - 60s);
    return rotation;
}

Rotation draining() {
    auto rotation = running();
    rotation.rotate("fresh token", start);
    return rotation;
}

Rotation clearing() {
    auto rotation = draining();
    rotation.child_exited(143, start + 200ms);
    return rotation;
}

Rotation stopping() {
    auto rotation = running();
    rotation.stop(SIGTERM, start);
    return rotation;
}

}  // namespace

TEST_CASE("The first child is started once everything that it needs is in hand") {
    Rotation rotation{settings};
    CHECK(rotation.phase() == Phase::waiting);
    CHECK(steps(rotation.start()) == "launch");
    const auto actions = rotation.child_started(100, start);
    CHECK(lines(actions) == std::vector<LogLine>{{Level::info, "child: started", {{"pid", 100}, {"restarts", 0}}}});
    CHECK(rotation.phase() == Phase::running);
    CHECK(rotation.restarts() == 0);
}

TEST_CASE("A rotation drains the child and starts the next one") {
    auto rotation = running();
    auto actions = rotation.rotate("fresh token 1a2b3c4d", start);
    CHECK(rotation.phase() == Phase::draining);
    CHECK(steps(actions) == "TERM>child, CONT>child, arm 30000");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::info, "rotation: draining the child", {{"why", "fresh token 1a2b3c4d"}}}});

    actions = rotation.child_exited(143, start + 204ms);
    CHECK(rotation.phase() == Phase::clearing);
    CHECK(steps(actions) == "KILL>group, arm 2000, look");
    CHECK(lines(actions) ==
          std::vector<LogLine>{
              {Level::info, "rotation: child drained", {{"took_ms", 204}, {"how", "ended by itself"}, {"code", 143}}}});

    CHECK(steps(rotation.leftovers(true)).empty());
    CHECK(steps(rotation.leftovers(false)) == "disarm, launch");
    rotation.child_started(101, start + 210ms);
    CHECK(rotation.phase() == Phase::running);
    CHECK(rotation.restarts() == 1);
}

TEST_CASE("A child that does not drain is killed and replaced all the same") {
    auto rotation = draining();
    const auto actions = rotation.timer_fired(start + 30s);
    CHECK(rotation.phase() == Phase::draining);
    CHECK(steps(actions) == "KILL>group, arm 5000");
    CHECK(lines(actions).front().level == Level::warning);
    const auto drained = rotation.child_exited(137, start + 30s + 5ms);
    CHECK(steps(drained) == "KILL>group, arm 2000, look");
    CHECK(lines(drained).front().fields[1] == Field{"how", "killed after the drain timeout"});
}

TEST_CASE("A drain in which even SIGKILL does not end the child is the exit") {
    auto rotation = draining();
    rotation.timer_fired(start + 30s);
    const auto actions = rotation.timer_fired(start + 35s);
    CHECK(steps(actions) == "disarm, exit 137");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::error, "rotation: the child did not die of SIGKILL, leaving it", {}}});
}

TEST_CASE("A launch between two children that may work later is tried again with growing pauses, within a limit") {
    auto rotation = clearing();
    rotation.leftovers(false);
    auto now = start + 300ms;
    std::string pauses;
    for (;;) {
        const auto actions = rotation.launch_failed(1, "can't start prefect: fork", /*may_pass=*/true, now);
        if (rotation.phase() == Phase::stopped) {
            CHECK(steps(actions) == "disarm, exit 1");
            break;
        }
        CHECK(rotation.phase() == Phase::clearing);
        CHECK(rotation.leftovers(false).empty());
        REQUIRE(actions.size() == 2);
        const auto pause = actions.back().delay;
        pauses += std::to_string(pause.count()) + ' ';
        now = now + pause;
        CHECK(steps(rotation.timer_fired(now)) == "launch");
    }
    CHECK(pauses == "100 200 400 800 1600 2000 2000 2000 2000 2000 2000 ");
}

TEST_CASE("A launch that can't work later is not tried again") {
    auto rotation = clearing();
    rotation.leftovers(false);
    CHECK(steps(rotation.launch_failed(127, "not found", /*may_pass=*/false, start)) == "disarm, exit 127");
}

TEST_CASE("A stop timeout of zero forwards the stop and waits for the child alone") {
    Rotation rotation{{.drain_timeout = 30s, .stop_timeout = 0s}};
    rotation.start();
    rotation.child_started(100, start);
    CHECK(steps(rotation.stop(SIGTERM, start)) == "TERM>child, CONT>child, disarm");
    CHECK(steps(rotation.child_exited(0, start + 1h)) == "disarm, exit 0");
}

TEST_CASE("A group that can't be cleared does not keep the next child from starting") {
    auto rotation = clearing();
    CHECK(steps(rotation.timer_fired(start + 3s)) == "launch");
}

TEST_CASE("Restarts are at least 30 s apart") {
    Rotation rotation{settings};
    rotation.start();
    rotation.child_started(100, start);
    CHECK(steps(rotation.rotate("early", start + 10s)) == "arm 20000");
    CHECK(rotation.phase() == Phase::running);
    CHECK(steps(rotation.rotate("again", start + 29s)) == "arm 1000");
    CHECK(steps(rotation.timer_fired(start + 30s)) == "TERM>child, CONT>child, arm 30000");
    CHECK(rotation.phase() == Phase::draining);
}

TEST_CASE("The timer of a running child without a rotation does nothing") {
    auto rotation = running();
    CHECK(rotation.timer_fired(start).empty());
    CHECK(rotation.phase() == Phase::running);
}

TEST_CASE("A rotation that is asked for while another is under way is part of it") {
    for (auto rotation : {draining(), clearing(), stopping()}) {
        const auto phase = rotation.phase();
        CHECK(rotation.rotate("newer", start + 1s).empty());
        CHECK(rotation.phase() == phase);
    }
}

TEST_CASE("A child that ends by itself ends us with its code at once") {
    for (const int code : {0, 1, 3, 137, 255}) {
        CAPTURE(code);
        auto rotation = running();
        const auto actions = rotation.child_exited(code, start);
        CHECK(steps(actions) == "TERM>leftovers, CONT>leftovers, arm 8000, look");
        std::vector<Field> fields{{"code", code}};
        if (code == 137) {
            fields.push_back({"why", "SIGKILL, and not by us: mostly the kernel's, for want of memory"});
        }
        CHECK(lines(actions) ==
              std::vector<LogLine>{{code == 0 ? Level::info : Level::error, "child: ended by itself", fields}});
        CHECK(steps(rotation.leftovers(false)) == "disarm, exit " + std::to_string(code));
        CHECK(rotation.phase() == Phase::stopped);
    }
}

TEST_CASE("What a child leaves behind gets TERM and later KILL") {
    auto rotation = running();
    rotation.child_exited(7, start);
    CHECK(steps(rotation.leftovers(true)) == "TERM>new orphans");
    CHECK(steps(rotation.timer_fired(start + 8s)) == "KILL>leftovers, arm 400, look");
    CHECK(steps(rotation.leftovers(true)) == "KILL>leftovers");
    CHECK(steps(rotation.timer_fired(start + 8400ms)) == "disarm, exit 7");
}

TEST_CASE("A stop before the first child is the exit with the signal's code") {
    for (const int signal : {SIGTERM, SIGINT}) {
        Rotation rotation{settings};
        CHECK(steps(rotation.stop(signal, start)) == "disarm, exit " + std::to_string(128 + signal));
    }
}

TEST_CASE("A stop is forwarded and waits for the child") {
    auto rotation = running();
    const auto actions = rotation.stop(SIGINT, start);
    CHECK(steps(actions) == "INT>child, CONT>child, arm 8000");
    CHECK(lines(actions) == std::vector<LogLine>{{Level::info, "stop: asked to end, forwarding", {{"signal", 2}}}});
    CHECK(rotation.phase() == Phase::stopping);
    const auto ended = rotation.child_exited(0, start + 1s);
    CHECK(steps(ended) == "TERM>leftovers, CONT>leftovers, arm 7000, look");
    CHECK(lines(ended) == std::vector<LogLine>{{Level::info, "child: stopped", {{"code", 0}}}});
    CHECK(steps(rotation.leftovers(false)) == "disarm, exit 0");
}

TEST_CASE("A second stop is forwarded too") {
    auto rotation = stopping();
    CHECK(steps(rotation.stop(SIGINT, start + 1s)) == "INT>child");
    rotation.child_exited(143, start + 2s);
    CHECK(steps(rotation.stop(SIGTERM, start + 3s)) == "TERM>leftovers");
}

TEST_CASE("A child that ignores the stop is killed after the stop timeout") {
    auto rotation = stopping();
    CHECK(steps(rotation.timer_fired(start + 8s)) == "KILL>group, arm 400");
    CHECK(steps(rotation.child_exited(137, start + 8s)) == "TERM>leftovers, CONT>leftovers, arm 0, look");
    CHECK(steps(rotation.leftovers(false)) == "disarm, exit 137");
}

TEST_CASE("A child that even SIGKILL does not end is left behind") {
    auto rotation = stopping();
    rotation.timer_fired(start + 8s);
    CHECK(steps(rotation.timer_fired(start + 8400ms)) == "disarm, exit 137");
}

TEST_CASE("A stop during a drain turns it into the exit") {
    auto rotation = draining();
    CHECK(steps(rotation.stop(SIGTERM, start + 1s)) == "TERM>child, CONT>child, arm 8000");
    rotation.child_exited(143, start + 2s);
    CHECK(steps(rotation.leftovers(false)) == "disarm, exit 143");
}

TEST_CASE("A stop during a drain that has come to KILL still has its own timeout") {
    auto rotation = draining();
    rotation.timer_fired(start + 30s);
    rotation.stop(SIGTERM, start + 30s);
    CHECK(steps(rotation.timer_fired(start + 38s)) == "KILL>group, arm 400");
}

TEST_CASE("A stop between two children is the exit with the old one's code") {
    auto rotation = clearing();
    CHECK(steps(rotation.stop(SIGTERM, start + 300ms)) == "TERM>leftovers, CONT>leftovers, arm 8000, look");
    CHECK(steps(rotation.leftovers(false)) == "disarm, exit 143");
}

TEST_CASE("A stop while a rotation is held back is a stop") {
    Rotation rotation{settings};
    rotation.start();
    rotation.child_started(100, start);
    rotation.rotate("early", start + 1s);
    rotation.stop(SIGTERM, start + 2s);
    CHECK(steps(rotation.timer_fired(start + 10s)) == "KILL>group, arm 400");
}

TEST_CASE("A child that can't be started ends us with the reason's code") {
    Rotation rotation{settings};
    rotation.start();
    const auto actions =
        rotation.launch_failed(127, "can't execute prefect: not found in PATH", /*may_pass=*/true, start);
    CHECK(steps(actions) == "disarm, exit 127");
    CHECK(lines(actions) ==
          std::vector<LogLine>{{Level::error, "child: can't execute prefect: not found in PATH", {}}});
}

TEST_CASE("Nothing happens once the exit code is known") {
    auto rotation = running();
    rotation.child_exited(0, start);
    rotation.leftovers(false);
    CHECK(rotation.stop(SIGTERM, start).empty());
    CHECK(rotation.rotate("late", start).empty());
    CHECK(rotation.timer_fired(start).empty());
    CHECK(rotation.leftovers(false).empty());
    CHECK(rotation.child_exited(1, start).empty());
}
