#pragma once

#include "base/address.hpp"
#include "base/environment.hpp"
#include "base/log.hpp"

#include <boost/system/result.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace supervisor {

/// How a fresh token reaches the child.
enum class RotationMode {
    restart,   ///< in its environment: drain it and start the next one
    in_place,  ///< in a password file that its driver reads at every new connection
    rolling,   ///< in its environment: start the next one beside it, lead new connections there, and drain it
};

/// The word of --rotation.
std::string_view to_string(RotationMode mode);

struct DatabaseSettings {
    std::string user;
    std::string host;
    std::string name;
    std::uint16_t port = 5432;
    std::optional<std::string> schema{};
    std::optional<std::string> ssl{};
    std::optional<std::string> ssl_root_cert{};
};

/// The file of Application Default Credentials, in google-auth's order (google.auth._default.default).
struct CredentialFile {
    std::string path;
    std::string named_by;  ///< for messages: the variable whose value led to it
};

/// The service account whose token is asked for with the one of our own identity.
struct ImpersonatedAccount {
    std::string email;
    std::vector<std::string> delegates{};  ///< as IAM wants them: ours may act for the first, each for the next
};

/// Everything that the program was told, checked and with the defaults filled in.
struct Settings {
    DatabaseSettings database{};
    std::uint16_t port = 8080;
    RotationMode rotation = RotationMode::restart;
    std::chrono::milliseconds refresh_interval{std::chrono::minutes{55}};
    std::chrono::milliseconds drain_timeout{std::chrono::seconds{30}};
    std::chrono::milliseconds stop_timeout{std::chrono::seconds{8}};
    std::chrono::milliseconds stop_delay{};
    std::chrono::milliseconds start_deadline{std::chrono::seconds{60}};
    std::optional<std::chrono::milliseconds> db_wait{std::chrono::minutes{2}};  ///< without a value nothing is asked
    std::string token_scope = "https://www.googleapis.com/auth/cloud-platform";
    std::string metadata_host =
        "169.254.169.254";  ///< as a URL has it, with an IPv6 address in brackets; may have a port
    std::optional<CredentialFile> credential_file{};  ///< without a value the metadata server is asked
    std::optional<ImpersonatedAccount> impersonated{};
    std::optional<Address> health_address = Address{"0.0.0.0", 8081};
    std::optional<std::string> ready_url{};  ///< without a value the readiness check is off
    bool ready_url_is_prefect = true;        ///< it is the default one, Prefect's own health page, whose body is known
    std::optional<LogFormat> log_format{};   ///< read_settings() always sets it; before that, no value stands for auto
    Level log_level = Level::info;
    bool use_token = true;
    bool check_only = false;
    std::optional<std::string> probe_url{};  ///< ask this URL and exit; no other setting counts then
    std::optional<bool> kill_child{};        ///< the kernel kills the child when we die; none: unless we are PID 1
    bool single_child = false;
    std::vector<int> mapped_exit_codes{};
    std::vector<std::string> command{};  ///< never empty
    bool runs_prefect = true;            ///< `command` is the default one
    std::vector<std::string> warnings{};

    /// Whether the child gets a listening socket of ours. Without a token there is no rotation.
    [[nodiscard]] bool is_rolling() const { return use_token && rotation == RotationMode::rolling; }

    /// The command in one line, for the log.
    [[nodiscard]] std::string command_text() const;
};

/// Why the program ends before it starts: the text for the user, and the exit code. --help and --version end this way,
/// too.
struct EarlyExit {
    int code = 0;
    std::string text;
};

/// Reads the settings. A flag beats its environment variable, which beats the default; an environment variable that is
/// set to nothing counts as not set. A bad value, an unknown flag or two settings that exclude each other give one line
/// and exit code 2; missing or unusable settings give one line and exit code 1. The function looks at the files that a
/// setting names and at nothing else outside its arguments.
boost::system::result<Settings, EarlyExit> read_settings(const std::vector<std::string>& arguments,
                                                         const Environment& environment);

}  // namespace supervisor
