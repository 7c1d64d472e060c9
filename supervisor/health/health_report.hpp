#pragma once

#include "base/child_phase.hpp"
#include "base/clock.hpp"
#include "http/http_response.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace supervisor {

/// What the health endpoints report: a snapshot that is taken when a request comes in. It holds no secret.
struct HealthFacts {
    struct TokenFacts {
        std::string hash;
        milliseconds expires_in{};  ///< negative when it has expired
        milliseconds expiry{};      ///< wall clock, since the epoch
    };
    Phase phase = Phase::waiting;
    std::optional<std::string> database_fault{};  ///< the first child waits for the database alone; empty: no try has
                                                  ///< failed yet
    std::optional<int> child_pid{};
    milliseconds child_uptime{};
    unsigned restarts = 0;
    unsigned rotations = 0;  ///< fresh tokens that reached the child, the first one not counted
    unsigned orphans_reaped = 0;
    bool child_ready = false;  ///< its last successful readiness check still counts
    bool ever_ready = false;
    std::optional<TokenFacts> token{};
    std::optional<milliseconds> next_refresh{};  ///< from now
    std::string last_error{};
};

/// The answer to a GET of `path`: a verdict, or for an unknown path 404 and the known ones. Pure.
HttpResponse health_answer(std::string_view path, const HealthFacts& facts);

}  // namespace supervisor
