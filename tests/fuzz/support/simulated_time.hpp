#pragma once

#include <chrono>

namespace supervisor::fuzz {

/// From here on the steady clocks are so much later, and asio's timers with them. A pause of this process counts for 10 ms at
/// most, so that no timeout passes on a busy machine unless the input says so.
void let_pass(std::chrono::seconds time);

}  // namespace supervisor::fuzz
