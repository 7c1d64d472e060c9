#include "database/wait_schedule.hpp"

#include <algorithm>

namespace supervisor {

bool WaitSchedule::due(Moment now) const { return !in_flight_ && now.boot >= next_try_ && now.boot < deadline_; }

milliseconds WaitSchedule::begin_try(Moment now) {
    in_flight_ = true;
    next_try_ = now.boot + pause_;
    const auto limit = std::min(pause_, deadline_ - now.boot);
    pause_ = std::min(pause_ * 2, longest_pause);
    return limit;
}

milliseconds WaitSchedule::sleep(Moment now) const {
    if (in_flight_) {
        return longest_pause;
    }
    return std::max(milliseconds{0}, std::min(next_try_, deadline_) - now.boot);
}

}  // namespace supervisor
