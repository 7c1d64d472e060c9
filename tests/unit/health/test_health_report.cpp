#include "health/health_report.hpp"

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

HealthFacts facts(Phase phase) {
    HealthFacts facts;
    facts.phase = phase;
    facts.child_ready = true;
    facts.ever_ready = true;
    facts.token = HealthFacts::TokenFacts{"0123abcd", 50min, 1'796'000'000'000ms};
    return facts;
}

nlohmann::json status(const HealthFacts& facts) {
    const auto answer = health_answer("/status", facts);
    CHECK(answer.status == 200);
    CHECK(answer.content_type == "application/json");
    CHECK(answer.body.ends_with('\n'));
    return nlohmann::json::parse(answer.body);
}

}  // namespace

TEST_CASE("Each path has its verdict in each phase") {
    struct Row {
        Phase phase;
        unsigned live;
        unsigned ready;
        std::string state;
    };
    // A child that is being replaced or stopped is no reason for the platform to kill the container.
    const Row rows[] = {
        {Phase::waiting, 503, 503, std::string{to_string(Phase::waiting)}},
        {Phase::running, 200, 200, "ready"},
        {Phase::overlapping, 200, 200, "ready"},
        {Phase::handing_over, 200, 200, "ready"},
        {Phase::retiring, 200, 200, "ready"},
        {Phase::draining, 200, 503, std::string{to_string(Phase::draining)}},
        {Phase::replacing, 200, 503, std::string{to_string(Phase::replacing)}},
        {Phase::delaying_stop, 200, 503, std::string{to_string(Phase::delaying_stop)}},
        {Phase::stopping, 200, 503, std::string{to_string(Phase::stopping)}},
        {Phase::cleaning_up, 503, 503, std::string{to_string(Phase::cleaning_up)}},
        {Phase::stopped, 503, 503, std::string{to_string(Phase::stopped)}},
    };
    for (const auto& row : rows) {
        CAPTURE(row.state);
        const auto now = facts(row.phase);
        CHECK(health_answer("/livez", now).status == row.live);
        CHECK(health_answer("/readyz", now).status == row.ready);
        CHECK(health_answer("/startupz", now).status == 200);
        CHECK(status(now)["state"] == row.state);
        CHECK(status(now)["rotation"].is_string() == (row.ready == 200 && row.phase != Phase::running));
        if (row.ready == 503) {
            CHECK(health_answer("/readyz", now).body == row.state + '\n');
        }
    }
}

TEST_CASE("A good verdict is ok, a bad one says why") {
    auto now = facts(Phase::running);
    CHECK(health_answer("/livez", now).body == "ok\n");
    CHECK(health_answer("/readyz", now).body == "ok\n");
    CHECK(health_answer("/livez", facts(Phase::waiting)).body.starts_with("no child runs: "));

    now.child_ready = false;
    CHECK(health_answer("/readyz", now).body == "the child does not answer\n");
    CHECK(health_answer("/startupz", now).status == 200);
    CHECK(status(now)["state"] == "starting");
    now.ever_ready = false;
    CHECK(health_answer("/readyz", now).body == "the child has not answered yet\n");
    CHECK(health_answer("/startupz", now).status == 503);
    CHECK(health_answer("/livez", now).status == 200);
}

TEST_CASE("While the first child waits for the database, each verdict says so and why") {
    HealthFacts facts;
    facts.database_fault = "";
    CHECK(health_answer("/startupz", facts).body == "waiting for the database\n");
    facts.database_fault = "Connection refused";
    CHECK(health_answer("/startupz", facts).body == "waiting for the database: Connection refused\n");
    CHECK(health_answer("/readyz", facts).body == "waiting for the database: Connection refused\n");
    CHECK(health_answer("/livez", facts).body == "no child runs: waiting for the database: Connection refused\n");
    CHECK(health_answer("/status", facts).body.find(R"("state": "waiting for the database")") != std::string::npos);
}

TEST_CASE("An expired token makes the child unready, not dead") {
    auto now = facts(Phase::running);
    now.last_error = "the metadata server answered 503";
    now.token->expires_in = 1ms;
    CHECK(health_answer("/readyz", now).status == 200);
    for (const auto expires_in : {0ms, -5000ms}) {
        now.token->expires_in = expires_in;
        CHECK(health_answer("/livez", now).status == 200);
        CHECK(health_answer("/startupz", now).status == 200);
        CHECK(health_answer("/readyz", now).body == "the token is expired: the metadata server answered 503\n");
        CHECK(status(now)["state"] == "expired");
    }
}

TEST_CASE("Without a token a child that answers is ready") {
    auto now = facts(Phase::running);
    now.token.reset();
    CHECK(health_answer("/readyz", now).status == 200);
}

TEST_CASE("The status has every key, also when there is nothing to say") {
    const std::vector<std::string> keys{"version",        "state",     "child",
                                        "restarts",       "rotations", "rotation",
                                        "orphans_reaped", "token",     "next_refresh_in_seconds",
                                        "last_error"};
    const auto json = nlohmann::ordered_json::parse(health_answer("/status", HealthFacts{}).body);
    std::vector<std::string> found;
    for (const auto& item : json.items()) {
        found.push_back(item.key());
    }
    CHECK(found == keys);
    for (const auto* key : {"child", "token", "next_refresh_in_seconds", "last_error"}) {
        CHECK(json[key].is_null());
    }
}

TEST_CASE("The status shows the facts in seconds and UTC") {
    auto now = facts(Phase::running);
    now.child_pid = 42;
    now.child_uptime = 1500ms;
    now.restarts = 2;
    now.rotations = 3;
    now.orphans_reaped = 4;
    now.next_refresh = 90s;
    now.last_error = "not \xff UTF-8";
    const auto json = status(now);
    CHECK(json["child"]["pid"] == 42);
    CHECK(json["child"]["uptime_seconds"] == 1.5);
    CHECK(json["restarts"] == 2);
    CHECK(json["rotations"] == 3);
    CHECK(json["orphans_reaped"] == 4);
    CHECK(json["token"]["hash"] == "0123abcd");
    CHECK(json["token"]["expires_in_seconds"] == 3000);
    CHECK(json["token"]["expires_at"] == "2026-11-30T00:53:20Z");
    CHECK(json["next_refresh_in_seconds"] == 90);
    CHECK(json["last_error"] == "not \xef\xbf\xbd UTF-8");
}

TEST_CASE("Any other path is 404 and names the known ones") {
    for (const auto* path : {"", "/", "/livez/", "/livezz", "/nothing", "livez"}) {
        const auto answer = health_answer(path, facts(Phase::running));
        CHECK(answer.status == 404);
        CHECK(answer.body == "known paths: /livez /startupz /readyz /status /metrics\n");
    }
}
