#pragma once

#include "base/child_phase.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"

#include <optional>
#include <string>
#include <vector>

namespace supervisor {

// The life of the child: what to do next when something happens to it. Pure policy: no I/O and no clock; the caller
// performs the actions in their order and reports what came of them.
//
//   phase        what it means                                      what ends it
//   waiting      there is no child yet                              start(): launch; a stop: exit with 128+signal
//   running      the child runs                                     it exits; a stop; a rotation is due
//   draining     the child got TERM for a rotation; timer: drain    it exits; the timer: KILL, then a bounded wait and
//                timeout                                            exit with 137; a stop: stopping
//   replacing    the child is reaped, its group got KILL; timer:    the group is empty: launch; the timer: launch; a
//                bounded; then: a launch that failed is retried     launch that keeps failing: exit; a stop: cleaning_up
//   stopping     the child got the stop's signal; timer: stop       it exits; the timer: KILL, then a bounded wait and
//                timeout                                            exit with 137
//   cleaning_up  the child is reaped for good, the remaining        none is left; the timer: KILL, then a bounded wait
//                processes got TERM; timer: the rest of the stop    and exit
//                timeout
//   stopped      the exit code is known                             nothing
//
// A stop always wins: it turns a drain or the moment between two children into the exit. Within the stop timeout and
// twice final_grace every process has ended or is given up, whatever the child does. The remaining processes are those of the
// child's group and the orphans that we adopted; a rotation ends the group alone, because a daemon that left the group
// must not be ended. With a stop timeout of zero nothing is ever killed at a stop, and nothing is waited for but the
// child.

struct Action {
    enum class Kind {
        launch,              ///< start a child; answer with child_started() or launch_failed()
        signal_child,        ///< send `signal` to the child (its group, or the child alone with --single-child)
        kill_group,          ///< SIGKILL to the child's whole group
        signal_remaining,    ///< send `signal` to every remaining process
        signal_new_orphans,  ///< send `signal` to the orphans that were adopted since the last signal
        look_for_remaining,  ///< answer with remaining_processes(), counting the group alone while replacing
        arm,                 ///< (re)start the one timer: timer_fired() after `delay`
        disarm,              ///< stop it
        exit,                ///< end with `code`
        log,                 ///< print `line`
    };
    Kind kind;
    int signal = 0;
    milliseconds delay{};
    int code = 0;
    LogLine line{};

    friend bool operator==(const Action&, const Action&) = default;
};

using Actions = std::vector<Action>;

struct ChildTimeouts {
    milliseconds drain_timeout{30'000};
    milliseconds stop_timeout{8'000};  ///< zero: wait for the child without limit, and for nothing else
};

class ChildLifecycle {
public:
    /// Two starts of a child are at least this far apart, so that short-lived tokens make no restart storm.
    static constexpr milliseconds floor{30'000};
    /// How long a process is waited for after SIGKILL: the kernel may be slow, but Cloud Run's grace period is short.
    static constexpr milliseconds final_grace{400};
    /// The same in a rotation, where no platform waits for us.
    static constexpr milliseconds drain_kill_grace{5'000};
    static constexpr milliseconds replacing_timeout{2'000};
    /// A launch between two children that fails for a reason that may be temporary is retried with growing pauses, for
    /// this long: the old child has ended, so the service is down meanwhile.
    static constexpr milliseconds first_relaunch_pause{100};
    static constexpr milliseconds longest_relaunch_pause{2'000};
    static constexpr milliseconds relaunch_limit{15'000};

    explicit ChildLifecycle(ChildTimeouts settings) : settings_(settings) {}

    [[nodiscard]] Phase phase() const { return phase_; }
    /// How often a child was replaced by the next one.
    [[nodiscard]] unsigned restarts() const { return restarts_; }

    /// Launches the first child, once everything that it needs is available.
    Actions start();
    /// The child is to be replaced by one with a newer token, which has been fetched already; `why` goes into the log.
    Actions rotate(std::string why, Moment now);
    Actions child_started(int pid, Moment now);
    /// No child could be launched; `code` is what the program then ends with (1, 126, 127). `may_pass` says that the
    /// next attempt may succeed, as after a fork that failed because memory ran out.
    Actions launch_failed(int code, const std::string& why, bool may_pass, Moment now);
    /// The child was reaped; `code` is its exit code, or 128 and the signal that ended it.
    Actions child_exited(int code, Moment now);
    /// Whether any process that look_for_remaining counts is left.
    Actions remaining_processes(bool any);
    /// The supervisor received TERM or INT.
    Actions stop(int signal, Moment now);
    Actions timer_fired(Moment now);

private:
    Actions drain(Moment now);
    Actions leave(int code, Moment now);
    Actions exit();
    Actions give_up_killed_child(std::string message);
    [[nodiscard]] bool waits_for_remaining() const { return settings_.stop_timeout > milliseconds{0}; }
    [[nodiscard]] milliseconds left_to_stop(Moment now) const;

    ChildTimeouts settings_;
    Phase phase_ = Phase::waiting;
    std::string why_{};
    bool rotation_due_ = false;
    bool killed_ = false;  ///< the phase's KILL has been sent
    bool ever_started_ = false;
    unsigned restarts_ = 0;
    int exit_code_ = 0;
    Moment started_at_{};
    Moment drain_started_at_{};
    std::optional<Moment> stop_deadline_{};
    std::optional<Moment> relaunch_deadline_{};  ///< a launch has failed and is tried again until then
    milliseconds relaunch_pause_{};
};

}  // namespace supervisor
