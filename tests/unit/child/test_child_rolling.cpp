// The real Child in a rolling rotation, over simulated processes and sockets.
#include "simulated/nursery.hpp"
#include "simulated/random_walk.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cerrno>
#include <csignal>
#include <optional>
#include <string>

using namespace supervisor;
using namespace std::chrono_literals;
using simulated::Lines;
using simulated::Nursery;
using simulated::RandomWalk;
using simulated::Signals;

namespace {

Child::Options rolling() {
    return {.command = {"uvicorn"}, .port = 8080, .needs_port = true, .rolling = true, .timeouts = {}};
}

Child::Options rolling_with_stop_delay() {
    auto options = rolling();
    options.timeouts.stop_delay = 5s;
    return options;
}

/// A child that has served for a minute, so that the minimum time between restarts does not matter.
struct Serving : Nursery {
    Serving() : Nursery(rolling()) {
        child.start();
        processes.listen(pid());
        pass(60s);
        log.lines();
        signalled();
    }
    /// The pid of the child beside the serving one.
    [[nodiscard]] pid_t other() const {
        for (const auto& [pid, process] : processes.alive) {
            if (pid == process.group && pid != child.pid() && !process.code) {
                return pid;
            }
        }
        return 0;
    }
    [[nodiscard]] unsigned open_sockets() const {
        unsigned open = 0;
        for (const auto& [number, socket] : processes.sockets) {
            open += socket.is_open ? 1U : 0U;
        }
        return open;
    }
};

}  // namespace

TEST_CASE("The first child of a rolling supervisor gets a socket that does not listen yet") {
    Nursery test{rolling()};
    test.child.start();
    REQUIRE(test.processes.socket_of.contains(test.pid()));
    CHECK_FALSE(test.processes.sockets.at(test.processes.socket_of.at(test.pid())).listens);
    CHECK(test.log.lines() == Lines{"INFO child: started pid=100 restarts=0"});
}

TEST_CASE("The next child serves when it listens, and the old one is ended afterwards") {
    Serving test;
    const pid_t old = test.pid();
    test.child.replace("fresh token");
    const pid_t next = test.other();
    REQUIRE(next != 0);
    CHECK(test.child.phase() == Phase::overlapping);
    CHECK(test.child.pid() == old);
    test.pass(3s);
    CHECK(test.handed_over == 0);
    CHECK(test.processes.steered_to == test.processes.socket_of.at(old));
    CHECK(test.serves);
    CHECK(test.signalled().empty());

    test.processes.listen(next);
    test.pass(50ms);
    CHECK(test.child.pid() == next);
    CHECK(test.handed_over == 1);
    CHECK(test.processes.steered_to == test.processes.socket_of.at(next));
    CHECK(test.processes.runs(old));

    test.pass(1100ms);
    CHECK(test.signalled() == Signals{{-old, SIGTERM}, {-old, SIGCONT}, {-old, SIGKILL}});
    CHECK_FALSE(test.processes.runs(old));
    CHECK(test.child.phase() == Phase::running);
    CHECK(test.child.restarts() == 1);
    CHECK(test.started == 1);
    CHECK(test.serves);
    CHECK(test.open_sockets() == 1);
    CHECK(test.drained.size() == 1);
    CHECK(test.failed_rotations == 0);
}

TEST_CASE("The drain of a rolling rotation lasts from the old child's TERM, and not from the hand-over") {
    Serving test;
    const pid_t old = test.pid();
    test.processes.alive.at(old).obeys_term = false;
    test.child.replace("fresh token");
    test.processes.listen(test.other());
    // The queue has to be empty for a moment before the TERM.
    test.pass(1010ms);
    test.signalled();
    test.pass(2s);
    test.processes.end(old, 0);
    test.pass(1ms);
    REQUIRE(test.drained.size() == 1);
    CHECK(test.drained.front() >= 2s - 10ms);
    CHECK(test.drained.front() <= 2s + 10ms);
}

TEST_CASE("Our copy of the old child's socket is closed before its TERM") {
    Serving test;
    test.child.replace("fresh token");
    test.processes.on_group_signal = [&test](int signal) {
        if (signal == SIGTERM) {
            CHECK(test.open_sockets() == 1);
        }
    };
    test.processes.listen(test.other());
    test.pass(2s);
    CHECK(test.child.restarts() == 1);
}

