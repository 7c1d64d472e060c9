#include "config/settings_table.hpp"

#include "config/duration.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

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

/// "a, b or c"
std::string one_of(const std::vector<std::string>& words) {
    std::string text = words.front();
    for (std::size_t i = 1; i < words.size(); ++i) {
        text += (i + 1 == words.size() ? " or " : ", ") + words[i];
    }
    return text;
}

/// A setting whose value is one of some words.
template <class Value>
Setting word_setting(std::string variable, std::string flag, std::string placeholder, std::string help,
                     Value& (*field)(Settings&), std::vector<std::pair<std::string, Value>> values) {
    std::vector<std::string> words;
    words.reserve(values.size());
    for (const auto& [word, value] : values) {
        words.push_back(word);
    }
    const auto parse = [field, values = std::move(values)](Settings& settings, const std::string& text) {
        const auto found =
            std::find_if(values.begin(), values.end(), [&text](const auto& one) { return one.first == text; });
        if (found == values.end()) {
            return false;
        }
        field(settings) = found->second;
        return true;
    };
    return {std::move(variable),    std::move(flag),
            std::move(placeholder), std::move(help),
            one_of(words),          parse,
            /*repeatable=*/false,   words};
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

std::vector<std::string> ssl_modes() { return {"disable", "prefer", "require", "verify-ca", "verify-full"}; }

bool parse_ssl(Settings& settings, const std::string& text) {
    settings.database.ssl = text;
    const auto modes = ssl_modes();
    return std::find(modes.begin(), modes.end(), text) != modes.end();
}

bool parse_root_cert(Settings& settings, const std::string& text) {
    settings.database.ssl_root_cert = text;
    return ::access(text.c_str(), R_OK) == 0;
}

/// EMAIL, or EMAIL,DELEGATE,...: the account itself comes first, as with the Cloud SQL Auth Proxy. The last delegate is the one
/// for which our own identity may act, and IAM wants that one first.
bool parse_impersonated(Settings& settings, const std::string& text) {
    static constexpr auto allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@.:_-";
    std::vector<std::string> accounts;
    for (std::size_t start = 0; start <= text.size();) {
        const auto end = std::min(text.find(',', start), text.size());
        accounts.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    ImpersonatedAccount impersonated{.email = accounts.front()};
    for (auto account = accounts.rbegin(); account + 1 != accounts.rend(); ++account) {
        impersonated.delegates.push_back("projects/-/serviceAccounts/" + *account);
    }
    settings.impersonated = std::move(impersonated);
    return std::all_of(accounts.begin(), accounts.end(), [](const std::string& account) {
        return !account.empty() && account.find_first_not_of(allowed) == std::string::npos;
    });
}

std::string duration_range(milliseconds least, milliseconds most) {
    return "a duration such as 90s, 55m, 1h30m or 250ms, from " + to_string(least) + " to " + to_string(most);
}

bool parse_scope(Settings& settings, const std::string& text) {
    settings.token_scope = text;
    // RFC 6749, 3.3.
    return !text.empty() && std::all_of(text.begin(), text.end(),
                                        [](char c) { return c >= ' ' && c < '\x7f' && c != '"' && c != '\\'; });
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
                   one_of(ssl_modes()) + ", as asyncpg's ssl= [asyncpg's default, prefer]", one_of(ssl_modes()),
                   parse_ssl,
                   /*repeatable=*/false, ssl_modes()});
    all.push_back({"DB_SSL_ROOT_CERT", "--db-ssl-root-cert", "FILE", "CA certificate of the database",
                   "a file that can be read", parse_root_cert});
    all.push_back({"PORT", "--port", "PORT", "Prefect's port [8080]", port_range,
                   port_parser([](Settings& s) -> std::uint16_t& { return s.port; })});
    all.push_back(word_setting<RotationMode>(
        "SUPERVISOR_ROTATION", "--rotation", "MODE",
        "restart: drain the child and start it again with the new token; in-place: hand the token over by a "
        "password file, without a restart; rolling: start the next child beside the old one on the same port, and "
        "drain the old one when the next one is ready [restart]",
        [](Settings& s) -> RotationMode& { return s.rotation; },
        {{"restart", RotationMode::restart},
         {"in-place", RotationMode::in_place},
         {"rolling", RotationMode::rolling}}));
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
        "SUPERVISOR_STOP_DELAY", "--stop-delay",
        "time from TERM to the supervisor until TERM to the child, which serves meanwhile: /readyz is 503 at once, so "
        "that "
        "a load balancer sends nothing more when the child stops. The platform's patience has to last for it and for "
        "the "
        "stop timeout",
        [](Settings& s) -> milliseconds& { return s.stop_delay; }, milliseconds{0}, hours{1}));
    all.push_back(duration_setting(
        "SUPERVISOR_START_DEADLINE", "--start-deadline",
        "how long to try for the first token; with rolling rotation also how long the next child may take until it "
        "listens",
        [](Settings& s) -> milliseconds& { return s.start_deadline; }, milliseconds{1}, hours{1}));
    all.push_back({"SUPERVISOR_DB_WAIT",
                   "--db-wait",
                   "DURATION",
                   "how long to wait before the first child until the database takes a TCP connection, or off. Cloud "
                   "Run's Direct VPC egress may come up a minute late, and Prefect gives up after 5 s [2m]",
                   duration_range(milliseconds{1}, hours{1}) + ", or off",
                   parse_db_wait,
                   /*repeatable=*/false,
                   {"off"}});
    all.push_back({"SUPERVISOR_TOKEN_SCOPE", "--token-scope", "URL",
                   "the token's scope. https://www.googleapis.com/auth/sqlservice.login is sufficient for the login "
                   "and safer: a leaked token can then be used for nothing else [.../auth/cloud-platform]",
                   "a scope's URL, or several with spaces between them", parse_scope});
    all.push_back(
        {"SUPERVISOR_IMPERSONATE_SERVICE_ACCOUNT", "--impersonate-service-account", "EMAIL[,DELEGATE...]",
         "log in as this service account, for which our own identity may make tokens; with delegates the last of "
         "them is the one for which ours may, and each may for the one before it",
         "an account's address, or several with commas between them", parse_impersonated});
    all.push_back({"SUPERVISOR_HEALTH_ADDRESS",
                   "--health-address",
                   "ADDRESS",
                   "the address at which /livez, /readyz, /startupz, /status and /metrics are answered, or off "
                   "[0.0.0.0:8081]",
                   "an IP address and a port such as 0.0.0.0:8081 or [::]:8081, or off",
                   parse_health_address,
                   /*repeatable=*/false,
                   {"off"}});
    all.push_back(
        {"",
         "--ready-url",
         "URL",
         "the URL whose answer shows that the child is ready, or off [Prefect's own health page; off with --no-token]",
         "an http:// URL, or off",
         parse_ready_url,
         /*repeatable=*/false,
         {"off"}});
    all.push_back({"", "--probe", "URL",
                   "request URL once and exit, with 0 if the status is 200 to 299, otherwise with 1; for a HEALTHCHECK "
                   "such as --probe http://127.0.0.1:8081/readyz",
                   "an http:// URL", parse_probe_url});
    all.push_back(word_setting<std::optional<bool>>(
        "", "--kill-child", "WHEN",
        "on, off or auto: whether the kernel kills the child when the supervisor dies without ending it "
        "[auto: unless it is PID 1, whose end ends every process]",
        [](Settings& s) -> std::optional<bool>& { return s.kill_child; },
        {{"auto", std::nullopt}, {"on", true}, {"off", false}}));
    all.push_back({"", "--map-exit", "N", "exit code N of the child becomes 0; repeatable",
                   "a whole number from 0 to 255",
                   [](Settings& s, const std::string& text) {
                       std::uint8_t code = 0;
                       const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
                       s.mapped_exit_codes.push_back(code);
                       return error == std::errc{} && end == text.data() + text.size();
                   },
                   /*repeatable=*/true});
    all.push_back(word_setting<std::optional<LogFormat>>(
        "SUPERVISOR_LOG_FORMAT", "--log-format", "FORMAT", "text, json or auto: json on Cloud Run [auto]",
        [](Settings& s) -> std::optional<LogFormat>& { return s.log_format; },
        {{"auto", std::nullopt}, {"text", LogFormat::text}, {"json", LogFormat::json}}));
    all.push_back(word_setting<Level>(
        "SUPERVISOR_LOG_LEVEL", "--log-level", "LEVEL", "debug, info, warning or error [info]",
        [](Settings& s) -> Level& { return s.log_level; },
        {{"debug", Level::debug}, {"info", Level::info}, {"warning", Level::warning}, {"error", Level::error}}));
    return all;
}

std::vector<Switch> all_switches() {
    return {{"--check", "check the settings, fetch one token, try to reach the database, show what would run, and exit",
             [](Settings& s) { s.check_only = true; }},
            {"--no-token", "be a plain init for COMMAND: no token and no rotation, but all other functions",
             [](Settings& s) { s.use_token = false; }},
            {"--single-child", "forward signals to the child alone, not to its group",
             [](Settings& s) { s.single_child = true; }}};
}

std::vector<EarlyFlag> early_flags() {
    return {{"--help", "show this text and exit"},
            {"--version", "show the version, commit, compiler and libraries, and exit"},
            {"--licenses", "show what is linked in, with versions and licences, and exit"}};
}

std::vector<ExitCode> own_exit_codes() {
    return {
        {127, "the command was not found"},
        {126, "it is not executable"},
        {1,
         "a setting is missing or a credential file can't be used, no first token came or the database could not be "
         "reached"},
        {2, "wrong usage"}};
}

}  // namespace supervisor
