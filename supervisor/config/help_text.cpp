#include "config/help_text.hpp"

#include <algorithm>
#include <string_view>

namespace supervisor {
namespace {

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

}  // namespace

std::string help_text(const std::vector<Setting>& settings, const std::vector<Switch>& switches) {
    std::string text =
        "prefect-supervisor [OPTIONS] [-- COMMAND [ARG...]]\n\n"
        "Runs Prefect Server, or COMMAND, and replaces its database token before it expires; as PID 1 or not.\n"
        "A flag overrides its environment variable (in parentheses), which overrides the default (in brackets).\n\n";
    text += help_entry("--help", "show this text and exit");
    text += help_entry("--version", "show the version, commit, compiler and libraries, and exit");
    for (const auto& one : switches) {
        text += help_entry(one.flag, one.help);
    }
    for (const auto& setting : settings) {
        const auto variable = setting.variable.empty() ? "" : " (" + setting.variable + ")";
        text += help_entry(setting.flag + ' ' + setting.placeholder, setting.help + variable);
    }
    text +=
        "\nThe metadata server is the first of GCE_METADATA_HOST, GCE_METADATA_ROOT and GCE_METADATA_IP that is set,\n"
        "in the form host[:port]; without them it is 169.254.169.254.\n\n"
        "The exit code is the child's own, or 128+n if signal n ended it. 127: the command was not found; 126: it is\n"
        "not executable; 1: a setting is missing or no first token came; 2: wrong usage.\n";
    return text;
}

}  // namespace supervisor
