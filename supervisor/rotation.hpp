#pragma once

#include "clock.hpp"
#include "log.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace supervisor {

// The life of the child: what to do next when something happens to it. Pure policy: no I/O and no clock; the caller
// performs the actions in their order and reports what came of them.
//
//   phase      what is so                                          what ends it
//   waiting    no child yet                                        start(): launch; a stop: exit with 128+signal
//   running    the child runs                                      it exits; a stop; a rotation is due
//   draining   it got TERM for a rotation; timer: drain timeout    it exits; the timer: KILL; a stop: stopping
//   clearing   it is reaped, its group got KILL; timer: bounded    the group is empty: launch; a stop: leaving
//   stopping   it got the stop's signal; timer: stop timeout       it exits; the timer: KILL
//   leaving    it is reaped for good, leftovers got TERM           none is left, or the timer, KILL, the timer: exit
//   stopped    the exit code is known                              nothing
//
// A stop always wins: it turns a drain or the moment between two children into the exit. Within the stop timeout and
// final_grace everything is over, whatever the child does. Leftovers are what is left of the child's group and what
// was orphaned into our care; a rotation clears the group alone, for a daemon that left it is not ours to end.

enum class Phase { waiting, running, draining, clearing, stopping, leaving, stopped };

std::string_view to_string(Phase phase);

struct Action {
    enum class Kind {
        launch,              ///< start a child; answer with child_started() or launch_failed()
        signal_child,        ///< send `signal` to the child (its group, or the child alone by the user's wish)
        kill_group,          ///< SIGKILL to the child's whole group
        signal_leftovers,    ///< send `signal` to every leftover
        signal_new_orphans,  ///< send `signal` to every leftover that came into our care since the last signal
        look_for_leftovers,  ///< answer with leftovers(), counting the group alone while clearing
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

struct RotationSettings {
    milliseconds drain_timeout{30'000};
    milliseconds stop_timeout{8'000};
};

class Rotation {
public:
    /// Two starts of a child are at least this far apart, so that short-lived tokens make no restart storm.
    static constexpr milliseconds floor{30'000};
    /// What a process gets after SIGKILL until it is given up: the kernel may be slow, but Cloud Run is not patient.
    static constexpr milliseconds final_grace{400};
    static constexpr milliseconds clearing_timeout{2'000};

    explicit Rotation(RotationSettings settings) : settings_(settings) {}

    [[nodiscard]] Phase phase() const { return phase_; }
    /// How often a child was replaced by the next one.
    [[nodiscard]] unsigned restarts() const { return restarts_; }

    /// All that the first child needs is there.
    Actions start();
    /// The child is to be replaced by one with a newer token, which is in hand already; `why` goes into the log.
    Actions rotate(std::string why, Moment now);
    Actions child_started(int pid, Moment now);
    /// exec or fork failed; `code` is what the program ends with (126, 127).
    Actions launch_failed(int code, const std::string& why);
    /// The child was reaped; `code` is its exit code, or 128 and the signal that ended it.
    Actions child_exited(int code, Moment now);
    /// Whether anything of what look_for_leftovers counts is left.
    Actions leftovers(bool any);
    /// TERM or INT for us.
    Actions stop(int signal, Moment now);
    Actions timer_fired(Moment now);

private:
    Actions drain(Moment now);
    Actions leave(int code, Moment now);
    Actions exit();
    [[nodiscard]] milliseconds left_to_stop(Moment now) const;

    RotationSettings settings_;
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
};

}  // namespace supervisor
