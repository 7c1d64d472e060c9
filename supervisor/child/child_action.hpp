#pragma once

#include "base/clock.hpp"
#include "base/log.hpp"

#include <string>
#include <vector>

namespace supervisor {

/// The child that an action or an event is about.
enum class Who {
    serving,  ///< the child to which new connections go; the only one but for a rolling rotation
    other,    ///< the one beside it: the next child until it serves, and the old one from then on
    both,     ///< every child there is
};

struct Action {
    enum class Kind {
        launch,              ///< start a child; answer with child_started() or launch_failed()
        look_for_room,       ///< answer with room_for_next()
        hand_over,           ///< lead new connections to the other child, which is the serving one from then on
        close_socket,        ///< close our copy of the child's listening socket
        forget_other,        ///< the other child is reaped and its group got KILL
        signal_child,        ///< send `signal` to the child (its group, or the child alone with --single-child)
        kill_group,          ///< SIGKILL to the child's whole group
        signal_remaining,    ///< send `signal` to every remaining process
        signal_new_orphans,  ///< send `signal` to the orphans that were adopted since the last signal
        look_for_remaining,  ///< answer with remaining_processes(), counting the group alone while replacing
        arm,                 ///< (re)start the one timer: timer_fired() after `delay`
        disarm,              ///< stop it
        report_drained,      ///< a rotation's old child has ended, `delay` after its TERM
        report_failed,       ///< a rotation did not come about, and is tried again
        exit,                ///< end with `code`
        log,                 ///< print `line`
    };
    Kind kind;
    Who who = Who::serving;
    int signal = 0;
    milliseconds delay{};
    int code = 0;
    LogLine line{};

    friend bool operator==(const Action&, const Action&) = default;
};

using Actions = std::vector<Action>;

// Makers, so that a list of actions reads as a sentence.
Action act(Action::Kind kind, Who who = Who::serving);
Action send(Action::Kind kind, int signal, Who who = Who::serving);
Action arm(milliseconds delay);
Action report_drained(milliseconds took);
Action log(Level level, std::string message, std::vector<Field> fields = {});
void append(Actions& actions, const Actions& more);

}  // namespace supervisor
