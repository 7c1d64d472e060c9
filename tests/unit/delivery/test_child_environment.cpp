#include "delivery/child_environment.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>

using namespace supervisor;

namespace {

Settings settings() {
    Settings settings;
    settings.database = {.user = "sa@p.iam", .host = "10.0.0.5", .name = "prefect"};
    return settings;
}

const Secret token{"ya29.secret"};
const Credentials by_url{&token, {}};
const Credentials by_file{nullptr, "/dev/shm/x/pgpass"};

bool warns_of(const ChildEnvironment& child, const std::string& name) {
    return std::any_of(child.warnings.begin(), child.warnings.end(),
                       [&name](const std::string& warning) { return warning.starts_with(name + ' '); });
}

}  // namespace

TEST_CASE("By restart the token is in the URL") {
    const auto child = child_environment(settings(), {{"HOME", "/root"}}, by_url);
    CHECK(child.variables.at("PREFECT_API_DATABASE_CONNECTION_URL") ==
          "postgresql+asyncpg://sa%40p.iam:ya29.secret@10.0.0.5:5432/prefect");
    CHECK(child.variables.at("HOME") == "/root");
    CHECK_FALSE(child.variables.contains("PGPASSFILE"));
    CHECK(child.warnings.empty());
}

TEST_CASE("In place the token is nowhere in the environment") {
    const auto child = child_environment(settings(), {}, by_file);
    CHECK(child.variables.at("PGPASSFILE") == "/dev/shm/x/pgpass");
    for (const auto& [name, value] : child.variables) {
        CHECK(value.find("ya29") == std::string::npos);
    }
}

TEST_CASE("What would win over the token is taken out with a warning that shows no value") {
    const Environment ours{{"PREFECT_SERVER_DATABASE_CONNECTION_URL", "hidden"},
                           {"PGPASSWORD", "hidden"},
                           {"PREFECT_API_DATABASE_CONNECTION_URL", "hidden"},
                           {"PGPASSFILE", "hidden"}};
    const auto child = child_environment(settings(), ours, by_file);
    CHECK_FALSE(child.variables.contains("PREFECT_SERVER_DATABASE_CONNECTION_URL"));
    CHECK_FALSE(child.variables.contains("PGPASSWORD"));
    for (const auto& [name, value] : ours) {
        CHECK(warns_of(child, name));
    }
    for (const auto& warning : child.warnings) {
        CHECK(warning.find("hidden") == std::string::npos);
    }
}

TEST_CASE("Defaults that suit Cloud Run are filled in and the user's own values stay") {
    const auto child = child_environment(settings(), {}, by_url);
    CHECK(child.variables.at("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT") == "620");
    CHECK(child.variables.at("PREFECT_SERVER_ANALYTICS_ENABLED") == "false");
    const auto users = child_environment(
        settings(), {{"PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "75"}, {"PREFECT_SERVER_ANALYTICS_ENABLED", "true"}},
        by_url);
    CHECK(users.variables.at("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT") == "75");
    CHECK(users.variables.at("PREFECT_SERVER_ANALYTICS_ENABLED") == "true");
}

TEST_CASE("A number of workers that Prefect does not start with is taken out for Prefect alone") {
    auto other = settings();
    other.runs_prefect = false;
    CHECK(warns_of(child_environment(settings(), {{"WEB_CONCURRENCY", "2"}}, by_url), "WEB_CONCURRENCY"));
    CHECK(child_environment(other, {{"WEB_CONCURRENCY", "2"}}, by_url).variables.contains("WEB_CONCURRENCY"));
}

TEST_CASE("Prefect under uvicorn is told that its server is the only one of the process, and no other command is") {
    auto rolling = settings();
    CHECK_FALSE(child_environment(rolling, {}, by_url).variables.contains("PREFECT__SERVER_FINAL"));
    rolling.rotation = RotationMode::rolling;
    CHECK(child_environment(rolling, {}, by_url).variables.at("PREFECT__SERVER_FINAL") == "1");
    rolling.runs_prefect = false;
    CHECK_FALSE(child_environment(rolling, {}, by_url).variables.contains("PREFECT__SERVER_FINAL"));
}

TEST_CASE(
    "Options of uvicorn in the environment, which Prefect's own start does not read, are taken out for Prefect alone") {
    const Environment users{{"UVICORN", "x"}, {"UVICORN_RELOAD", "true"}, {"UVICORN_WORKERS", "4"}, {"UVX", "y"}};
    auto rolling = settings();
    CHECK(child_environment(rolling, users, by_url).variables.contains("UVICORN_WORKERS"));
    rolling.rotation = RotationMode::rolling;
    const auto child = child_environment(rolling, users, by_url);
    CHECK_FALSE(child.variables.contains("UVICORN_RELOAD"));
    CHECK_FALSE(child.variables.contains("UVICORN_WORKERS"));
    CHECK(child.variables.contains("UVICORN"));
    CHECK(child.variables.contains("UVX"));
    CHECK(warns_of(child, "UVICORN_WORKERS"));
    rolling.runs_prefect = false;
    CHECK(child_environment(rolling, users, by_url).variables.contains("UVICORN_WORKERS"));
}

TEST_CASE("A schema becomes Prefect's search path and is quoted when PostgreSQL would fold it") {
    const auto path = [](const std::string& schema) {
        auto with_schema = settings();
        with_schema.database.schema = schema;
        return child_environment(with_schema, {}, by_url)
            .variables.at("PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_SEARCH_PATH");
    };
    CHECK(path("prefect") == "prefect,public");
    CHECK(path("my_schema2") == "my_schema2,public");
    CHECK(path("Prefect") == "\"Prefect\",public");
    CHECK(path("my-schema") == "\"my-schema\",public");
    CHECK(path("2nd") == "\"2nd\",public");
    CHECK(path("a\"b") == "\"a\"\"b\",public");
}

TEST_CASE("A CA certificate reaches the driver by its own variable") {
    auto with_ca = settings();
    with_ca.database.ssl_root_cert = "/etc/ca.pem";
    CHECK(child_environment(with_ca, {}, by_url).variables.at("PGSSLROOTCERT") == "/etc/ca.pem");
}

TEST_CASE("Without a token the environment stays as it is") {
    auto plain = settings();
    plain.use_token = false;
    const Environment ours{{"PGPASSWORD", "x"}, {"WEB_CONCURRENCY", "2"}};
    const auto child = child_environment(plain, ours, {});
    CHECK(child.variables == ours);
    CHECK(child.warnings.empty());
}
