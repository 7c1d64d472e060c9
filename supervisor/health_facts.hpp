#pragma once

#include "base/clock.hpp"
#include "child/child.hpp"
#include "database/database_wait.hpp"
#include "delivery/token_delivery.hpp"
#include "health/health_report.hpp"
#include "health/readiness_checker.hpp"
#include "token/token_refresher.hpp"

namespace supervisor {

/// The parts whose state the health report shows.
struct Parts {
    const Child& child;
    const TokenRefresher& token;
    const DatabaseWait& database;
    const TokenDelivery& delivery;
    const ReadinessChecker& readiness;
    bool uses_token = true;
};

/// The state of these parts at this moment.
HealthFacts health_facts(const Parts& parts, Moment now);

}  // namespace supervisor
