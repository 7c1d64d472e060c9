#pragma once

#include "base/environment.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace supervisor {

/// Prefect's server as its documentation starts it.
std::vector<std::string> prefect_server_start(std::uint16_t port);

/// Prefect's server with the listening socket that it inherits as descriptor 3, as its own `--background` starts it (Prefect
/// 3.9.1, prefect/cli/_server_utils.py, _run_in_background): `prefect server start` itself takes no socket. What it
/// would hand to uvicorn is read from the same variables of `environment`. An open request that takes longer than
/// `drain_timeout` is cancelled shortly before, so that Prefect ends in good order.
std::vector<std::string> prefect_under_uvicorn(std::chrono::milliseconds drain_timeout, const Environment& environment);

}  // namespace supervisor
