#pragma once

#include "base/fault.hpp"

#include <string>
#include <utility>
#include <vector>

namespace supervisor {

/// An option that the command line may have.
struct Option {
    std::string flag;  ///< with its dashes
    bool takes_value = true;
    bool repeatable = false;
};

/// A command line taken apart, its values not looked at yet.
struct CommandLine {
    std::vector<std::pair<std::string, std::string>> options;  ///< flag and value, in the order given
    std::vector<std::string> command;                          ///< the words behind `--`; empty without one
};

/// Takes `arguments`, the program's name not among them, apart as getopt_long(3) does: `--flag value` and
/// `--flag=value`, up to `--`. The fault is the usage error in one line.
Result<CommandLine> parse_command_line(std::vector<std::string> arguments, const std::vector<Option>& known);

}  // namespace supervisor