TEST_CASE("The old child gets its TERM only when its queue is empty") {
    Serving test;
    const pid_t old = test.pid();
    auto& socket = test.processes.sockets.at(test.processes.socket_of.at(old));
    socket.waiting = 7;
    test.child.replace("fresh token");
    test.processes.listen(test.other());
    test.pass(2s);
    CHECK(test.processes.runs(old));
    socket.waiting = 0;
    test.pass(1100ms);
    CHECK_FALSE(test.processes.runs(old));
}

TEST_CASE("Where new connections can't be steered the rotation goes on and says so") {
    Serving test;
    test.processes.connections_steered = false;
    test.child.replace("fresh token");
    test.processes.listen(test.other());
    test.pass(2s);
    CHECK(test.child.restarts() == 1);
    const auto lines = test.log.lines();
    CHECK(std::find(
              lines.begin(), lines.end(),
              "WARNING rotation: new connections can't be led to the next child alone, a few may be lost: setsockopt "
              "SO_ATTACH_REUSEPORT_CBPF: not permitted") != lines.end());
}

TEST_CASE("Where the port can't be shared each rotation is a plain restart on the same socket") {
    Nursery test{rolling()};
    test.processes.port_shared = false;
    test.child.start();
    const pid_t first = test.pid();
    CHECK(test.log.lines().front() ==
          "WARNING rotation: two children can't share the port, so each rotation ends the old one first: setsockopt "
          "SO_REUSEPORT: not available");
    test.processes.listen(first);
    test.pass(60s);
    test.child.replace("fresh token");
    CHECK_FALSE(test.serves);
    test.pass(1s);
    CHECK(test.child.restarts() == 1);
    CHECK(test.processes.socket_of.at(test.pid()) == test.processes.socket_of.at(first));
}

TEST_CASE(
    "Without the memory for two the old child is ended first, and connections wait in the socket that both have") {
    Serving test;
    const pid_t old = test.pid();
    test.processes.no_room = "40 MiB of memory are left, and 120 MiB are needed, 1.3 times the child's";
    test.child.replace("fresh token");
    test.pass(1s);
    CHECK(test.child.restarts() == 1);
    CHECK(test.processes.socket_of.at(test.pid()) == test.processes.socket_of.at(old));
    CHECK(
        test.log.lines().front() ==
        "WARNING rotation: the next child can't run beside this one, which is ended first: 40 MiB of memory are left, "
        "and 120 MiB are needed, 1.3 times the child's");
    // The next rotation has the memory again.
    test.processes.no_room.reset();
    test.pass(60s);
    test.child.replace("fresh token");
    CHECK(test.child.phase() == Phase::overlapping);
}

TEST_CASE("A second socket that can't be bound makes the rotation a plain restart") {
    Serving test;
    test.processes.no_bind = "can't bind port 8080: Address already in use";
    test.child.replace("fresh token");
    test.pass(1s);
    CHECK(test.child.restarts() == 1);
}

TEST_CASE("A port that another program has is the end, with code 1") {
    for (const bool listens : {true, false}) {
        Nursery test{rolling()};
        test.processes.port_taken = listens;
        test.processes.no_bind = "can't bind port 8080: Address already in use";
        test.child.start();
        CHECK(test.exit_code == 1);
        CHECK(test.processes.launched.empty());
    }
}

TEST_CASE("A next child that never listens is ended, and the old one serves on") {
    Serving test;
    const pid_t old = test.pid();
    test.child.replace("fresh token");
    const pid_t next = test.other();
    test.pass(60s);
    CHECK_FALSE(test.processes.runs(next));
    CHECK(test.child.pid() == old);
    CHECK(test.serves);
    CHECK(test.open_sockets() == 1);
    CHECK(test.failed_rotations == 1);
    // That one was not drained: it never served.
    CHECK(test.drained.empty());
    test.pass(30s);
    CHECK(test.child.phase() == Phase::overlapping);
    test.processes.listen(test.other());
    test.pass(1s);
    CHECK(test.child.restarts() == 1);
}

TEST_CASE("A failed fork of the next child leaves the old one, and is tried again") {
    Serving test;
    const pid_t old = test.pid();
    test.processes.launch_faults = {
        {.stage = LaunchStage::fork, .error = ENOMEM, .why = "can't start uvicorn: fork: no memory"}};
    test.child.replace("fresh token");
    CHECK(test.child.pid() == old);
    CHECK(test.serves);
    CHECK(test.open_sockets() == 1);
    CHECK(test.log.lines().back() ==
          "ERROR rotation: the next child failed, the old one is kept: can't start uvicorn: fork: no memory "
          "next_try_ms=30000");
    CHECK(test.failed_rotations == 1);
    test.pass(30s);
    CHECK(test.child.phase() == Phase::overlapping);
}

