#pragma once

#include <chrono>

namespace supervisor::fuzz {

/// From here on all clocks but the wall clock are so much later, and asio's timers with them.
void let_pass(std::chrono::seconds time);

}  // namespace supervisor::fuzz
