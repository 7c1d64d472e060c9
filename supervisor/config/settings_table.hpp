#pragma once

#include "config/settings.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace supervisor {

/// Reads one setting's text into Settings; returns false if the text is not allowed.
using Parser = std::function<bool(Settings&, const std::string&)>;

/// A setting with a value: its names, its help and how its text is read.
struct Setting {
    std::string variable;  ///< empty for a setting that only has a flag
    std::string flag;      ///< with its dashes
    std::string placeholder;
    std::string help;
    std::string allowed;  ///< what is allowed, for the message about a bad value
    Parser parse;
    bool repeatable = false;
    std::vector<std::string> words{};  ///< the values that are words, which a shell can complete
};

/// A flag of the command line that takes no value.
struct Switch {
    std::string flag;
    std::string help;
    std::function<void(Settings&)> turn_on;
};

/// A flag that prints something and ends the program, whatever else is set.
struct EarlyFlag {
    std::string flag;
    std::string help;
};

/// An exit code of the program itself; every other one is the child's.
struct ExitCode {
    int code;
    std::string meaning;
};

/// All settings with a value, in the order in which the help shows them.
std::vector<Setting> all_settings();

/// All switches but those that end the program.
std::vector<Switch> all_switches();

/// --help, --version and --licenses.
std::vector<EarlyFlag> early_flags();

std::vector<ExitCode> own_exit_codes();

/// What the help says of the environment beside the settings.
inline constexpr std::string_view environment_help =
    "Tokens come from the credential file that GOOGLE_APPLICATION_CREDENTIALS names, or from gcloud's application "
    "default "
    "credentials if they are there, or from the metadata server: the first of GCE_METADATA_HOST, GCE_METADATA_ROOT and "
    "GCE_METADATA_IP that is set, in the form host[:port]; without them it is 169.254.169.254. Credential files need "
    "HTTPS: SSL_CERT_FILE names the authorities, and https_proxy a proxy.";

}  // namespace supervisor
