#pragma once

#include <vector>

namespace supervisor {

/// The code we end with: the child's (0..255), or 0 if the user mapped it there with --map-exit.
int map_exit_code(int code, const std::vector<int>& mapped_to_zero);

}  // namespace supervisor
