#include "base/child_phase.hpp"

namespace supervisor {

std::string_view to_string(Phase phase) {
    switch (phase) {
        case Phase::waiting: return "waiting for the first token";
        case Phase::running: return "running";
        case Phase::draining: return "draining";
        case Phase::replacing: return "replacing";
        case Phase::stopping: return "stopping";
        case Phase::cleaning_up: return "leaving";
        case Phase::stopped: return "stopped";
    }
    return "unknown";
}

}  // namespace supervisor
