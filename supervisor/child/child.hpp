#pragma once

#include "base/clock.hpp"
#include "base/environment.hpp"
#include "base/fault.hpp"
#include "base/log.hpp"
#include "child/child_lifecycle.hpp"
#include "child/process_calls.hpp"
#include "child/process_group.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace supervisor {

/// The child and everything that is done to it: every launch, every kill(2), every reap. It performs what the
/// life-cycle policy says, and reports the outcome to the policy. It is handed a command and an environment and knows
/// no token.
///
/// Events wait in a queue until all actions of the event before them are done, so that no action re-enters the policy.
/// Like TokenRefresher it has no timer of its own; its deadlines are on CLOCK_BOOTTIME, which no step of the wall clock
/// changes. A deadline that is set again replaces the one before, so none can act on a later phase.
class Child {
public:
    /// Who provides the child's environment, and is told of its life.
    class Listener {
    public:
        /// Asked right before each launch. A fault ends the program with exit code 1.
        virtual Result<Environment> environment_for_child() = 0;
        virtual void on_started(Moment now) = 0;
        /// The child does not serve: it is drained, is stopped, has ended, or was never there. Reported after every event
        /// in such a phase.
        virtual void on_leaving() = 0;
        /// The child has ended for good, or none will be started. `code` is the program's exit code before --map-exit.
        virtual void on_exit(int code) = 0;

    protected:
        ~Listener() = default;
    };

    struct Options {
        std::vector<std::string> command;
        bool single_child = false;            ///< signals go to the child alone and not to its group
        std::optional<std::uint16_t> port{};  ///< where the child is asked whether it is ready
        bool needs_port = false;              ///< the child cannot run while another program listens on `port`
        ChildTimeouts timeouts{};
    };

    /// All arguments by reference must outlive this object.
    Child(Options options, ProcessCalls& processes, Listener& listener, Log& log, Clock clock);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    /// Launches the first child.
    void start();
    /// Drains the child and launches the next one; `why` goes into the log.
    void replace(std::string why);
    /// Ends the child, and then the program: `signal` is TERM or INT.
    void stop(int signal);
    /// Forwards `signal` to the child.
    void forward(int signal);
    /// Reaps every process that has ended. To be called once at the start, for those that were inherited, and after
    /// each SIGCHLD.
    void reap();
    /// Sends SIGKILL to every process below us, for an end that cannot wait.
    void kill_all();

    /// Acts on the deadline that has come.
    void tick(Moment now);
    /// How long tick() may wait at most, never negative; none without a deadline.
    [[nodiscard]] std::optional<milliseconds> sleep(Moment now) const;

    [[nodiscard]] Phase phase() const { return policy_.phase(); }
    /// Whether the end of the program has begun: no other child will be started.
    [[nodiscard]] bool is_ending() const;
    [[nodiscard]] bool was_started() const { return group_.has_value(); }
    [[nodiscard]] std::optional<pid_t> pid() const { return pid_; }
    [[nodiscard]] Moment started_at() const { return started_at_; }
    [[nodiscard]] unsigned restarts() const { return policy_.restarts(); }
    [[nodiscard]] unsigned orphans_reaped() const { return orphans_reaped_; }

private:
    void handle(std::function<Actions()> event);
    void perform(const Action& action);
    void launch();
    void signal_child(int signal);
    void kill_group();
    void signal_remaining(int signal);
    void signal_orphans(int signal, bool new_ones_only);
    [[nodiscard]] bool any_remaining();

    Options options_;
    ProcessCalls& processes_;
    Listener& listener_;
    Log& log_;
    Clock clock_;
    ChildLifecycle policy_;
    std::deque<std::function<Actions()>> events_{};
    bool handling_ = false;
    std::optional<milliseconds> deadline_{};  ///< of the policy's one timer, by CLOCK_BOOTTIME
    std::optional<pid_t> pid_{};              ///< of the child that has not been reaped yet
    std::optional<ProcessGroup> group_{};     ///< of the newest child
    Moment started_at_{};
    std::set<pid_t> orphans_signalled_{};  ///< since the child ended for good
    bool has_children_ = false;            ///< any at all, when the last one was reaped
    unsigned orphans_reaped_ = 0;
};

}  // namespace supervisor
