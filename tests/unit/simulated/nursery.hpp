#pragma once

#include "child/child.hpp"
#include "simulated/captured_log.hpp"
#include "simulated/process_calls.hpp"
#include "simulated/world_time.hpp"

#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace simulated {

using namespace std::chrono_literals;
using supervisor::Child;
using supervisor::Fault;
using supervisor::Result;

using Signals = std::vector<std::pair<pid_t, int>>;
using Lines = std::vector<std::string>;

inline constexpr Moment start{1'795'000'000'000ms, 4'711'000ms};

/// The real Child over simulated processes, on a clock that the test moves.
class Nursery : private Child::Listener {
public:
    explicit Nursery(Child::Options options = {.command = {"prefect"}})
        : child(std::move(options), processes, *this, log.log(), [this] { return now; }) {}

    /// Lets time pass, and calls tick() whenever the child wants it, as the loop does.
    void pass(milliseconds length) {
        const auto end = now + length;
        for (;;) {
            child.reap();
            child.tick(now);
            const auto left = remaining(end, now);
            if (left <= 0ms) {
                return;
            }
            now = now + std::min(left, std::max(1ms, child.sleep(now).value_or(left)));
        }
    }
    pid_t pid() const { return *child.pid(); }
    Signals signalled() { return std::exchange(processes.signalled, {}); }
    bool was_killed(pid_t pid) {
        for (const auto& [target, signal] : processes.signalled) {
            if (signal == SIGKILL && (target == pid || target == -pid)) {
                return true;
            }
        }
        return false;
    }

    Moment now = start;
    CapturedLog log{};
    simulated::ProcessCalls processes{};
    std::optional<Fault> environment_fault{};
    unsigned started = 0;
    unsigned handed_over = 0;
    std::vector<milliseconds> drained{};
    unsigned failed_rotations = 0;
    bool serves = false;
    std::optional<int> exit_code{};
    unsigned exits = 0;
    Child child;

private:
    Result<Environment> environment_for_child() override {
        if (environment_fault) {
            return *environment_fault;
        }
        return Environment{{"TRY", std::to_string(processes.launch_tries)}};
    }
    void on_started(Moment) override {
        ++started;
        serves = true;
    }
    void on_handed_over(Moment) override { ++handed_over; }
    void on_drained(milliseconds took) override { drained.push_back(took); }
    void on_rotation_failed() override { ++failed_rotations; }
    void on_leaving() override { serves = false; }
    void on_exit(int code) override {
        exit_code = code;
        ++exits;
    }
};

}  // namespace simulated
