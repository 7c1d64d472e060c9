#include "config/settings.hpp"

#include "config/command_line.hpp"
#include "config/help_text.hpp"
#include "config/licenses.hpp"
#include "config/prefect_command.hpp"
#include "config/settings_table.hpp"
#include "config/version.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace supervisor {
namespace {

constexpr int usage_error = 2;
constexpr int unusable_settings = 1;
constexpr auto help_flag = "--help";
constexpr auto version_flag = "--version";
constexpr auto licenses_flag = "--licenses";
constexpr auto program = "prefect-supervisor: ";
constexpr auto service_account_suffix = ".gserviceaccount.com";

/// A value as a message shows it: in quotes, and always on one line.
std::string shown(const std::string& value) {
    return nlohmann::json(value).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

EarlyExit bad_usage(const std::string& what) { return {usage_error, program + what + '\n'}; }
EarlyExit unusable(const std::string& what) { return {unusable_settings, program + what + '\n'}; }

std::vector<Option> all_options(const std::vector<Setting>& settings, const std::vector<Switch>& switches) {
    std::vector<Option> options;
    for (const auto& one : early_flags()) {
        options.push_back({one.flag, false, true});
    }
    for (const auto& setting : settings) {
        options.push_back({setting.flag, true, setting.repeatable});
    }
    for (const auto& one : switches) {
        options.push_back({one.flag, false, true});
    }
    return options;
}

/// Reads the values that the command line has for a setting or, if it has none, the value of the environment.
std::optional<EarlyExit> parse_values(Settings& settings, const Setting& setting, const CommandLine& line,
                                      const Environment& environment) {
    bool by_flag = false;
    for (const auto& [flag, value] : line.options) {
        if (flag == setting.flag) {
            by_flag = true;
            if (!setting.parse(settings, value)) {
                return bad_usage(setting.flag + " is " + shown(value) + ", allowed is " + setting.allowed);
            }
        }
    }
    const auto value = value_of(environment, setting.variable);
    if (!by_flag && !value.empty() && !setting.parse(settings, value)) {
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

/// The file that the user names is used whether it can be or not: one that can't is refused later, and never ignored. That of
/// gcloud is used when it is there (google.auth._cloud_sdk.get_config_path).
void settle_credential_file(Settings& settings, const Environment& environment) {
    const std::string variable = "GOOGLE_APPLICATION_CREDENTIALS";
    std::error_code error;
    if (const auto path = value_of(environment, variable); !path.empty()) {
        // It is read later, too, when we have left the working directory.
        settings.credential_file = CredentialFile{std::filesystem::absolute(path, error).string(), variable};
        return;
    }
    std::string named_by = "CLOUDSDK_CONFIG";
    auto folder = value_of(environment, named_by);
    if (folder.empty()) {
        named_by = "HOME";
        folder = value_of(environment, named_by);
        if (folder.empty()) {
            return;
        }
        folder += "/.config/gcloud";
    }
    const auto path = std::filesystem::absolute(folder + "/application_default_credentials.json", error);
    if (std::filesystem::is_regular_file(path, error)) {
        settings.credential_file = CredentialFile{path.string(), "gcloud's, by " + named_by};
    }
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
        const auto value = value_of(environment, name);
        if (value.empty()) {
            continue;
        }
        auto host = parse_url_host(value);
        if (!host) {
            return bad_usage(
                name + " is " + shown(value) +
                ", allowed is host or host:port, with no scheme; an IPv6 address needs brackets before a port");
        }
        settings.metadata_host = std::move(*host);
        break;
    }
    return std::nullopt;
}

void settle_log_format(Settings& settings, const Environment& environment) {
    // A service, a worker pool and a job have a variable each (https://cloud.google.com/run/docs/container-contract).
    constexpr std::array names{"K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_JOB"};
    const bool on_cloud_run = std::any_of(
        names.begin(), names.end(), [&environment](const char* name) { return !value_of(environment, name).empty(); });
    settings.log_format = settings.log_format.value_or(on_cloud_run ? LogFormat::json : LogFormat::text);
}

void settle_command(Settings& settings, const Environment& environment) {
    if (!settings.command.empty()) {
        settings.runs_prefect = false;
        return;
    }
    settings.command = settings.is_rolling() ? prefect_under_uvicorn(settings.drain_timeout, environment)
                                             : prefect_server_start(settings.port);
}

/// Prefect would start after our own server and find its port in use. A command of the user with a readiness URL of its
/// own need not use PORT at all.
std::optional<EarlyExit> same_port_twice(const Settings& settings) {
    const bool port_is_used =
        settings.runs_prefect || settings.is_rolling() || (settings.use_token && settings.ready_url_is_prefect);
    if (!port_is_used || !settings.health_address || settings.health_address->port != settings.port) {
        return std::nullopt;
    }
    return bad_usage("PORT (--port) and SUPERVISOR_HEALTH_ADDRESS (--health-address) both name port " +
                     std::to_string(settings.port) + "; --health-address takes another one, or off");
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

std::string_view to_string(RotationMode mode) {
    switch (mode) {
        case RotationMode::restart: return "restart";
        case RotationMode::in_place: return "in-place";
        case RotationMode::rolling: return "rolling";
    }
    return "unknown";
}

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
        return EarlyExit{0, version_text()};
    }
    if (has(*line, licenses_flag)) {
        return EarlyExit{0, std::string{licenses}};
    }
    Settings settings;
    settings.command = line->command;
    for (const auto& one : switches) {
        if (has(*line, one.flag)) {
            one.turn_on(settings);
        }
    }
    for (const auto& setting : all) {
        if (auto bad = parse_values(settings, setting, *line, environment)) {
            return *bad;
        }
    }
    settle_log_format(settings, environment);
    settle_command(settings, environment);
    if (settings.probe_url) {
        return settings;
    }
    if (auto bad = same_port_twice(settings)) {
        return *bad;
    }
    if (!settings.use_token) {
        return settings;
    }
    if (settings.stop_timeout == std::chrono::milliseconds{0}) {
        return bad_usage(
            "SUPERVISOR_STOP_TIMEOUT (--stop-timeout) is \"0s\", allowed is a duration such as 90s, 55m, "
            "1h30m or 250ms, and 0s only with --no-token");
    }
    if (auto missing = missing_database(settings.database)) {
        return *missing;
    }
    settle_credential_file(settings, environment);
    if (auto bad = settle_metadata_host(settings, environment)) {
        return *bad;
    }
    if (settings.ready_url_is_prefect) {
        settings.ready_url = prefect_health_url(settings, environment);
    }
    strip_user_suffix(settings);
    return settings;
}

}  // namespace supervisor
