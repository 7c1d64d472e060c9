#include "health/health_report.hpp"

#include "config/version.hpp"

#include <nlohmann/json.hpp>

#include <ctime>

namespace supervisor {
namespace {

const std::string waiting_for_database = "waiting for the database";

bool token_expired(const HealthFacts& facts) { return facts.token && facts.token->expires_in <= milliseconds{0}; }

HttpResponse verdict(const std::string& why_not) {
    return why_not.empty() ? HttpResponse{.body = "ok\n"} : HttpResponse{.status = 503, .body = why_not + '\n'};
}

/// What keeps the child from running.
std::string without_child(const HealthFacts& facts) {
    if (!facts.database_fault) {
        return std::string{to_string(facts.phase)};
    }
    return waiting_for_database + (facts.database_fault->empty() ? "" : ": " + *facts.database_fault);
}

/// Neither the token nor the network counts here: Cloud Run answers a failed liveness probe with SIGKILL.
std::string why_not_alive(const HealthFacts& facts) {
    switch (facts.phase) {
        case Phase::running:
        case Phase::overlapping:
        case Phase::handing_over:
        case Phase::retiring:
        case Phase::draining:
        case Phase::replacing:
        case Phase::delaying_stop:
        case Phase::stopping: return {};
        case Phase::waiting:
        case Phase::cleaning_up:
        case Phase::stopped: break;
    }
    return "no child runs: " + without_child(facts);
}

std::string why_not_ready(const HealthFacts& facts) {
    if (!serves(facts.phase)) {
        return without_child(facts);
    }
    if (!facts.child_ready) {
        return facts.ever_ready ? "the child does not answer" : "the child has not answered yet";
    }
    if (token_expired(facts)) {
        return "the token is expired: " + facts.last_error;
    }
    return {};
}

std::string why_not_started(const HealthFacts& facts) {
    if (facts.ever_ready) {
        return {};
    }
    return facts.database_fault ? without_child(facts) : "the first child has not answered yet";
}

std::string_view state(const HealthFacts& facts) {
    if (facts.database_fault) {
        return waiting_for_database;
    }
    if (!serves(facts.phase)) {
        return to_string(facts.phase);
    }
    return token_expired(facts) ? "expired" : facts.child_ready ? "ready" : "starting";
}

std::string rfc3339(milliseconds since_epoch) {
    const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::string text(sizeof "2026-11-23T10:00:00Z" - 1, ' ');
    std::strftime(text.data(), text.size() + 1, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

double in_seconds(milliseconds duration) { return std::chrono::duration<double>(duration).count(); }

std::string status(const HealthFacts& facts) {
    nlohmann::ordered_json json;
    json["version"] = version;
    json["state"] = state(facts);
    json["child"] = nullptr;
    if (facts.child_pid) {
        json["child"] = {{"pid", *facts.child_pid}, {"uptime_seconds", in_seconds(facts.child_uptime)}};
    }
    json["restarts"] = facts.restarts;
    json["rotations"] = facts.rotations;
    json["rotation"] = nullptr;
    if (serves(facts.phase) && facts.phase != Phase::running) {
        json["rotation"] = to_string(facts.phase);
    }
    json["orphans_reaped"] = facts.orphans_reaped;
    json["token"] = nullptr;
    if (facts.token) {
        json["token"] = {{"hash", facts.token->hash},
                         {"expires_at", rfc3339(facts.token->expiry)},
                         {"expires_in_seconds", in_seconds(facts.token->expires_in)}};
    }
    json["next_refresh_in_seconds"] = nullptr;
    if (facts.next_refresh) {
        json["next_refresh_in_seconds"] = in_seconds(*facts.next_refresh);
    }
    json["last_error"] = nullptr;
    if (!facts.last_error.empty()) {
        json["last_error"] = facts.last_error;
    }
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace

HttpResponse health_answer(std::string_view path, const HealthFacts& facts) {
    if (path == "/livez") {
        return verdict(why_not_alive(facts));
    }
    if (path == "/startupz") {
        return verdict(why_not_started(facts));
    }
    if (path == "/readyz") {
        return verdict(why_not_ready(facts));
    }
    if (path == "/status") {
        return {.content_type = "application/json", .body = status(facts)};
    }
    return {.status = 404, .body = "known paths: /livez /startupz /readyz /status /metrics\n"};
}

}  // namespace supervisor
