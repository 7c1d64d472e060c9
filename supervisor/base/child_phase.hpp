#pragma once

#include <string_view>

namespace supervisor {

/// Where the child is in its life. child/child_lifecycle.hpp decides it and has the table of what each phase means; the
/// health report tells of it.
enum class Phase { waiting, running, draining, replacing, stopping, cleaning_up, stopped };

/// The name that a probe's answer and /status show.
std::string_view to_string(Phase phase);

}  // namespace supervisor
