# shellcheck shell=bash
# How a step is shown: as commands that can be pasted into a shell and do the same there; sourced by steps.sh.

# A value that is only known when the commands run stands between these two; it is shown as ${NAME}.
later_begins=$'\x01' later_ends=$'\x02'
later() { printf '%s%s%s' "$later_begins" "$1" "$later_ends"; }

# shown WORD...: quoted for the shell.
shown() {
    local word words=() escaped="'\\''"
    for word; do
        if [[ $word == *"$later_begins"* ]]; then
            word=\"$(expanding "$(sed 's/"/\\"/g' <<<"$(escaped_for_heredoc "$word")")")\"
        elif ! [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
            word="'${word//"'"/"$escaped"}'"
        fi
        words+=("$word")
    done
    printf '%s\n' "${words[*]}"
}

escaped_for_heredoc() { sed 's/[\\$`]/\\&/g' <<<"$1"; }

expanding() {
    local text=${1//"$later_begins"/'${'}
    printf '%s' "${text//"$later_ends"/'}'}"
}

# show_line TEXT: as it is.
show_line() { printf '%s\n' "${1:+$indent}$1" >&3; }
indent=

show() { show_line "$(shown "$@")"; }

# show_with_yaml YAML COMMAND...
show_with_yaml() {
    local yaml=$1
    shift
    if [[ $yaml == *"$later_begins"* ]]; then
        show_line "$(shown "$@") <<YAML"
        show_line "$(expanding "$(escaped_for_heredoc "$yaml")")"
    else
        show_line "$(shown "$@") <<'YAML'"
        show_line "$yaml"
    fi
    show_line YAML
}
