#include "config/settings_table.hpp"

#include "config/duration.hpp"

#include <unistd.h>

#include <charconv>
#include <map>
#include <set>

namespace supervisor {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

Parser text_parser(std::string& (*field)(Settings&)) {
    return [field](Settings& settings, const std::string& text) {
        field(settings) = text;
        return !text.empty();
    };
}

/// An IPv6 address may be given in brackets, which are no part of the address.
std::string without_brackets(std::string host) {
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    return bracketed ? host.substr(1, host.size() - 2) : host;
}

Parser port_parser(std::uint16_t& (*field)(Settings&)) {
    return [field](Settings& settings, const std::string& text) {
        const auto port = parse_port(text);
        field(settings) = port.value_or(0);
        return port.has_value();
    };
}

Parser duration_parser(milliseconds& (*field)(Settings&), milliseconds least, milliseconds most) {
    return [field, least, most](Settings& settings, const std::string& text) {
        const auto duration = parse_duration(text);
        if (!duration || *duration < least || *duration > most) {
            return false;
        }
        field(settings) = *duration;
        return true;
    };
}

template <class Value>
Parser word_parser(Value& (*field)(Settings&), std::map<std::string, Value> words) {
    return [field, words = std::move(words)](Settings& settings, const std::string& text) {
        const auto word = words.find(text);
        if (word == words.end()) {
            return false;
        }
        field(settings) = word->second;
        return true;
    };
}

bool parse_health_address(Settings& settings, const std::string& text) {
    if (text == "off") {
        settings.health_address.reset();
        return true;
    }
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) {
        return false;
    }
    auto host = without_brackets(text.substr(0, colon));
    const auto port = parse_port(std::string_view{text}.substr(colon + 1));
    if ((!is_ipv4_address(host) && !is_ipv6_address(host)) || !port) {
        return false;
    }
    settings.health_address = Address{host, *port};
    return true;
}

bool is_http_url(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    return text.starts_with(scheme) && text.size() > scheme.size();
}

bool parse_ready_url(Settings& settings, const std::string& text) {
    settings.ready_url_is_prefect = false;
    if (text == "off") {
        settings.ready_url.reset();
        return true;
    }
    settings.ready_url = text;
    return is_http_url(text);
}

bool parse_probe_url(Settings& settings, const std::string& text) {
    settings.probe_url = text;
    return is_http_url(text);
}

bool parse_ssl(Settings& settings, const std::string& text) {
    static const std::set<std::string> modes{"disable", "prefer", "require", "verify-ca", "verify-full"};
    settings.database.ssl = text;
    return modes.contains(text);
}

bool parse_root_cert(Settings& settings, const std::string& text) {
    settings.database.ssl_root_cert = text;
    return ::access(text.c_str(), R_OK) == 0;
}

std::string duration_range(milliseconds least, milliseconds most) {
    return "a duration such as 90s, 55m, 1h30m or 250ms, from " + to_string(least) + " to " + to_string(most);
}

bool parse_db_wait(Settings& settings, const std::string& text) {
    if (text == "off") {
        settings.db_wait.reset();
        return true;
    }
    settings.db_wait = milliseconds{0};
    return duration_parser([](Settings& s) -> milliseconds& { return *s.db_wait; }, milliseconds{1}, hours{1})(settings,
                                                                                                               text);
}

Setting duration_setting(std::string variable, std::string flag, const std::string& help,
                         milliseconds& (*field)(Settings&), milliseconds least, milliseconds most) {
    Settings defaults;
    return {std::move(variable),
            std::move(flag),
            "DURATION",
            help + " [" + to_string(field(defaults)) + "]",
            duration_range(least, most),
            duration_parser(field, least, most)};
}

}  // namespace

