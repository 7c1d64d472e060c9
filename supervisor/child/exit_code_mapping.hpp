#pragma once

#include <vector>

namespace supervisor {

/// The exit code of the program: the child's (0..255), or 0 if the user mapped the child's code to 0 with --map-exit.
int map_exit_code(int code, const std::vector<int>& mapped_to_zero);

}  // namespace supervisor
