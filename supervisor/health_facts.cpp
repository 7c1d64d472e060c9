#include "health_facts.hpp"

#include <algorithm>

namespace supervisor {

HealthFacts health_facts(const Parts& parts, Moment now) {
    HealthFacts facts;
    facts.phase = parts.child.phase();
    facts.child_pid = parts.child.pid();
    facts.child_uptime = now.boot - parts.child.started_at().boot;
    facts.restarts = parts.child.restarts();
    facts.rotations = parts.delivery.rotations();
    facts.orphans_reaped = parts.child.orphans_reaped();
    facts.child_ready = parts.readiness.ready(now);
    facts.ever_ready = parts.readiness.ever_ready();
    facts.last_error = parts.delivery.last_error().empty() ? parts.token.last_error() : parts.delivery.last_error();
    if (facts.phase == Phase::waiting && parts.token.token() && parts.database.waits()) {
        facts.database_fault = parts.database.last_error();
        facts.last_error = parts.database.last_error();
    }
    if (const auto& in_use = parts.delivery.in_use()) {
        const bool is_newest = parts.token.hash() == in_use->hash;
        const auto expiry = is_newest ? parts.token.expiry() : in_use->expiry;
        facts.token = HealthFacts::TokenFacts{in_use->hash, remaining(expiry, now), expiry.wall};
    }
    if (parts.uses_token) {
        facts.next_refresh = std::max(milliseconds{0}, remaining(parts.token.next_request(), now));
    }
    return facts;
}

}  // namespace supervisor