std::vector<Setting> all_settings() {
    const std::string port_range = "a whole number from 1 to 65535";
    std::vector<Setting> all;
    all.push_back({"DB_USER", "--db-user", "NAME", "IAM database user, SERVICE-ACCOUNT@PROJECT.iam (required)",
                   "a name", text_parser([](Settings& s) -> std::string& { return s.database.user; })});
    all.push_back({"DB_IP", "--db-host", "HOST", "address of the database (required)", "a host name or an address",
                   [](Settings& s, const std::string& text) {
                       s.database.host = without_brackets(text);
                       return is_host_name(s.database.host) || is_ipv6_address(s.database.host);
                   }});
    all.push_back({"DB_NAME", "--db-name", "NAME", "name of the database (required)", "a name",
                   text_parser([](Settings& s) -> std::string& { return s.database.name; })});
    all.push_back({"DB_PORT", "--db-port", "PORT", "port of the database [5432]", port_range,
                   port_parser([](Settings& s) -> std::uint16_t& { return s.database.port; })});
    all.push_back({"DB_SCHEMA", "--db-schema", "NAME", "schema of Prefect's tables; search path NAME,public", "a name",
                   [](Settings& s, const std::string& text) {
                       s.database.schema = text;
                       return !text.empty() && text.find(',') == std::string::npos;
                   }});
    all.push_back({"DB_SSL", "--db-ssl", "MODE",
                   "disable, prefer, require, verify-ca or verify-full, as asyncpg's ssl= [asyncpg's default, prefer]",
                   "disable, prefer, require, verify-ca or verify-full", parse_ssl});
    all.push_back({"DB_SSL_ROOT_CERT", "--db-ssl-root-cert", "FILE", "CA certificate of the database",
                   "a file that can be read", parse_root_cert});
    all.push_back({"PORT", "--port", "PORT", "Prefect's port [8080]", port_range,
                   port_parser([](Settings& s) -> std::uint16_t& { return s.port; })});
    all.push_back(
        {"SUPERVISOR_ROTATION", "--rotation", "MODE",
         "restart: drain the child and start it again with the new token; in-place: hand the token over by a "
         "password file, without a restart [restart]",
         "restart or in-place",
         word_parser<RotationMode>([](Settings& s) -> RotationMode& { return s.rotation; },
                                   {{"restart", RotationMode::restart}, {"in-place", RotationMode::in_place}})});
    all.push_back(duration_setting(
        "SUPERVISOR_REFRESH_INTERVAL", "--refresh-interval",
        "a token older than this is replaced as soon as the metadata server gives out another",
        [](Settings& s) -> milliseconds& { return s.refresh_interval; }, seconds{1}, hours{24}));
    all.push_back(duration_setting(
        "SUPERVISOR_DRAIN_TIMEOUT", "--drain-timeout",
        "time from TERM to KILL when the child is restarted with a new token",
        [](Settings& s) -> milliseconds& { return s.drain_timeout; }, milliseconds{1}, hours{1}));
    all.push_back(duration_setting(
        "SUPERVISOR_STOP_TIMEOUT", "--stop-timeout",
        "time from TERM to KILL when the supervisor is stopped; Cloud Run kills every process after 10 s. 0s, which is "
        "allowed only with --no-token: forward the stop, wait for the child alone, and kill nothing",
        [](Settings& s) -> milliseconds& { return s.stop_timeout; }, milliseconds{0}, hours{1}));
    all.push_back(duration_setting(
        "SUPERVISOR_START_DEADLINE", "--start-deadline", "how long to try for the first token",
        [](Settings& s) -> milliseconds& { return s.start_deadline; }, milliseconds{1}, hours{1}));
    all.push_back({"SUPERVISOR_DB_WAIT", "--db-wait", "DURATION",
                   "how long to wait before the first child until the database takes a TCP connection, or off. Cloud "
                   "Run's Direct VPC egress may come up a minute late, and Prefect gives up after 5 s [2m]",
                   duration_range(milliseconds{1}, hours{1}) + ", or off", parse_db_wait});
    all.push_back({"SUPERVISOR_TOKEN_SCOPE", "--token-scope", "URL",
                   "the token's scope. https://www.googleapis.com/auth/sqlservice.login is sufficient for the login "
                   "and safer: a leaked token can then be used for nothing else [.../auth/cloud-platform]",
                   "a scope's URL", text_parser([](Settings& s) -> std::string& { return s.token_scope; })});
    all.push_back({"SUPERVISOR_HEALTH_ADDRESS", "--health-address", "ADDRESS",
                   "the address at which /livez, /readyz, /startupz and /status are answered, or off [0.0.0.0:8081]",
                   "an IP address and a port such as 0.0.0.0:8081 or [::]:8081, or off", parse_health_address});
    all.push_back(
        {"", "--ready-url", "URL",
         "the URL whose answer shows that the child is ready, or off [Prefect's own health page; off with --no-token]",
         "an http:// URL, or off", parse_ready_url});
    all.push_back({"", "--probe", "URL",
                   "request URL once and exit, with 0 if the status is 200 to 299, otherwise with 1; for a HEALTHCHECK "
                   "such as --probe http://127.0.0.1:8081/readyz",
                   "an http:// URL", parse_probe_url});
    all.push_back({"", "--kill-child", "WHEN",
                   "on, off or auto: whether the kernel kills the child when the supervisor dies without ending it "
                   "[auto: unless it is PID 1, whose end ends every process]",
                   "auto, on or off",
                   word_parser<std::optional<bool>>([](Settings& s) -> std::optional<bool>& { return s.kill_child; },
                                                    {{"auto", std::nullopt}, {"on", true}, {"off", false}})});
    all.push_back({"", "--map-exit", "N", "exit code N of the child becomes 0; repeatable",
                   "a whole number from 0 to 255",
                   [](Settings& s, const std::string& text) {
                       std::uint8_t code = 0;
                       const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
                       s.mapped_exit_codes.push_back(code);
                       return error == std::errc{} && end == text.data() + text.size();
                   },
                   /*repeatable=*/true});
    all.push_back({"SUPERVISOR_LOG_FORMAT", "--log-format", "FORMAT", "text, json or auto: json on Cloud Run [auto]",
                   "auto, text or json",
                   word_parser<std::optional<LogFormat>>(
                       [](Settings& s) -> std::optional<LogFormat>& { return s.log_format; },
                       {{"auto", std::nullopt}, {"text", LogFormat::text}, {"json", LogFormat::json}})});
    all.push_back(
        {"SUPERVISOR_LOG_LEVEL", "--log-level", "LEVEL", "debug, info, warning or error [info]",
         "debug, info, warning or error",
         word_parser<Level>(
             [](Settings& s) -> Level& { return s.log_level; },
             {{"debug", Level::debug}, {"info", Level::info}, {"warning", Level::warning}, {"error", Level::error}})});
    return all;
}

std::vector<Switch> all_switches() {
    return {{"--check", "check the settings, fetch one token, show what would run, and exit",
             [](Settings& s) { s.check_only = true; }},
            {"--no-token", "be a plain init for COMMAND: no token and no rotation, but all other functions",
             [](Settings& s) { s.use_token = false; }},
            {"--single-child", "forward signals to the child alone, not to its group",
             [](Settings& s) { s.single_child = true; }}};
}

}  // namespace supervisor
