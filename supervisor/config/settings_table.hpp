#pragma once

#include "config/settings.hpp"

#include <functional>
#include <string>
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
};

/// A flag of the command line that takes no value.
struct Switch {
    std::string flag;
    std::string help;
    std::function<void(Settings&)> turn_on;
};

/// All settings with a value, in the order in which the help shows them.
std::vector<Setting> all_settings();

/// All switches but --help and --version, which end the program.
std::vector<Switch> all_switches();

}  // namespace supervisor
