#pragma once

#include "base/clock.hpp"
#include "base/environment.hpp"
#include "base/fault.hpp"
#include "base/log.hpp"
#include "child/child_lifecycle.hpp"
#include "child/listening_socket.hpp"
#include "child/process_calls.hpp"
#include "child/process_group.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace supervisor {

/// The child and everything that is done to it: every launch, every kill(2), every reap. It performs what the
/// life-cycle policy says, and reports the outcome to the policy. It is handed a command and an environment and knows
/// no token. During a rolling rotation there are two children, of which one serves.
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
        /// A rolling rotation: from now on the next child serves, which is ready for connections.
        virtual void on_handed_over(Moment now) = 0;
        /// A rotation's old child has ended, `took` after its TERM.
        virtual void on_drained(milliseconds took) = 0;
        /// The next child could not be started, or failed before it served. Reported for each try.
        virtual void on_rotation_failed() = 0;
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
        bool rolling = false;                 ///< the child gets a listening socket on `port`, and the next one starts
                                              ///< beside it
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
    /// Whether a child that starts now could log in. If not, a rotation that is held back waits until it could.
    void allow_rotation(bool allowed);
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
    [[nodiscard]] bool was_started() const { return serving_.group.has_value(); }
    /// Of the child that serves.
    [[nodiscard]] std::optional<pid_t> pid() const { return serving_.pid; }
    [[nodiscard]] Moment started_at() const { return serving_.started_at; }
    [[nodiscard]] unsigned restarts() const { return policy_.restarts(); }
    [[nodiscard]] unsigned orphans_reaped() const { return orphans_reaped_; }

private:
    struct OneChild {
        std::optional<pid_t> pid{};  ///< until it is reaped
        std::optional<ProcessGroup> group{};
        Moment started_at{};
        std::unique_ptr<ListeningSocket> socket{};  ///< our copy
    };

    void handle(std::function<Actions()> event);
    void perform(const Action& action);
    void poll_sockets(Moment now);
    void launch(Who who);
    std::optional<std::string> make_room();
    bool prepare_port(OneChild& child);
    void hand_over();
    void signal_children(Who who, int signal);
    void signal_child(const OneChild& child, int signal);
    void kill_groups(Who who);
    template <class Function>
    void for_each(Who who, Function act);
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
    OneChild serving_{};
    OneChild other_{};                     ///< of a rolling rotation
    std::set<pid_t> orphans_signalled_{};  ///< since the child ended for good
    bool has_children_ = false;            ///< any at all, when the last one was reaped
    unsigned orphans_reaped_ = 0;
};

}  // namespace supervisor