TEST_CASE("A signal that is forwarded in a rolling rotation goes to both children") {
    Serving test;
    test.child.replace("fresh token");
    test.child.forward(SIGUSR1);
    CHECK(test.signalled() == Signals{{-test.pid(), SIGUSR1}, {-test.other(), SIGUSR1}});
}

TEST_CASE("A stop in a rolling rotation ends both children, deaf ones by SIGKILL") {
    Serving test;
    test.processes.next_obeys_term = false;
    test.child.replace("fresh token");
    const pid_t next = test.other();
    test.child.stop(SIGTERM);
    test.pass(1s);
    CHECK_FALSE(test.exit_code.has_value());
    CHECK(test.processes.runs(next));
    test.pass(8s);
    CHECK_FALSE(test.processes.any_runs());
    CHECK(test.exit_code == 143);
}

TEST_CASE("The serving child's end in a rolling rotation ends the other one too") {
    Serving test;
    test.child.replace("fresh token");
    test.processes.end(test.pid(), 3);
    test.pass(1s);
    CHECK_FALSE(test.processes.any_runs());
    CHECK(test.exit_code == 3);
    CHECK(test.child.orphans_reaped() == 0);
}

namespace {

class RollingStory : public RandomWalk {
public:
    explicit RollingStory(std::uint64_t seed)
        : RandomWalk(seed % 2 == 0 ? rolling() : rolling_with_stop_delay(), seed, 20s) {}

private:
    void started_first() override { processes.listen(pid()); }

    void happen() override {
        processes.next_obeys_term = dice_.chance(0.8);
        processes.next_obeys_kill = dice_.chance(0.98);
        const auto children = mains();
        const pid_t one = children.empty() ? 0 : children.at(dice_.below(children.size()));
        switch (dice_.below(15)) {
            case 0:
            case 1:
            case 2: fresh_token(); break;
            case 3:
                if (dice_.chance(0.05)) {
                    stop();
                }
                break;
            case 4:
                if (one != 0 && (one != child.pid() || dice_.chance(0.05))) {
                    processes.end(one, static_cast<int>(dice_.below(256)));
                }
                break;
            case 5:
            case 6:
            case 7:
                if (one != 0) {
                    processes.listen(one);
                }
                break;
            case 8:
                processes.no_room = dice_.chance(0.3) ? std::optional{std::string{"no memory"}} : std::nullopt;
                break;
            case 9: processes.connections_steered = dice_.chance(0.7); break;
            case 10: fail_next_launches(3); break;
            case 11: now.wall += dice_.between(-1h, 1h); break;
            case 12:
                for (auto& [number, socket] : processes.sockets) {
                    socket.waiting = static_cast<unsigned>(dice_.below(3));
                }
                break;
            case 13: expire(); break;
            default: processes.start(4711 + static_cast<pid_t>(dice_.below(3))); break;
        }
    }

    [[nodiscard]] std::vector<pid_t> mains() const {
        std::vector<pid_t> found;
        for (const auto& [pid, process] : processes.alive) {
            if (processes.socket_of.contains(pid) && !process.code) {
                found.push_back(pid);
            }
        }
        return found;
    }

    void check() override {
        const auto phase = child.phase();
        const bool two = phase == Phase::overlapping || phase == Phase::handing_over || phase == Phase::retiring;
        unsigned open = 0;
        for (const auto& [number, socket] : processes.sockets) {
            open += socket.is_open ? 1U : 0U;
        }
        CHECK(mains().size() <= (two || child.is_ending() ? 2U : 1U));
        CHECK(open <= 2);
        CHECK(serves == supervisor::serves(phase));
        if (supervisor::serves(phase)) {
            // The child that we call serving runs, and nobody else was told to take the connections.
            CHECK(processes.runs(pid()));
            if (phase == Phase::running) {
                CHECK(open == 1);
                CHECK(mains().size() == 1);
            }
        }
        if (two) {
            // They are there for a bounded time alone.
            CHECK((child.sleep(now).has_value() || exit_code.has_value()));
        }
    }
};

}  // namespace

TEST_CASE("Whatever happens in a rolling rotation a stop ends both children in time, and one child serves") {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        RollingStory{seed}.run();
    }
}
