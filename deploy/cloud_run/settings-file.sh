# shellcheck shell=bash
# Where a setting's value comes from: a settings file, or the environment, or the default; sourced by steps.sh.

declare -A file_values=() file_lines=() is_given=()
settings_file=
known_settings=()
# Everything that is wrong with the settings, one line each.
wrong=()

bad() { wrong+=("$*"); }

# The file is read and never run: a value is what stands after the =, to the end of the line.
read_settings_file() {
    local line number=0 name value
    settings_file=$1
    [[ -r $settings_file && ! -d $settings_file ]] || { bad "the settings file $settings_file cannot be read"; return; }
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
        if ! [[ $line =~ ^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]]; then
            bad "$settings_file line $number is neither NAME=value nor a comment"
            continue
        fi
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then value=${BASH_REMATCH[1]}; fi
        if [[ -v file_lines[$name] ]]; then
            bad "$settings_file line $number sets $name again (first in line ${file_lines[$name]})"
            continue
        fi
        file_values[$name]=$value file_lines[$name]=$number
    done <"$settings_file"
}

# setting NAME DEFAULT CHECK...: the variable NAME gets its value, which the check looks at. If the environment's name
# or project is wrong, what is made of it is not reported as well.
setting() {
    local name=$1 default=$2 value= so_far=${#wrong[@]}
    shift 2
    known_settings+=("$name")
    take_value "$name"
    [[ -z $value ]] || is_given[$name]=true
    value=${value:-$default}
    printf -v "$name" %s "$value"
    if [[ -v is_given[$name] ]] || ! $base_is_wrong; then "$@"; fi
    if [[ $name == NAME || $name == PROJECT_ID ]] && ((${#wrong[@]} > so_far)); then base_is_wrong=true; fi
}
base_is_wrong=false

# An exported variable must not get from one environment into another, so a file excludes all others.
take_value() {
    local from_environment=${!1:-} from_file=${file_values[$1]:-}
    if [[ -z $settings_file ]]; then
        value=$from_environment
        return
    fi
    value=$from_file
    if [[ -z $from_environment || $from_environment == "$from_file" ]]; then
        :
    elif [[ -v file_values[$1] ]]; then
        bad "$1 is '$from_environment' in the environment and '$from_file' in $settings_file: unset it"
    else
        bad "$1 is '$from_environment' in the environment and missing in $settings_file: unset it, or add it there"
    fi
}

# extra_settings PREFIX CHECK...: all settings whose names begin so; the rest is the name of a container's variable.
extra_settings() {
    local prefix=$1 name names
    shift
    names=$(compgen -e "$prefix" || true; printf '%s\n' "${!file_values[@]}" | grep "^$prefix" || true)
    for name in $(sort -u <<<"$names"); do
        setting "$name" '' "$@"
        if [[ -z ${!name} ]]; then continue; fi
        if ! [[ ${name#"$prefix"} =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
            bad "$name has no name of a variable after $prefix"
        elif is_of_the_manifest "${name#"$prefix"}" "$prefix"; then
            bad "$name: ${name#"$prefix"} is set by the manifest itself, or by Cloud Run"
        fi
    done
}

default_extra() { [[ " ${known_settings[*]} " == *" $1 "* ]] || setting "$1" "$2" is_text; }

# extra_names PREFIX: the names of these settings that have a value.
extra_names() {
    local name
    for name in "${known_settings[@]}"; do
        if [[ $name == "$1"* && -n ${!name} ]]; then echo "$name"; fi
    done
}

refuse_unknown_names() {
    local name
    for name in "${!file_values[@]}"; do
        if [[ " ${known_settings[*]} " != *" $name "* ]]; then
            bad "$settings_file line ${file_lines[$name]}: $name is no setting"
        fi
    done
}
