#include "completions.hpp"

#include "config/settings_table.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

namespace supervisor {
namespace {

std::string joined(const std::vector<std::string>& words, std::string_view between) {
    std::string text;
    for (const auto& word : words) {
        text.append(text.empty() ? "" : between).append(word);
    }
    return text;
}

bool is_file(const Setting& setting) { return setting.placeholder == "FILE"; }

/// The first sentence of a help text, without the default, as zsh shows it beside a flag; quoted for its _arguments.
std::string description(const std::string& help) {
    const auto end = std::min({help.find(". "), help.find("; "), help.find(" ["), help.size()});
    std::string text;
    for (const char one : help.substr(0, end)) {
        if (std::string_view{"[]:\\"}.find(one) != std::string_view::npos) {
            text += '\\';
        }
        text += one == '\'' ? "'\\''" : std::string(1, one);
    }
    return text;
}

constexpr auto bash_begin =
    R"(# Completes the command line of prefect-supervisor in bash. Generated from the program's table of settings.
_prefect_supervisor() {
    local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; ++i)); do
        [[ ${COMP_WORDS[i]} == -- ]] || continue
        # What follows is COMMAND, with its own arguments.
        if declare -F _command_offset >/dev/null; then
            _command_offset $((i + 1))
        elif ((i + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$word")
        else
            compopt -o default
        fi
        return
    done
    # For bash --flag=value is three words.
    if [[ $word == '=' ]]; then
        word=''
    elif [[ $flag == '=' ]] && ((COMP_CWORD > 2)); then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $flag in
)";
constexpr auto bash_end = R"(    esac
}
complete -F _prefect_supervisor prefect-supervisor
)";

}  // namespace

std::string bash_completion() {
    std::string text = bash_begin;
    std::vector<std::string> flags;
    std::vector<std::string> without_words;
    for (const auto& one : early_flags()) {
        flags.push_back(one.flag);
    }
    for (const auto& one : all_switches()) {
        flags.push_back(one.flag);
    }
    for (const auto& setting : all_settings()) {
        flags.push_back(setting.flag);
        if (is_file(setting)) {
            text += "        " + setting.flag +
                    ") compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n";
        } else if (setting.words.empty()) {
            without_words.push_back(setting.flag);
        } else {
            text += "        " + setting.flag + ") mapfile -t COMPREPLY < <(compgen -W '" + joined(setting.words, " ") +
                    "' -- \"$word\") ;;\n";
        }
    }
    // A value that only the user knows.
    text += "        " + joined(without_words, " | ") + ") ;;\n";
    text += "        *) mapfile -t COMPREPLY < <(compgen -W '" + joined(flags, " ") + " --' -- \"$word\") ;;\n";
    return text + bash_end;
}

std::string zsh_completion() {
    std::string text =
        "#compdef prefect-supervisor\n"
        "# Completes the command line of prefect-supervisor in zsh. Generated from the program's table of settings.\n"
        "_arguments -S \\\n";
    for (const auto& one : early_flags()) {
        text += "    '(- *)" + one.flag + '[' + description(one.help) + "]' \\\n";
    }
    for (const auto& one : all_switches()) {
        text += "    '" + one.flag + '[' + description(one.help) + "]' \\\n";
    }
    for (const auto& setting : all_settings()) {
        const std::string words = setting.words.empty() ? "" : '(' + joined(setting.words, " ") + ')';
        text += std::string{"    '"} + (setting.repeatable ? "*" : "") + setting.flag + "=[" +
                description(setting.help) + "]:" + setting.placeholder + ':' +
                (is_file(setting) ? "_files"
                 : words.empty()  ? " "
                                  : words) +
                "' \\\n";
    }
    // What follows -- is COMMAND, with its own arguments.
    return text + "    '(-)1:COMMAND:_command_names -e' \\\n    '*::ARG:_normal'\n";
}

}  // namespace supervisor
