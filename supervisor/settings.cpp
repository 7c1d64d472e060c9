#include "settings.hpp"

#include "about.hpp"
#include "command_line.hpp"
#include "duration.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <set>

namespace supervisor {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int usage_error = 2;
constexpr int unusable_settings = 1;
constexpr auto help_flag = "--help";
constexpr auto version_flag = "--version";
constexpr auto program = "prefect-supervisor: ";
constexpr auto service_account_suffix = ".gserviceaccount.com";

/// Takes one setting's text into Settings; false if the text is not allowed.
using Take = std::function<bool(Settings&, const std::string&)>;

/// A setting, its names and how it is read.
struct Setting {
    std::string variable;  ///< empty for one that only has a flag
    std::string flag;
    std::string placeholder;
    std::string help;
    std::string allowed;  ///< what a bad value's message says is allowed
    Take take;
    bool repeatable = false;
};

/// A switch of the command line, which takes no value.
struct Switch {
    std::string flag;
    std::string help;
    std::function<void(Settings&)> turn_on;
};

Take take_text(std::string& (*place)(Settings&)) {
    return [place](Settings& settings, const std::string& text) {
        place(settings) = text;
        return !text.empty();
    };
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && port > 0 ? std::optional{port} : std::nullopt;
}

/// Whether `text` can stand for a host, with or without a port, in a URL.
bool is_host(std::string_view text) {
    constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]";
    return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

/// An IPv6 address may come in brackets; inside they are not part of it.
std::string without_brackets(std::string host) {
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    return bracketed ? host.substr(1, host.size() - 2) : host;
}

Take take_port(std::uint16_t& (*place)(Settings&)) {
    return [place](Settings& settings, const std::string& text) {
        const auto port = parse_port(text);
        place(settings) = port.value_or(0);
        return port.has_value();
    };
}

Take take_duration(milliseconds& (*place)(Settings&), milliseconds least, milliseconds most) {
    return [place, least, most](Settings& settings, const std::string& text) {
        const auto duration = parse_duration(text);
        if (!duration || *duration < least || *duration > most) {
            return false;
        }
        place(settings) = *duration;
        return true;
    };
}

template <class Value>
Take take_word(Value& (*place)(Settings&), std::map<std::string, Value> words) {
    return [place, words = std::move(words)](Settings& settings, const std::string& text) {
        const auto word = words.find(text);
        if (word == words.end()) {
            return false;
        }
        place(settings) = word->second;
        return true;
    };
}

bool take_health_address(Settings& settings, const std::string& text) {
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
    const bool numeric = host.find_first_not_of("0123456789abcdefABCDEF.:") == std::string::npos;
    if (host.empty() || !numeric || !port) {
        return false;
    }
    settings.health_address = Address{host, *port};
    return true;
}

bool is_http_url(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    return text.starts_with(scheme) && text.size() > scheme.size();
}

bool take_ready_url(Settings& settings, const std::string& text) {
    settings.ready_url_is_prefect = false;
    if (text == "off") {
        settings.ready_url.reset();
        return true;
    }
    settings.ready_url = text;
    return is_http_url(text);
}

bool take_probe_url(Settings& settings, const std::string& text) {
    settings.probe_url = text;
    return is_http_url(text);
}

bool take_ssl(Settings& settings, const std::string& text) {
    static const std::set<std::string> modes{"disable", "prefer", "require", "verify-ca", "verify-full"};
    settings.database.ssl = text;
    return modes.contains(text);
}

bool take_root_cert(Settings& settings, const std::string& text) {
    settings.database.ssl_root_cert = text;
    return ::access(text.c_str(), R_OK) == 0;
}

std::string duration_range(milliseconds least, milliseconds most) {
    return "a duration such as 90s, 55m, 1h30m or 250ms, from " + to_string(least) + " to " + to_string(most);
}

Setting duration_setting(std::string variable, std::string flag, const std::string& help,
                         milliseconds& (*place)(Settings&), milliseconds least, milliseconds most) {
    Settings defaults;
    return {std::move(variable),
            std::move(flag),
            "DURATION",
            help + " [" + to_string(place(defaults)) + "]",
            duration_range(least, most),
            take_duration(place, least, most)};
}

std::vector<Setting> all_settings() {
    const std::string port_range = "a whole number from 1 to 65535";
    std::vector<Setting> all;
    all.push_back({"DB_USER", "--db-user", "NAME", "IAM database user, SERVICE-ACCOUNT@PROJECT.iam (required)",
                   "a name", take_text([](Settings& s) -> std::string& { return s.database.user; })});
    all.push_back({"DB_IP", "--db-host", "HOST", "address of the database (required)", "a host name or an address",
                   [](Settings& s, const std::string& text) {
                       s.database.host = without_brackets(text);
                       return is_host(text);
                   }});
    all.push_back({"DB_NAME", "--db-name", "NAME", "name of the database (required)", "a name",
                   take_text([](Settings& s) -> std::string& { return s.database.name; })});
    all.push_back({"DB_PORT", "--db-port", "PORT", "port of the database [5432]", port_range,
                   take_port([](Settings& s) -> std::uint16_t& { return s.database.port; })});
    all.push_back({"DB_SCHEMA", "--db-schema", "NAME", "schema of Prefect's tables; search path NAME,public", "a name",
                   [](Settings& s, const std::string& text) {
                       s.database.schema = text;
                       return !text.empty() && text.find(',') == std::string::npos;
                   }});
    all.push_back({"DB_SSL", "--db-ssl", "MODE",
                   "disable, prefer, require, verify-ca or verify-full, as asyncpg's ssl= [asyncpg's default, prefer]",
                   "disable, prefer, require, verify-ca or verify-full", take_ssl});
    all.push_back({"DB_SSL_ROOT_CERT", "--db-ssl-root-cert", "FILE", "CA certificate of the database",
                   "a file that can be read", take_root_cert});
    all.push_back({"PORT", "--port", "PORT", "Prefect's port [8080]", port_range,
                   take_port([](Settings& s) -> std::uint16_t& { return s.port; })});
    all.push_back(
        {"SUPERVISOR_ROTATION", "--rotation", "MODE",
         "restart: drain the child and start it with the new token; in-place: hand the token over by a "
         "password file, no restart [restart]",
         "restart or in-place",
         take_word<RotationMode>([](Settings& s) -> RotationMode& { return s.rotation; },
                                 {{"restart", RotationMode::restart}, {"in-place", RotationMode::in_place}})});
    all.push_back(duration_setting(
        "SUPERVISOR_REFRESH_INTERVAL", "--refresh-interval", "a token is never used longer than this",
        [](Settings& s) -> milliseconds& { return s.refresh_interval; }, seconds{1}, hours{24}));
    all.push_back(duration_setting(
        "SUPERVISOR_DRAIN_TIMEOUT", "--drain-timeout", "TERM to KILL when the child is restarted with a new token",
        [](Settings& s) -> milliseconds& { return s.drain_timeout; }, milliseconds{1}, hours{1}));
    all.push_back(duration_setting(
        "SUPERVISOR_STOP_TIMEOUT", "--stop-timeout",
        "TERM to KILL when we are stopped; Cloud Run kills everything after 10 s",
        [](Settings& s) -> milliseconds& { return s.stop_timeout; }, milliseconds{1}, hours{1}));
    all.push_back(duration_setting(
        "SUPERVISOR_START_DEADLINE", "--start-deadline", "how long to try for the first token",
        [](Settings& s) -> milliseconds& { return s.start_deadline; }, milliseconds{1}, hours{1}));
    all.push_back({"SUPERVISOR_TOKEN_SCOPE", "--token-scope", "URL",
                   "the token's scope. https://www.googleapis.com/auth/sqlservice.login is enough for the login and "
                   "safer: a leaked token is then good for nothing else [.../auth/cloud-platform]",
                   "a scope's URL", take_text([](Settings& s) -> std::string& { return s.token_scope; })});
    all.push_back({"SUPERVISOR_HEALTH_ADDRESS", "--health-address", "ADDRESS",
                   "where /livez, /readyz, /startupz and /status are answered, or off [0.0.0.0:8081]",
                   "an IP address and a port such as 0.0.0.0:8081 or [::]:8081, or off", take_health_address});
    all.push_back({"", "--ready-url", "URL",
                   "what tells that the child is ready, or off [Prefect's own health page; off with --no-token]",
                   "an http:// URL, or off", take_ready_url});
    all.push_back({"", "--probe", "URL",
                   "ask URL once and exit, 0 if the answer is 200 to 299, else 1: for a HEALTHCHECK such as --probe "
                   "http://127.0.0.1:8081/readyz",
                   "an http:// URL", take_probe_url});
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
                   take_word<std::optional<LogFormat>>(
                       [](Settings& s) -> std::optional<LogFormat>& { return s.log_format; },
                       {{"auto", std::nullopt}, {"text", LogFormat::text}, {"json", LogFormat::json}})});
    all.push_back(
        {"SUPERVISOR_LOG_LEVEL", "--log-level", "LEVEL", "debug, info, warning or error [info]",
         "debug, info, warning or error",
         take_word<Level>(
             [](Settings& s) -> Level& { return s.log_level; },
             {{"debug", Level::debug}, {"info", Level::info}, {"warning", Level::warning}, {"error", Level::error}})});
    return all;
}

