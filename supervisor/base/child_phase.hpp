#pragma once

#include <string_view>

namespace supervisor {

/// Where the child is in its life. child/child_lifecycle.hpp decides it and has the table of what each phase means; the
/// health report tells of it.
enum class Phase {
    waiting,
    running,
    overlapping,
    handing_over,
    retiring,
    draining,
    replacing,
    delaying_stop,
    stopping,
    cleaning_up,
    stopped,
};

/// Whether a child serves, to whom nothing was said yet about an end.
bool serves(Phase phase);

/// The name that a probe's answer and /status show.
std::string_view to_string(Phase phase);

}  // namespace supervisor
