#include "child/child_action.hpp"

#include <utility>

namespace supervisor {

Action act(Action::Kind kind, Who who) { return {.kind = kind, .who = who}; }
Action send(Action::Kind kind, int signal, Who who) { return {.kind = kind, .who = who, .signal = signal}; }
Action arm(milliseconds delay) { return {.kind = Action::Kind::arm, .delay = delay}; }
Action report_drained(milliseconds took) { return {.kind = Action::Kind::report_drained, .delay = took}; }
Action log(Level level, std::string message, std::vector<Field> fields) {
    return {.kind = Action::Kind::log, .line = {level, std::move(message), std::move(fields)}};
}

void append(Actions& actions, const Actions& more) { actions.insert(actions.end(), more.begin(), more.end()); }

}  // namespace supervisor
