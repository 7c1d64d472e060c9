#include "child/exit_code_mapping.hpp"

#include <algorithm>

namespace supervisor {

int map_exit_code(int code, const std::vector<int>& mapped_to_zero) {
    const bool mapped = std::find(mapped_to_zero.begin(), mapped_to_zero.end(), code) != mapped_to_zero.end();
    return mapped ? 0 : code;
}

}  // namespace supervisor
