#pragma once

#include "config/settings_table.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace supervisor {

// The beginning of --help, and of the manual page.
inline constexpr std::string_view synopsis = "prefect-supervisor [OPTIONS] [-- COMMAND [ARG...]]";
inline constexpr std::string_view summary =
    "Runs Prefect Server, or COMMAND, and replaces its database token before it expires; as PID 1 or not.";
inline constexpr std::string_view precedence =
    "A flag overrides its environment variable (in parentheses), which overrides the default (in brackets).";

/// The text that --help prints: one entry for each setting and switch, no line longer than 110 characters.
std::string help_text(const std::vector<Setting>& settings, const std::vector<Switch>& switches);

}  // namespace supervisor
