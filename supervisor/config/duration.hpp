#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace supervisor {

/// Reads `90s`, `55m`, `1h30m` or `250ms`: whole numbers with the units h, m, s, ms, largest first, each at most
/// once. Nothing else is a duration: no sign, no fraction, no bare number, no space.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// Writes a duration the way parse_duration() reads it; `0s` for nothing.
std::string to_string(std::chrono::milliseconds duration);

}  // namespace supervisor
