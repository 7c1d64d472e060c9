#pragma once

#include "base/child_phase.hpp"
#include "base/clock.hpp"
#include "child/child_action.hpp"

#include <optional>
#include <string>

namespace supervisor {

// The life of the child: what to do next when something happens to it. Pure policy: no I/O and no clock; the caller
// performs the actions in their order and reports what came of them.
//
//   phase         what it means                                     what ends it
//   waiting       there is no child yet                             start(): launch; a stop: exit with 128+signal
//   running       the child runs                                    it exits; a stop; a rotation is due
//   draining      the child got TERM for a rotation; timer: drain   it exits; the timer: KILL, then a bounded wait and
//                 timeout                                           exit with 137; a stop: stopping
//   replacing     the child is reaped, its group got KILL; timer:   the group is empty: launch; the timer: launch; a
//                 bounded; then: a launch that failed is retried    launch that keeps failing: exit; a stop: cleaning_up
//   delaying_stop we were told to stop, and the child serves on     the timer or another stop: stopping; the child exits:
//                 while the load balancer notices; timer: stop      cleaning_up
//                 delay
//   stopping      every child got the stop's signal; timer: stop    the serving one exits; the timer: KILL, then a
//                 timeout                                           bounded wait and exit with 137
//   cleaning_up   the child is reaped for good, the remaining       none is left; the timer: KILL, then a bounded wait
//                 processes got TERM; timer: the rest of the stop   and exit
//                 timeout
//   stopped       the exit code is known                            nothing
//
// A rolling rotation has two children, the serving one, to which new connections go, and the other one beside it:
//
//   overlapping   the next child starts beside the serving one;     it listens: handing_over; it exits: running, and
//                 timer: start deadline                             again later; the timer: retiring, and again later
//   handing_over  the next child serves, and the old one empties    the queue has been empty for a moment, or the
//                 its queue of connections; timer: bounded          timer: retiring; the old one exits: running
//   retiring      the other child got TERM, which is the old one    it exits: running; the timer: KILL, then a bounded
//                 or a next one that failed; timer: drain timeout   wait and exit with 137
//
// In each of these three a stop goes to both children, and the end of the serving child is the end of the program.
//
// A stop always wins: it turns a drain or the moment between two children into the exit. Within the stop delay, the stop
// timeout and twice final_grace every process has ended or is given up, whatever the child does. The remaining processes are those of the
// children's groups and the orphans that we adopted; a rotation ends the group alone, because a daemon that left the group
// must not be ended. With a stop timeout of zero nothing is ever killed at a stop, and nothing is waited for but the
// child.

struct ChildTimeouts {
    milliseconds drain_timeout{30'000};
    milliseconds stop_timeout{8'000};     ///< zero: wait for the child without limit, and for nothing else
    milliseconds stop_delay{};            ///< from our TERM to the child's, while it serves
    milliseconds start_deadline{60'000};  ///< for the next child of a rolling rotation, until it listens
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
    /// A connection whose handshake began before the hand-over may still come into the old child's queue, and a child on a
    /// busy processor may need a moment to read what came with the last one that it took out: uvicorn closes at TERM what
    /// it has not read yet. So the queue has to be empty for this long.
    static constexpr milliseconds queue_stays_empty{1'000};
    /// This long after the hand-over the old child gets its TERM all the same.
    static constexpr milliseconds queue_patience{5'000};

    /// `rolling` says how a rotation goes: with the next child beside the old one, or after it.
    explicit ChildLifecycle(ChildTimeouts settings, bool rolling = false) : settings_(settings), rolling_(rolling) {}

    [[nodiscard]] Phase phase() const { return phase_; }
    /// How often a child was replaced by the next one.
    [[nodiscard]] unsigned restarts() const { return restarts_; }

    /// Launches the first child, once everything that it needs is available.
    Actions start();
    /// The child is to be replaced by one with a newer token, which has been fetched already; `why` goes into the log.
    Actions rotate(std::string why, Moment now);
    /// Whether a child that starts now could log in. While the newest token has expired, a rotation that is held back stays
    /// held back, since it would end a child whose connections work for one that can open none; and if the old child has
    /// ended already, the next one waits.
    Actions allow_rotation(bool allowed, Moment now);
    [[nodiscard]] bool is_rotation_allowed() const { return rotation_allowed_; }
    /// Whether the next child can run beside the serving one, or the reason why not.
    Actions room_for_next(const std::optional<std::string>& obstacle, Moment now);
    Actions child_started(int pid, Moment now);
    /// No child could be launched; `code` is what the program then ends with (1, 126, 127). `may_pass` says that the
    /// next attempt may succeed, as after a fork that failed because memory ran out.
    Actions launch_failed(int code, const std::string& why, bool may_pass, Moment now);
    /// The other child, started beside the serving one, takes connections.
    Actions next_listens(Moment now);
    /// After the hand-over: how many connections wait in the old child's queue.
    Actions old_queue(unsigned waiting, Moment now);
    /// The child was reaped; `code` is its exit code, or 128 and the signal that ended it.
    Actions child_exited(Who who, int code, Moment now);
    /// Whether any process that look_for_remaining counts is left.
    Actions remaining_processes(bool any);
    /// The supervisor received TERM or INT.
    Actions stop(int signal, Moment now);
    Actions timer_fired(Moment now);

private:
    Actions begin_rotation(Moment now);
    Actions launch_next();
    Actions drain(Moment now);
    Actions retire(Moment now);
    Actions try_again_later(const std::string& why, Moment now);
    Actions wait_for_due_rotation(Moment now);
    Actions other_exited(int code, Moment now);
    /// A rotation had told it to end: the old child, or the next one that failed.
    [[nodiscard]] Actions drained(bool is_old, int code, Moment now) const;
    Actions begin_stop(int signal, Moment now);
    Actions leave(int code, Moment now);
    Actions exit();
    Actions give_up_killed_child(std::string message);
    [[nodiscard]] bool waits_for_remaining() const { return settings_.stop_timeout > milliseconds{0}; }
    [[nodiscard]] milliseconds left_to_stop(Moment now) const;

    ChildTimeouts settings_;
    bool rolling_;
    Phase phase_ = Phase::waiting;
    std::string why_{};
    bool rotation_due_ = false;
    bool rotation_allowed_ = true;
    bool next_waits_ = false;  ///< between two children, until a rotation is allowed
    Moment next_rotation_{};   ///< not before
    bool killed_ = false;      ///< the phase's KILL has been sent
    bool ever_started_ = false;
    unsigned restarts_ = 0;
    int exit_code_ = 0;
    Moment started_at_{};  ///< the newest child
    Moment drain_started_at_{};
    unsigned failed_rotations_ = 0;  ///< in a row: the next child did not come to serve
    std::optional<Moment> queue_empty_since_{};
    std::optional<Moment> stop_deadline_{};
    std::optional<Moment> relaunch_deadline_{};  ///< a launch has failed and is tried again until then
    milliseconds relaunch_pause_{};
};

}  // namespace supervisor