std::vector<Switch> all_switches() {
    return {{"--check", "check the settings, fetch one token, show what would run, exit",
             [](Settings& s) { s.check_only = true; }},
            {"--no-token", "be a plain init for COMMAND: no token, no rotation, all the rest",
             [](Settings& s) { s.use_token = false; }},
            {"--single-child", "forward signals to the child alone, not to its group",
             [](Settings& s) { s.single_child = true; }}};
}

/// The flag, its explanation from a fixed column on, wrapped at the words.
std::string help_entry(const std::string& flag, const std::string& help) {
    constexpr std::size_t column = 30;
    constexpr std::size_t width = 110;
    std::string text = "  " + flag;
    std::size_t at = text.size();
    const auto new_line = [&text, &at] {
        text += '\n' + std::string(column, ' ');
        at = column;
    };
    at < column - 1 ? (void)(text += std::string(column - at, ' '), at = column) : new_line();
    std::string_view rest{help};
    while (!rest.empty()) {
        const auto word = rest.substr(0, rest.find(' '));
        if (at > column && at + word.size() > width) {
            new_line();
        }
        text.append(word) += ' ';
        at += word.size() + 1;
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    }
    text.back() = '\n';
    return text;
}

std::string help_text(const std::vector<Setting>& settings, const std::vector<Switch>& switches) {
    std::string text =
        "prefect-supervisor [OPTIONS] [-- COMMAND [ARG...]]\n\n"
        "Runs Prefect Server, or COMMAND, with a database token that never goes stale; as PID 1 or not.\n"
        "A flag beats its environment variable, in parentheses, which beats the default, in brackets.\n\n";
    text += help_entry(help_flag, "this text");
    text += help_entry(version_flag, "version, commit, compiler and libraries");
    for (const auto& one : switches) {
        text += help_entry(one.flag, one.help);
    }
    for (const auto& setting : settings) {
        const auto variable = setting.variable.empty() ? "" : " (" + setting.variable + ")";
        text += help_entry(setting.flag + ' ' + setting.placeholder, setting.help + variable);
    }
    text +=
        "\nThe metadata server is GCE_METADATA_HOST, GCE_METADATA_ROOT or GCE_METADATA_IP, the first one set, as\n"
        "host[:port], else 169.254.169.254.\n\n"
        "Exit codes: the child's own; 128+n if signal n ended it; 127 not found; 126 not executable; 1 settings or no\n"
        "first token; 2 usage.\n";
    return text;
}

