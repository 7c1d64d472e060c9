#pragma once

#include "config/settings_table.hpp"

#include <string>
#include <vector>

namespace supervisor {

/// The text that --help prints: one entry for each setting and switch, no line longer than 110 characters.
std::string help_text(const std::vector<Setting>& settings, const std::vector<Switch>& switches);

}  // namespace supervisor
