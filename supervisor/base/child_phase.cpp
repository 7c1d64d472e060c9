#include "base/child_phase.hpp"

namespace supervisor {

bool serves(Phase phase) {
    return phase == Phase::running || phase == Phase::overlapping || phase == Phase::handing_over ||
           phase == Phase::retiring;
}

std::string_view to_string(Phase phase) {
    switch (phase) {
        case Phase::waiting: return "waiting for the first token";
        case Phase::running: return "running";
        case Phase::overlapping: return "starting the next child";
        case Phase::handing_over: return "handing over to the next child";
        case Phase::retiring: return "ending the other child";
        case Phase::draining: return "draining";
        case Phase::replacing: return "replacing";
        case Phase::delaying_stop: return "about to stop";
        case Phase::stopping: return "stopping";
        case Phase::cleaning_up: return "leaving";
        case Phase::stopped: return "stopped";
    }
    return "unknown";
}

}  // namespace supervisor
