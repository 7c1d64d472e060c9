#pragma once

#include "fault.hpp"
#include "log.hpp"

#include <boost/system/result.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace supervisor {

/// How a fresh token reaches the child.
enum class RotationMode {
    restart,   ///< in its environment: drain it and start the next one
    in_place,  ///< in a password file that its driver reads at every new connection
};

struct DatabaseSettings {
    std::string user;
    std::string host;
    std::string name;
    std::uint16_t port = 5432;
    std::optional<std::string> schema{};
    std::optional<std::string> ssl{};
    std::optional<std::string> ssl_root_cert{};
};

struct Address {
    std::string host;
    std::uint16_t port = 0;
};

/// Everything the program was told, checked and with its defaults. The names and defaults are the contract's.
struct Settings {
    DatabaseSettings database{};
    std::uint16_t port = 8080;
    RotationMode rotation = RotationMode::restart;
    std::chrono::milliseconds refresh_interval{std::chrono::minutes{55}};
    std::chrono::milliseconds drain_timeout{std::chrono::seconds{30}};
    std::chrono::milliseconds stop_timeout{std::chrono::seconds{8}};
    std::chrono::milliseconds start_deadline{std::chrono::seconds{60}};
    std::string token_scope = "https://www.googleapis.com/auth/cloud-platform";
    std::string metadata_host = "169.254.169.254";
    std::optional<Address> health_address = Address{"0.0.0.0", 8081};
    std::optional<std::string> ready_url{};  ///< none: the readiness question is off
    bool ready_url_is_prefect = true;        ///< the default one: Prefect's own health page, whose body is known
    std::optional<LogFormat> log_format{};   ///< always there once read; none stands for auto before
    Level log_level = Level::info;
    bool use_token = true;
    bool check_only = false;
    std::optional<std::string> probe_url{};  ///< ask it and exit; no other setting counts then
    bool single_child = false;
    std::vector<int> mapped_exit_codes{};
    std::vector<std::string> command{};  ///< never empty
    bool runs_prefect = true;            ///< the command is the default one
    std::vector<std::string> warnings{};

    /// The command in one line, for the log.
    [[nodiscard]] std::string command_text() const;
};

/// Why the program ends before it starts: text for the user, and the exit code. --help and --version end so, too.
struct EarlyExit {
    int code = 0;
    std::string text;
};

using Environment = std::map<std::string, std::string>;

/// Reads the settings: a flag beats its environment variable beats the default; an environment variable that is set
/// to nothing counts as not set. Bad values and unknown flags are one line and code 2, missing or unusable
/// settings one line and code 1. Files that a setting names are looked at, nothing else is.
boost::system::result<Settings, EarlyExit> read_settings(const std::vector<std::string>& arguments,
                                                         const Environment& environment);

}  // namespace supervisor
