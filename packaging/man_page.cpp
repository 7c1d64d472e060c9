#include "man_page.hpp"

#include "config/help_text.hpp"
#include "config/settings_table.hpp"
#include "config/version.hpp"

#include <algorithm>
#include <string_view>

namespace supervisor {
namespace {

/// Text as roff shows it unchanged: a hyphen is one that can be copied into a shell, and no line is taken for a request.
std::string escaped(std::string_view text) {
    std::string result;
    for (const char one : text) {
        switch (one) {
            case '\\': result += "\\e"; break;
            case '-': result += "\\-"; break;
            case '\'': result += "\\(aq"; break;
            default: result += one;
        }
    }
    return result.starts_with('.') ? "\\&" + result : result;
}

/// The words in lines of at most 80 characters, as mandoc wants them.
std::string lines(std::string_view text) {
    constexpr std::size_t width = 80;
    std::string result;
    std::size_t at = 0;
    while (!text.empty()) {
        const auto word = text.substr(0, text.find(' '));
        const auto shown = escaped(word);
        if (at > 0 && at + 1 + shown.size() > width) {
            result += '\n';
            at = 0;
        } else if (at > 0) {
            result += ' ';
            ++at;
        }
        result += shown;
        at += shown.size();
        text.remove_prefix(std::min(text.size(), word.size() + 1));
    }
    return result + '\n';
}

std::string entry(const std::string& flag, const std::string& placeholder, const std::string& help) {
    auto text = ".TP\n.B " + escaped(flag);
    if (!placeholder.empty()) {
        text = ".TP\n.BI " + escaped(flag) + " \" " + escaped(placeholder) + '"';
    }
    return text + '\n' + lines(help);
}

std::string variables() {
    std::string text;
    for (const auto& setting : all_settings()) {
        if (!setting.variable.empty()) {
            text += ".TP\n.B " + escaped(setting.variable) + "\nthe value of\n.BR " + escaped(setting.flag) + " .\n";
        }
    }
    text += ".PP\n";
    text += lines(environment_help);
    return text;
}

std::string exit_codes() {
    auto text = lines("The exit code is the child's own, or 128+n if signal n ended it. The program's own are:");
    for (const auto& [code, meaning] : own_exit_codes()) {
        text += ".TP\n.B " + std::to_string(code) + '\n' + lines(meaning + '.');
    }
    return text;
}

constexpr auto examples = R"(.SH EXAMPLES
Prefect Server with its database on Cloud SQL:
.PP
.RS
.nf
DB_USER=prefect@project.iam DB_IP=10.0.0.3 DB_NAME=prefect \e
prefect\-supervisor \-\-rotation in\-place
.fi
.RE
.PP
A plain init for any program:
.PP
.RS
.nf
prefect\-supervisor \-\-no\-token \-\- python worker.py
.fi
.RE
.SH SEE ALSO
.BR tini (1)
.PP
The meaning of each log line, probe answer and exit code is in
docs/operations.md of the source.
)";

}  // namespace

std::string man_page(const std::string& date) {
    auto text = ".\\\" Generated from the table of settings that \\-\\-help prints.\n.TH PREFECT\\-SUPERVISOR 8 " +
                date + " \"prefect\\-supervisor " + std::string{version} + "\"\n";
    text += ".SH NAME\nprefect\\-supervisor \\- PID 1 for Prefect Server on Cloud Run\n";
    text +=
        ".SH SYNOPSIS\n.B prefect\\-supervisor\n.RI [ OPTIONS ]\n.RI \"[\\-\\- \" COMMAND \" [\" ARG \".\\|.\\|.]]\"\n";
    text += ".SH DESCRIPTION\n" + lines(summary) + ".PP\n" + lines(precedence);
    text += ".SH OPTIONS\n";
    for (const auto& one : early_flags()) {
        text += entry(one.flag, "", one.help);
    }
    for (const auto& one : all_switches()) {
        text += entry(one.flag, "", one.help);
    }
    for (const auto& setting : all_settings()) {
        const auto variable = setting.variable.empty() ? "" : " (" + setting.variable + ")";
        text += entry(setting.flag, setting.placeholder, setting.help + variable);
    }
    text += ".SH EXIT STATUS\n" + exit_codes();
    text += ".SH ENVIRONMENT\n" + variables();
    return text + examples;
}

}  // namespace supervisor
