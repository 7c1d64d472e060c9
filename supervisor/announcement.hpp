#pragma once

#include "base/log.hpp"
#include "config/settings.hpp"

namespace supervisor {

/// The first lines of the log: the warnings about the settings and, except with --check, the start itself.
void announce(const Settings& settings, Log& log);

}  // namespace supervisor
