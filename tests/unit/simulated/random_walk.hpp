#pragma once

#include "simulated/nursery.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

namespace simulated {

using supervisor::ChildLifecycle;
using supervisor::LaunchFault;
using supervisor::LaunchStage;
using supervisor::Phase;

/// A random walk: random events happen to the real Child until it ends. Which events those are, and what holds between two of
/// them besides what holds of every child, is for the derived class to say.
class RandomWalk : public Nursery {
public:
    RandomWalk(Child::Options options, std::uint64_t seed, milliseconds longest_pause)
        : Nursery(options), dice_(seed), stop_delay_(options.timeouts.stop_delay), longest_pause_(longest_pause) {}

    void run() {
        child.start();
        started_first();
        for (int step = 0; step < 300 && !exit_code; ++step) {
            happen();
            pass(dice_.between(1ms, longest_pause_));
            check_every_child();
            check();
        }
        if (!exit_code) {
            stop();
        }
        // From here on the clock alone must lead to the end.
        pass(stop_delay_ + 8s + ChildLifecycle::final_grace + 1ms);
        REQUIRE(exit_code.has_value());
        CHECK(exits == 1);
        const auto tries = processes.launch_tries;
        child.replace("late");
        child.stop(SIGTERM);
        pass(1min);
        CHECK(processes.launch_tries == tries);
        CHECK(exits == 1);
    }

protected:
    ~RandomWalk() = default;

    virtual void started_first() {}
    virtual void happen() = 0;
    virtual void check() = 0;

    void stop() {
        stopped_ = true;
        tries_at_stop_ = processes.launch_tries;
        child.stop(SIGTERM);
    }
    void fail_next_launches(std::uint64_t fewer_than) {
        processes.launch_faults.assign(
            dice_.below(fewer_than),
            LaunchFault{.stage = LaunchStage::fork, .error = dice_.chance(0.9) ? EAGAIN : EPERM, .why = "fork"});
    }
    /// What the supervisor does when a fresh token comes, and when the newest one expires.
    void fresh_token() {
        expired_ = false;
        child.replace("fresh token");
        child.allow_rotation(true);
    }
    void expire() {
        expired_ = true;
        tries_at_expiry_ = processes.launch_tries;
        child.allow_rotation(false);
    }

    Dice dice_;

private:
    void check_every_child() {
        CHECK((child.phase() == Phase::stopped) == exit_code.has_value());
        if (stopped_) {
            CHECK(processes.launch_tries == tries_at_stop_);
        }
        if (expired_) {
            CHECK(processes.launch_tries == tries_at_expiry_);
        }
        // Between two children only a token may be waited for without a limit.
        if ((child.phase() == Phase::replacing && !expired_) || child.phase() == Phase::draining || child.is_ending()) {
            CHECK((child.sleep(now).has_value() || exit_code.has_value()));
        }
    }

    milliseconds stop_delay_;
    milliseconds longest_pause_;
    bool stopped_ = false;
    unsigned tries_at_stop_ = 0;
    bool expired_ = false;
    unsigned tries_at_expiry_ = 0;
};

}  // namespace simulated