std::string value_of(const Environment& environment, const std::string& name) {
    const auto variable = environment.find(name);
    return variable != environment.end() ? variable->second : std::string{};
}

/// A value as a message shows it, on one line.
std::string shown(const std::string& value) {
    return nlohmann::json(value).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

EarlyExit bad_usage(const std::string& what) { return {usage_error, program + what + '\n'}; }
EarlyExit unusable(const std::string& what) { return {unusable_settings, program + what + '\n'}; }

std::vector<Option> all_options(const std::vector<Setting>& settings, const std::vector<Switch>& switches) {
    std::vector<Option> options{{help_flag, false, true}, {version_flag, false, true}};
    for (const auto& setting : settings) {
        options.push_back({setting.flag, true, setting.repeatable});
    }
    for (const auto& one : switches) {
        options.push_back({one.flag, false, true});
    }
    return options;
}

/// The values that the command line has for a setting; without one, the environment's.
std::optional<EarlyExit> take_values(Settings& settings, const Setting& setting, const CommandLine& line,
                                     const Environment& environment) {
    bool by_flag = false;
    for (const auto& [flag, value] : line.options) {
        if (flag == setting.flag) {
            by_flag = true;
            if (!setting.take(settings, value)) {
                return bad_usage(setting.flag + " is " + shown(value) + ", allowed is " + setting.allowed);
            }
        }
    }
    const auto value = value_of(environment, setting.variable);
    if (!by_flag && !value.empty() && !setting.take(settings, value)) {
        return bad_usage(setting.variable + " (" + setting.flag + ") is " + shown(value) + ", allowed is " +
                         setting.allowed);
    }
    return std::nullopt;
}

bool has(const CommandLine& line, std::string_view flag) {
    return std::any_of(line.options.begin(), line.options.end(),
                       [flag](const auto& option) { return option.first == flag; });
}

std::optional<EarlyExit> missing_database(const DatabaseSettings& database) {
    std::string missing;
    const auto require = [&missing](const std::string& value, const std::string& name) {
        if (value.empty()) {
            missing += (missing.empty() ? "" : ", ") + name;
        }
    };
    require(database.user, "DB_USER (--db-user)");
    require(database.host, "DB_IP (--db-host)");
    require(database.name, "DB_NAME (--db-name)");
    if (missing.empty()) {
        return std::nullopt;
    }
    return unusable("required and not set: " + missing + " (--no-token runs a command without a database)");
}

/// A user who sets a credential file means it to be used, so one that can't be is refused and never ignored.
std::optional<EarlyExit> refuse_credential_file(const std::string& path) {
    if (path.empty()) {
        return std::nullopt;
    }
    const std::string start = "GOOGLE_APPLICATION_CREDENTIALS is " + shown(path);
    const std::string advice = "; unset it to use the metadata server";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"), &std::fclose};
    if (!file) {
        return unusable(start + ", which can't be read: " + std::strerror(errno) + advice);
    }
    const auto json = nlohmann::json::parse(file.get(), nullptr, /*allow_exceptions=*/false);
    const auto type = json.is_object() ? json.find("type") : json.end();
    if (type == json.end() || !type->is_string()) {
        return unusable(start + ", which names no credential type" + advice);
    }
    return unusable(start + ", a credential of type " + shown(type->get<std::string>()) +
                    ", which is not supported yet" + advice);
}

void strip_user_suffix(Settings& settings) {
    auto& user = settings.database.user;
    if (user.ends_with(service_account_suffix)) {
        user.resize(user.size() - std::string_view{service_account_suffix}.size());
        settings.warnings.push_back("DB_USER: the database knows the service account as " + user +
                                    ", so .gserviceaccount.com is left out");
    }
}

std::optional<EarlyExit> settle_metadata_host(Settings& settings, const Environment& environment) {
    for (const std::string name : {"GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"}) {
        auto host = value_of(environment, name);
        if (host.empty()) {
            continue;
        }
        if (!is_host(host)) {
            return bad_usage(name + " is " + shown(host) + ", allowed is host or host:port, with no scheme");
        }
        settings.metadata_host = std::move(host);
        break;
    }
    return std::nullopt;
}

void settle_log_format(Settings& settings, const Environment& environment) {
    const bool on_cloud_run =
        !value_of(environment, "K_SERVICE").empty() || !value_of(environment, "CLOUD_RUN_WORKER_POOL").empty();
    settings.log_format = settings.log_format.value_or(on_cloud_run ? LogFormat::json : LogFormat::text);
}

void settle_command(Settings& settings) {
    if (!settings.command.empty()) {
        settings.runs_prefect = false;
        return;
    }
    settings.command = {"prefect", "server", "start", "--host", "0.0.0.0", "--port", std::to_string(settings.port)};
}

std::string prefect_health_url(const Settings& settings, const Environment& environment) {
    // Prefect mounts its API there instead of /api.
    auto base = value_of(environment, "PREFECT_SERVER_API_BASE_PATH");
    while (base.ends_with('/')) {
        base.pop_back();
    }
    if (base.empty()) {
        base = "/api";
    } else if (base.front() != '/') {
        base.insert(base.begin(), '/');
    }
    return "http://127.0.0.1:" + std::to_string(settings.port) + base + "/health";
}

}  // namespace

