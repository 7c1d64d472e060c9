#pragma once

#include "base/log.hpp"
#include "base/secret.hpp"
#include "config/settings.hpp"

#include <optional>

namespace supervisor {

/// What --check shows: the command that would run, and each variable of its environment that differs from ours, with
/// every secret redacted. `token` is the token that was fetched, none with --no-token.
void show_what_would_run(const Settings& settings, const Environment& environment, const Secret* token, Log& log);

}  // namespace supervisor
