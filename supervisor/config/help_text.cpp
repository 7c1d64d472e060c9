#include "config/help_text.hpp"

#include <algorithm>

namespace supervisor {
namespace {

constexpr std::size_t width = 110;

/// Appends words from a column on, wrapped at the width, and ends the line. A line that reaches the column is left alone.
void append_wrapped(std::string& text, std::size_t column, std::string_view rest) {
    std::size_t at = text.size() - (text.rfind('\n') + 1);
    const auto new_line = [&text, &at, column] {
        text += '\n' + std::string(column, ' ');
        at = column;
    };
    if (at > 0 && at + 1 >= column) {
        new_line();
    } else {
        text += std::string(column - at, ' ');
        at = column;
    }
    while (!rest.empty()) {
        const auto word = rest.substr(0, rest.find(' '));
        if (at > column && at + 1 + word.size() > width) {
            new_line();
        } else if (at > column) {
            text += ' ';
            ++at;
        }
        text.append(word);
        at += word.size();
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    }
    text += '\n';
}

void append_entry(std::string& text, const std::string& flag, const std::string& help) {
    text += "  " + flag;
    append_wrapped(text, 30, help);
}

}  // namespace

std::string help_text(const std::vector<Setting>& settings, const std::vector<Switch>& switches) {
    std::string text;
    text.append(synopsis).append("\n\n").append(summary).append("\n").append(precedence).append("\n\n");
    for (const auto& one : early_flags()) {
        append_entry(text, one.flag, one.help);
    }
    for (const auto& one : switches) {
        append_entry(text, one.flag, one.help);
    }
    for (const auto& setting : settings) {
        const auto variable = setting.variable.empty() ? "" : " (" + setting.variable + ")";
        append_entry(text, setting.flag + ' ' + setting.placeholder, setting.help + variable);
    }
    text += '\n';
    append_wrapped(text, 0, environment_help);
    std::string codes = "The exit code is the child's own, or 128+n if signal n ended it.";
    for (const auto& [code, meaning] : own_exit_codes()) {
        codes += (codes.ends_with('.') ? " " : "; ") + std::to_string(code) + ": " + meaning;
    }
    text += '\n';
    append_wrapped(text, 0, codes + '.');
    return text;
}

}  // namespace supervisor