std::string Settings::command_text() const {
    std::string line;
    for (const auto& word : command) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line;
}

boost::system::result<Settings, EarlyExit> read_settings(const std::vector<std::string>& arguments,
                                                         const Environment& environment) {
    const auto all = all_settings();
    const auto switches = all_switches();
    const auto line = parse_command_line(arguments, all_options(all, switches));
    if (!line) {
        return bad_usage(line.error().why);
    }
    if (has(*line, help_flag)) {
        return EarlyExit{0, help_text(all, switches)};
    }
    if (has(*line, version_flag)) {
        return EarlyExit{0, about()};
    }
    Settings settings;
    settings.command = line->command;
    for (const auto& one : switches) {
        if (has(*line, one.flag)) {
            one.turn_on(settings);
        }
    }
    for (const auto& setting : all) {
        if (auto bad = take_values(settings, setting, *line, environment)) {
            return *bad;
        }
    }
    settle_log_format(settings, environment);
    settle_command(settings);
    if (!settings.use_token || settings.probe_url) {
        return settings;
    }
    if (settings.ready_url_is_prefect) {
        settings.ready_url = prefect_health_url(settings, environment);
    }
    if (auto missing = missing_database(settings.database)) {
        return *missing;
    }
    if (auto refused = refuse_credential_file(value_of(environment, "GOOGLE_APPLICATION_CREDENTIALS"))) {
        return *refused;
    }
    if (auto bad = settle_metadata_host(settings, environment)) {
        return *bad;
    }
    strip_user_suffix(settings);
    return settings;
}

}  // namespace supervisor
