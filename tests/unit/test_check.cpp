#include "check.hpp"

#include "simulated/captured_log.hpp"

#include <catch2/catch_test_macros.hpp>

#include <string>
#include <vector>

using namespace supervisor;
using simulated::CapturedLog;

namespace {

using Lines = std::vector<std::string>;

Settings example(RotationMode mode) {
    Settings settings;
    settings.rotation = mode;
    settings.database = {.user = "sa@project.iam", .host = "10.0.0.5", .name = "prefect"};
    settings.command = {"prefect", "server", "start"};
    return settings;
}

}  // namespace

TEST_CASE("What would run is shown with the token's hash in place of the token") {
    const Secret token{"ya29.one"};
    CapturedLog log;
    show_what_would_run(example(RotationMode::restart), {{"HOME", "/root"}}, &token, log.log());
    const auto lines = log.lines();
    CHECK(lines == Lines{"INFO check: would set variable=PREFECT_API_DATABASE_CONNECTION_URL "
                         "value=postgresql+asyncpg://sa%40project.iam:TOKEN-" +
                             token.short_hash() + "@10.0.0.5:5432/prefect",
                         "INFO check: would set variable=PREFECT_SERVER_ANALYTICS_ENABLED value=false",
                         "INFO check: would set variable=PREFECT_SERVER_API_KEEPALIVE_TIMEOUT value=620",
                         "INFO check: would run command=\"prefect server start\""});
}

TEST_CASE("In place the URL that is shown has no password") {
    const Secret token{"ya29.one"};
    CapturedLog log;
    show_what_would_run(example(RotationMode::in_place), {}, &token, log.log());
    const auto lines = log.lines();
    CHECK(lines.front() == "INFO check: would set variable=PGPASSFILE value=/dev/shm/.../pgpass");
    CHECK(lines.at(1).ends_with("value=postgresql+asyncpg://sa%40project.iam@10.0.0.5:5432/prefect"));
}

TEST_CASE("A variable of the user's that would be taken out is a warning of the check") {
    const Secret token{"ya29.one"};
    CapturedLog log;
    show_what_would_run(example(RotationMode::restart), {{"PGPASSWORD", "secret"}}, &token, log.log());
    const auto lines = log.lines();
    CHECK(lines.front() ==
          "WARNING check: PGPASSWORD is taken out of the child's environment: it would win over the token");
    for (const auto& line : lines) {
        CHECK(line.find("secret") == std::string::npos);
    }
}
