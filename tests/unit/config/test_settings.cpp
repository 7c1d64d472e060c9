#include "config/settings.hpp"

#include "test_folder.hpp"

#include <catch2/catch_test_macros.hpp>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

using namespace supervisor;
using namespace std::chrono_literals;

namespace {

using Arguments = std::vector<std::string>;

const Environment database{{"DB_USER", "prefect@project.iam"}, {"DB_IP", "10.0.0.3"}, {"DB_NAME", "prefect"}};

Environment with(Environment environment, const Environment& more) {
    for (const auto& [name, value] : more) {
        environment[name] = value;
    }
    return environment;
}

Settings read(const Arguments& arguments = {}, const Environment& more = {}) {
    const auto settings = read_settings(arguments, with(database, more));
    INFO((settings ? std::string{} : settings.error().text));
    REQUIRE(settings.has_value());
    return *settings;
}

EarlyExit refusal(const Arguments& arguments, const Environment& environment) {
    const auto settings = read_settings(arguments, environment);
    REQUIRE_FALSE(settings.has_value());
    const auto refused = settings.error();
    CAPTURE(refused.text);
    CHECK(refused.text.starts_with("prefect-supervisor: "));
    CHECK(refused.text.find('\n') == refused.text.size() - 1);
    return refused;
}

bool mentions(const EarlyExit& refused, const std::string& text) {
    return refused.text.find(text) != std::string::npos;
}

/// A file that exists for as long as the object does.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& content) {
        const int descriptor = ::mkstemp(path_.data());
        REQUIRE(descriptor >= 0);
        REQUIRE(::write(descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
        ::close(descriptor);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { ::unlink(path_.c_str()); }

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/prefect-supervisor-test-XXXXXX";
};

/// One setting: two values that are allowed, and how Settings shows the value that was read.
struct Row {
    std::string variable;  ///< empty: there is only the flag
    std::string flag;
    std::string by_default;
    std::string one;
    std::string other;
    std::function<std::string(const Settings&)> value;
    Arguments bad;
};

std::string text_of(const std::optional<std::string>& text) { return text.value_or("unset"); }
std::string text_of(std::chrono::milliseconds duration) { return std::to_string(duration.count()) + "ms"; }

std::vector<Row> rows() {
    const Arguments bad_ports{"0", "65536", "-1", "80a", "80 ", "0x50"};
    const Arguments bad_durations{"5", "-5s", "1.5h", "30m1h", "5d", "0s", "99999999999999999999h"};
    // 0s has a line of its own, because it is allowed with --no-token.
    const Arguments bad_stop_timeouts{"5", "-5s", "1.5h", "30m1h", "5d", "99999999999999999999h"};
    static const TemporaryFile certificate{"certificate"};
    static const TemporaryFile other_certificate{"certificate"};
    return {
        {"DB_USER", "--db-user", "prefect@project.iam", "a", "b", [](const auto& s) { return s.database.user; }, {""}},
        {"DB_IP",
         "--db-host",
         "10.0.0.3",
         "10.0.0.4",
         "db.internal",
         [](const auto& s) { return s.database.host; },
         {"", "a b", "10.0.0.1/x", "user@host", "10.0.0.1:5432", "[[]"}},
        {"DB_NAME", "--db-name", "prefect", "a", "b", [](const auto& s) { return s.database.name; }, {""}},
        {"DB_PORT", "--db-port", "5432", "1", "65535", [](const auto& s) { return std::to_string(s.database.port); },
         bad_ports},
        {"DB_SCHEMA",
         "--db-schema",
         "unset",
         "a",
         "b",
         [](const auto& s) { return text_of(s.database.schema); },
         {"", "a,b"}},
        {"DB_SSL",
         "--db-ssl",
         "unset",
         "require",
         "verify-full",
         [](const auto& s) { return text_of(s.database.ssl); },
         {"", "on", "REQUIRE"}},
        {"DB_SSL_ROOT_CERT",
         "--db-ssl-root-cert",
         "unset",
         certificate.path(),
         other_certificate.path(),
         [](const auto& s) { return text_of(s.database.ssl_root_cert); },
         {"", "/no/such/file.pem"}},
        {"PORT", "--port", "8080", "1", "65535", [](const auto& s) { return std::to_string(s.port); }, bad_ports},
        {"SUPERVISOR_ROTATION",
         "--rotation",
         "restart",
         "in-place",
         "restart",
         [](const auto& s) { return s.rotation == RotationMode::restart ? "restart" : "in-place"; },
         {"", "inplace", "Restart"}},
        {"SUPERVISOR_REFRESH_INTERVAL", "--refresh-interval", "3300000ms", "1s", "24h",
         [](const auto& s) { return text_of(s.refresh_interval); }, bad_durations},
        {"SUPERVISOR_DRAIN_TIMEOUT", "--drain-timeout", "30000ms", "1ms", "1h",
         [](const auto& s) { return text_of(s.drain_timeout); }, bad_durations},
        {"SUPERVISOR_STOP_TIMEOUT", "--stop-timeout", "8000ms", "1ms", "1h",
         [](const auto& s) { return text_of(s.stop_timeout); }, bad_stop_timeouts},
        {"SUPERVISOR_START_DEADLINE", "--start-deadline", "60000ms", "1ms", "1h",
         [](const auto& s) { return text_of(s.start_deadline); }, bad_durations},
        {"SUPERVISOR_DB_WAIT",
         "--db-wait",
         "120000ms",
         "1ms",
         "off",
         [](const auto& s) { return s.db_wait ? text_of(*s.db_wait) : "off"; },
         {"5", "-5s", "1.5h", "0s", "61m", "OFF", "no"}},
        {"SUPERVISOR_TOKEN_SCOPE",
         "--token-scope",
         "https://www.googleapis.com/auth/cloud-platform",
         "a",
         "b c",
         [](const auto& s) { return s.token_scope; },
         {""}},
        {"SUPERVISOR_HEALTH_ADDRESS",
         "--health-address",
         "0.0.0.0:8081",
         "[::1]:9000",
         "off",
         [](const auto& s) { return s.health_address ? to_string(*s.health_address) : "off"; },
         {"", "8081", ":8081", "0.0.0.0", "0.0.0.0:0", "localhost:8081", "OFF", "[::1]"}},
        {"",
         "--ready-url",
         "http://127.0.0.1:8080/api/health",
         "http://a/b",
         "off",
         [](const auto& s) { return s.ready_url.value_or("off"); },
         {"", "https://a/", "a", "http://"}},
        {"SUPERVISOR_LOG_FORMAT",
         "--log-format",
         "text",
         "json",
         "text",
         [](const auto& s) { return *s.log_format == LogFormat::json ? "json" : "text"; },
         {"", "JSON", "xml"}},
        {"SUPERVISOR_LOG_LEVEL",
         "--log-level",
         "1",
         "debug",
         "error",
         [](const auto& s) { return std::to_string(static_cast<int>(s.log_level)); },
         {"", "INFO", "trace"}},
    };
}

/// How a value looks once it was read.
std::string shown(const Row& row, const std::string& value) {
    return row.value(row.variable.empty() ? read({row.flag, value}) : read({}, {{row.variable, value}}));
}

}  // namespace

TEST_CASE("A flag beats its variable, which beats the default") {
    for (const auto& row : rows()) {
        CAPTURE(row.flag);
        CHECK(row.value(read()) == row.by_default);
        const auto one = shown(row, row.one);
        const auto other = shown(row, row.other);
        CHECK(one != other);
        CHECK((one != row.by_default || other != row.by_default));
        CHECK(row.value(read({row.flag, row.one})) == one);
        CHECK(row.value(read({row.flag + "=" + row.one})) == one);
        if (!row.variable.empty()) {
            CHECK(row.value(read({row.flag, row.one}, {{row.variable, row.other}})) == one);
            CHECK(row.value(read({row.flag, row.other}, {{row.variable, row.one}})) == other);
        }
    }
}

TEST_CASE("A scope has no character that no scope can have") {
    for (const std::string scope : {"a\xff", "a\nb", "\"a\"", "a\\b"}) {
        CHECK(mentions(refusal({"--token-scope", scope}, database), "allowed is a scope's URL"));
    }
}

TEST_CASE("A bad value is one line with the setting, the value and what is allowed, and exit code 2") {
    for (const auto& row : rows()) {
        for (const auto& value : row.bad) {
            CAPTURE(row.flag, value);
            const auto by_flag = refusal({row.flag, value}, database);
            CHECK(by_flag.code == 2);
            CHECK(mentions(by_flag, row.flag + " is \"" + value + "\", allowed is "));
            if (!row.variable.empty() && !value.empty()) {
                const auto by_variable = refusal({}, with(database, {{row.variable, value}}));
                CHECK(by_variable.code == 2);
                CHECK(mentions(by_variable, row.variable + " (" + row.flag + ") is \"" + value + "\", allowed is "));
                CHECK(row.value(read({row.flag, row.one}, {{row.variable, value}})) == shown(row, row.one));
            }
        }
    }
}

TEST_CASE("A variable that is set to nothing counts as not set") {
    for (const auto& row : rows()) {
        const bool required = row.variable == "DB_USER" || row.variable == "DB_IP" || row.variable == "DB_NAME";
        if (!row.variable.empty() && !required) {
            CAPTURE(row.variable);
            CHECK(row.value(read({}, {{row.variable, ""}})) == row.by_default);
        }
    }
}

TEST_CASE("The bounds of the durations are inside, and nothing beyond them is") {
    for (const std::string flag : {"--drain-timeout", "--stop-timeout", "--start-deadline", "--db-wait"}) {
        CHECK(read_settings({flag, "1ms"}, database).has_value());
        CHECK(read_settings({flag, "1h"}, database).has_value());
        CHECK(refusal({flag, "1h1ms"}, database).code == 2);
    }
    CHECK(refusal({"--refresh-interval", "999ms"}, database).code == 2);
    CHECK(refusal({"--refresh-interval", "24h1ms"}, database).code == 2);
}

TEST_CASE("A value with control characters is still one line") {
    const auto refused = refusal({"--rotation", "a\nb\x1b[31m\xff"}, database);
    CHECK(mentions(refused, R"("a\nb\u001b[31m)"));
}

TEST_CASE("Missing settings are all named in one line, and the exit code is 1") {
    for (unsigned missing = 1; missing < 8; ++missing) {
        auto environment = database;
        const std::vector<std::pair<std::string, std::string>> names{
            {"DB_USER", "--db-user"}, {"DB_IP", "--db-host"}, {"DB_NAME", "--db-name"}};
        for (unsigned i = 0; i < 3; ++i) {
            if ((missing & (1U << i)) != 0) {
                environment.erase(names[i].first);
            }
        }
        const auto refused = refusal({}, environment);
        CHECK(refused.code == 1);
        for (unsigned i = 0; i < 3; ++i) {
            CHECK(mentions(refused, names[i].first + " (" + names[i].second + ")") == ((missing & (1U << i)) != 0));
        }
    }
}

TEST_CASE("The suffix of a service account is stripped with a warning") {
    const auto settings = read({"--db-user", "prefect@project.iam.gserviceaccount.com"});
    CHECK(settings.database.user == "prefect@project.iam");
    CHECK(settings.warnings.size() == 1);
    CHECK(read().warnings.empty());
}

TEST_CASE("Brackets are no part of an IPv6 address") {
    CHECK(read({"--db-host", "[fd00::3]"}).database.host == "fd00::3");
    CHECK(read({"--db-host", "fd00::3"}).database.host == "fd00::3");
    CHECK(read({"--health-address", "[::]:9000"}).health_address == Address{"::", 9000});
}

TEST_CASE("Without a command Prefect runs on PORT, and its own health page is asked") {
    const auto settings = read({"--port", "4200"}, {{"PREFECT_SERVER_API_BASE_PATH", "base/"}});
    CHECK(settings.command == Arguments{"prefect", "server", "start", "--host", "0.0.0.0", "--port", "4200"});
    CHECK(settings.runs_prefect);
    CHECK(settings.ready_url == "http://127.0.0.1:4200/base/health");
    const auto other = read({"--ready-url", "http://a/", "--", "sleep", "1"});
    CHECK(other.command == Arguments{"sleep", "1"});
    CHECK_FALSE(other.runs_prefect);
    CHECK_FALSE(other.ready_url_is_prefect);
    CHECK(other.ready_url == "http://a/");
}

TEST_CASE("With rolling rotation and without a command Prefect runs under uvicorn on the socket that it inherits") {
    const auto settings = read({"--rotation", "rolling", "--drain-timeout", "10s"});
    CHECK(settings.is_rolling());
    CHECK(settings.runs_prefect);
    CHECK(settings.ready_url == "http://127.0.0.1:8080/api/health");
    CHECK(settings.command_text() ==
          "uvicorn --app-dir /dev/null --factory prefect.server.api.server:create_app --fd 3 --workers 1 "
          "--timeout-keep-alive 620 --ws-ping-interval 20 --ws-ping-timeout 20 --log-level warning "
          "--timeout-graceful-shutdown 9");
    CHECK_FALSE(read({"--no-token", "--rotation", "rolling"}).is_rolling());
    CHECK(read({"--no-token", "--rotation", "rolling"}).command.front() == "prefect");
    CHECK(read({"--rotation", "rolling", "--", "gunicorn"}).command == Arguments{"gunicorn"});
}

TEST_CASE("What Prefect would tell uvicorn is told to it with rolling rotation too") {
    const auto text = read({"--rotation", "rolling"}, {{"PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "75"},
                                                       {"PREFECT_SERVER_API_WEBSOCKET_PING_INTERVAL", "7.5"},
                                                       {"PREFECT_SERVER_API_WEBSOCKET_PING_TIMEOUT", "9"},
                                                       {"PREFECT_SERVER_LOGGING_LEVEL", "DEBUG"}})
                          .command_text();
    CHECK(text.find("--timeout-keep-alive 75 --ws-ping-interval 7.5 --ws-ping-timeout 9 --log-level debug") !=
          std::string::npos);
}

TEST_CASE("With rolling rotation the socket's port can't be the health server's, whatever the command") {
    const auto refused =
        refusal({"--rotation", "rolling", "--ready-url", "off", "--port", "8081", "--", "gunicorn"}, database);
    CHECK(refused.code == 2);
    CHECK(mentions(refused, "both name port 8081"));
}

TEST_CASE("The log is JSON on Cloud Run unless the user chose a format") {
    for (const std::string name : {"K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_JOB"}) {
        CHECK(read({}, {{name, "x"}}).log_format == LogFormat::json);
        CHECK(read({"--log-format", "auto"}, {{name, "x"}}).log_format == LogFormat::json);
        CHECK(read({"--log-format", "text"}, {{name, "x"}}).log_format == LogFormat::text);
    }
}

TEST_CASE("Switches") {
    CHECK_FALSE(read().check_only);
    CHECK(read({"--check"}).check_only);
    CHECK_FALSE(read().single_child);
    CHECK(read({"--single-child"}).single_child);
    CHECK(read({"--map-exit", "143", "--map-exit=3"}).mapped_exit_codes == std::vector<int>{143, 3});
    for (const std::string bad : {"256", "-1", "a", "1,2", ""}) {
        CHECK(refusal({"--map-exit", bad}, database).code == 2);
    }
}

TEST_CASE("A plain init (--no-token) needs no database, no credential and no metadata server") {
    const auto settings =
        read_settings({"--no-token", "--", "true"},
                      {{"GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file"}, {"GCE_METADATA_HOST", "http://bad"}});
    REQUIRE(settings.has_value());
    CHECK_FALSE(settings->use_token);
    CHECK_FALSE(settings->ready_url.has_value());
    CHECK(read_settings({"--no-token", "--rotation", "bad"}, {}).error().code == 2);
}

TEST_CASE("A stop timeout of zero is for a plain init alone") {
    CHECK(read_settings({"--no-token", "--stop-timeout", "0s", "--", "true"}, {})->stop_timeout == 0ms);
    for (const auto& refused : {refusal({"--stop-timeout", "0s"}, database),
                                refusal({}, with(database, {{"SUPERVISOR_STOP_TIMEOUT", "0s"}}))}) {
        CHECK(refused.code == 2);
        CHECK(mentions(refused, "SUPERVISOR_STOP_TIMEOUT (--stop-timeout) is \"0s\", allowed is a duration"));
        CHECK(mentions(refused, "0s only with --no-token"));
    }
}

TEST_CASE("Whether the kernel kills the child when we die is the user's choice") {
    CHECK_FALSE(read().kill_child.has_value());
    CHECK_FALSE(read({"--kill-child", "auto"}).kill_child.has_value());
    CHECK(read({"--kill-child", "on"}).kill_child == true);
    CHECK(read({"--kill-child", "off"}).kill_child == false);
    CHECK(refusal({"--kill-child", "yes"}, database).code == 2);
}

TEST_CASE("A probe needs nothing else") {
    const auto settings = read_settings({"--probe", "http://127.0.0.1:8081/readyz"}, {});
    REQUIRE(settings.has_value());
    CHECK(settings->probe_url == "http://127.0.0.1:8081/readyz");
    for (const std::string bad : {"", "https://a/", "a", "http://"}) {
        CHECK(refusal({"--probe", bad}, {}).code == 2);
    }
}

TEST_CASE("Help, version and licences (--help, --version, --licenses) end the program with 0 and win over bad values") {
    for (const std::string flag : {"--help", "--version", "--licenses"}) {
        const auto ended = read_settings({flag}, {{"PORT", "bad"}});
        REQUIRE_FALSE(ended.has_value());
        CHECK(ended.error().code == 0);
        CHECK(ended.error().text.starts_with("prefect-supervisor "));
    }
    const auto help = read_settings({"--help"}, {}).error().text;
    for (const auto& row : rows()) {
        CAPTURE(row.flag);
        CHECK(help.find("  " + row.flag + " ") != std::string::npos);
        CHECK(help.find(row.variable) != std::string::npos);
    }
}

TEST_CASE("The first variable of the metadata server that is set wins") {
    CHECK(read().metadata_host == "169.254.169.254");
    const Environment all{{"GCE_METADATA_HOST", "a"}, {"GCE_METADATA_ROOT", "b:80"}, {"GCE_METADATA_IP", "c"}};
    CHECK(read({}, all).metadata_host == "a");
    CHECK(read({}, with(all, {{"GCE_METADATA_HOST", ""}})).metadata_host == "b:80");
    CHECK(read({}, with(all, {{"GCE_METADATA_HOST", ""}, {"GCE_METADATA_ROOT", ""}})).metadata_host == "c");
}

TEST_CASE("An IPv6 address of the metadata server gets the brackets that a URL needs") {
    for (const std::string name : {"GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"}) {
        CHECK(read({}, {{name, "fd20:ce::254"}}).metadata_host == "[fd20:ce::254]");
        CHECK(read({}, {{name, "[fd20:ce::254]:8080"}}).metadata_host == "[fd20:ce::254]:8080");
        for (const std::string bad : {"fd20:ce:254", "[fd20:ce::254", "http://host", "host:0", "a b", "host/path"}) {
            CAPTURE(name, bad);
            const auto refused = refusal({}, with(database, {{name, bad}}));
            CHECK(refused.code == 2);
            CHECK(mentions(refused, name + " is \"" + bad + "\", allowed is host or host:port"));
        }
    }
}

TEST_CASE("Prefect without a token can't have the health server's port either") {
    CHECK(refusal({"--no-token", "--port", "8081"}, {}).code == 2);
    CHECK(read_settings({"--no-token", "--port", "8081", "--", "true"}, {}).has_value());
}

TEST_CASE("Prefect and the health server can't have the same port") {
    for (const auto& [arguments, environment] :
         std::vector<std::pair<Arguments, Environment>>{{{"--port", "8081"}, {}},
                                                        {{}, {{"PORT", "8081"}}},
                                                        {{"--health-address", "127.0.0.1:8080"}, {}},
                                                        {{"--health-address", "[::]:8080", "--", "sleep", "1"}, {}},
                                                        {{"--check", "--port", "8081"}, {}}}) {
        const auto refused = refusal(arguments, with(database, environment));
        CHECK(refused.code == 2);
        CHECK(mentions(refused, "PORT (--port)"));
        CHECK(mentions(refused, "--health-address"));
    }
    CHECK(read({"--port", "8081", "--health-address", "off"}).port == 8081);
    // The supervisor does not use PORT then.
    CHECK(read_settings({"--no-token", "--port", "8081", "--", "true"}, {}).has_value());
    CHECK(read_settings({"--port", "8081", "--ready-url", "off", "--", "true"}, database).has_value());
    CHECK(read_settings({"--port", "8081", "--probe", "http://127.0.0.1:8081/readyz"}, {}).has_value());
}

TEST_CASE("The credential file is looked for in google-auth's order") {
    const TestFolder folder;
    const auto of_home = folder.write("home/.config/gcloud/application_default_credentials.json", "{}", 0600);
    const auto of_config = folder.write("config/application_default_credentials.json", "{}", 0600);
    const Environment home{{"HOME", folder.path("home")}};
    const auto both = with(home, {{"CLOUDSDK_CONFIG", folder.path("config")}});

    CHECK(read({}, with(both, {{"GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file"}})).credential_file->path ==
          "/no/such/file");
    CHECK(read({}, both).credential_file->path == of_config);
    CHECK(read({}, both).credential_file->named_by == "gcloud's, by CLOUDSDK_CONFIG");
    CHECK(read({}, home).credential_file->path == of_home);
    CHECK(read({}, with(home, {{"GOOGLE_APPLICATION_CREDENTIALS", ""}})).credential_file->path == of_home);
    CHECK(read({}, {{"GOOGLE_APPLICATION_CREDENTIALS", "key.json"}}).credential_file->path ==
          (std::filesystem::current_path() / "key.json").string());
    // CLOUDSDK_CONFIG takes the place of the folder in HOME, whether the file is there or not.
    CHECK(!read({}, with(home, {{"CLOUDSDK_CONFIG", folder.path()}})).credential_file);
    CHECK(!read({}, {{"HOME", folder.path()}}).credential_file);
    CHECK(!read().credential_file);
    CHECK(!read({"--no-token", "--", "true"}, both).credential_file);
}

TEST_CASE("The account to impersonate comes first, and IAM gets its delegates in the other order") {
    const auto of = [](const std::string& text) { return *read({"--impersonate-service-account", text}).impersonated; };
    CHECK(of("t@p.iam.gserviceaccount.com").email == "t@p.iam.gserviceaccount.com");
    CHECK(of("t@p.iam.gserviceaccount.com").delegates.empty());
    CHECK(of("t@p,d1@p,d2@p").email == "t@p");
    CHECK(of("t@p,d1@p,d2@p").delegates ==
          std::vector<std::string>{"projects/-/serviceAccounts/d2@p", "projects/-/serviceAccounts/d1@p"});
    CHECK(read({}, {{"SUPERVISOR_IMPERSONATE_SERVICE_ACCOUNT", "t@p"}}).impersonated->email == "t@p");
    for (const std::string text : {"", ",", "t@p,", "t@p,,d@p", "t@p, d@p", "t/../x", "t@p?x", "t%41"}) {
        CHECK(refusal({"--impersonate-service-account", text}, database).code == 2);
    }
}
