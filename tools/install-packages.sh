#!/bin/bash
# Installs the distribution packages that building and testing need, on Debian 12, Debian 13 and Ubuntu 24.04.
# Does nothing, and needs neither root nor a network, when all of them are installed.
#
#   tools/install-packages.sh [--check] GROUP...        groups: build, run, test, compose, docker, arm64, fuzz, coverage, lint
#
# --check installs nothing: the exit code says whether all of them are installed.
set -euo pipefail

fail() { echo "install-packages: $*" >&2; exit 1; }

usable_node() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null
}
usable_go() { GOTOOLCHAIN=local go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'; }

only_check=
if [[ ${1:-} == --check ]]; then
    only_check=1
    shift
fi

# shellcheck disable=SC1091
distribution=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")

# Debian 12 has the packages of the second list too old, and takes them from its backports.
packages=() newer_packages=()
for group; do
    case $group in
        build)
            packages+=(bzip2 ca-certificates g++ cmake ninja-build patch pkg-config nlohmann-json3-dev libspdlog-dev libfmt-dev)
            newer_packages+=(libboost1.83-dev catch2)
            ;;
        run)
            packages+=(ca-certificates python3 python3-venv util-linux)
            usable_node || packages+=(nodejs npm)
            ;;
        # What tests/system, tests/packages and google_emulator/tests call: add a package that a new test needs here, and those of
        # tests/docker to the group docker. iproute2 makes network namespaces (`ip netns`); strace watches and fails system calls.
        test)
            packages+=(bash-completion curl file gettext-base git haproxy iproute2 lintian man-db mandoc nginx-light openssl
                       postgresql-client procps prometheus redis-server strace tini zsh)
            usable_go || newer_packages+=(golang-go)
            ;;
        # An engine from another source also works. Debian 13 has its client in a package of its own; Ubuntu 24.04 has a
        # docker-compose that does not start any more, beside another that does, and Chromium as a snap only, without which
        # the tests of the UI are left out.
        compose)
            command -v dockerd >/dev/null || packages+=(docker.io)
            command -v docker >/dev/null || [[ $distribution != trixie ]] || packages+=(docker-cli)
            if ! docker compose version >/dev/null 2>&1 && ! docker-compose version >/dev/null 2>&1; then
                if [[ $distribution == noble ]]; then packages+=(docker-compose-v2); else packages+=(docker-compose); fi
            fi
            ;;
        docker)
            packages+=(curl debootstrap iptables iproute2 procps slirp4netns util-linux)
            [[ $distribution == noble ]] || packages+=(chromium chromium-driver)
            ;;
        lint) packages+=(clang clang-tidy) ;;
        # The second one has libFuzzer, the sanitizers and what counts executed lines, and the third one the programs that name the
        # lines in their reports.
        fuzz | coverage) packages+=(clang libclang-rt-dev llvm) ;;
        # Unlike qemu-user-static, qemu-user does not change how the machine executes programs.
        arm64)
            packages+=(file)
            command -v aarch64-linux-gnu-g++ >/dev/null || packages+=(g++-aarch64-linux-gnu)
            command -v qemu-aarch64 >/dev/null || command -v qemu-aarch64-static >/dev/null || packages+=(qemu-user)
            ;;
        *) fail "unknown group '$group' (known: build, run, test, compose, docker, arm64, fuzz, coverage, lint)" ;;
    esac
done

installed_version() {
    dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null | sed -n 's/^installed //p'
}

# Prints those of its arguments that are not installed, or are in Debian 12's own, too old, version.
missing() {
    local package
    for package; do
        case $package=$(installed_version "$package") in
            *= | catch2=2.* | golang-go=2:1.19*) echo "$package" ;;
        esac
    done
}

mapfile -t wanted < <(missing "${packages[@]}")
mapfile -t newer_wanted < <(missing "${newer_packages[@]}")
(( ${#wanted[@]} + ${#newer_wanted[@]} )) || exit 0
[[ $only_check ]] && exit 1

command -v apt-get >/dev/null || fail "needs apt-get (Debian 12, Debian 13 or Ubuntu 24.04)"
as_root=()
if (( EUID != 0 )); then
    command -v sudo >/dev/null ||
        fail "to install ${wanted[*]} ${newer_wanted[*]}, run this as root: no sudo was found"
    as_root=(sudo)
fi
apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
        </dev/null
}

# Adds package source $2 ("deb deb-src", "deb-src") of suite $3, as a copy of the machine's own source for suite $1, so
# that mirror, options and signing key stay the machine's own. Both of apt's formats are understood.
add_suite() {
    local own_suite=$1 types=$2 new_suite=$3 target=/etc/apt/sources.list.d/prefect-supervisor entries
    [[ -e $target.sources || -e $target.list ]] && return
    entries=$(
        cat_all /etc/apt/sources.list.d/*.sources | awk -v own="$own_suite" -v types="$types" -v new="$new_suite" '
            BEGIN { RS = ""; FS = "\n" }
            {
                matches = 0; stanza = ""
                for (i = 1; i <= NF; ++i) {
                    if ($i ~ /^#/) continue
                    if ($i ~ "^Suites:(.*[ \t])?" own "([ \t]|$)") matches = 1
                    if ($i ~ /^Enabled:[ \t]*no/) next
                    if ($i ~ /^Types:/) $i = "Types: " types
                    if ($i ~ /^Suites:/) $i = "Suites: " new
                    if ($i ~ /^Components:/) $i = "Components: main"
                    stanza = stanza $i "\n"
                }
                if (matches) { printf "%s", stanza; exit }
            }'
    )
    if [[ $entries ]]; then
        target+=.sources
    else
        target+=.list
        entries=$(
            cat_all /etc/apt/sources.list /etc/apt/sources.list.d/*.list |
                sed -nE "s/^deb[ \t]+((\[[^]]*\][ \t]+)?[^ \t]+)[ \t]+$own_suite[ \t].*/\1 $new_suite main/p" |
                sed -n 1p
        )
        [[ $entries ]] || fail "found no source for '$own_suite' in /etc/apt to derive '$new_suite' from; add it yourself"
        entries=$(for type in $types; do echo "$type $entries"; done)
    fi
    echo "install-packages: adding $new_suite ($types) in $target"
    "${as_root[@]}" tee "$target" >/dev/null <<<"$entries"
}
# Prints the files that exist, with an empty line after each.
cat_all() {
    local file
    for file; do
        [[ -r $file ]] && cat "$file" && echo
    done
    true
}

# The packages of the load balancers, of Prometheus and of Redis start a service each, on a port that others may want. The tests start
# their own.
keep_services_off() {
    local policy=/usr/sbin/policy-rc.d
    [[ " ${wanted[*]} " =~ " haproxy "|" nginx-light "|" prometheus "|" redis-server " && ! -e $policy ]] || return 0
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod a+x "$policy"
    trap '"${as_root[@]}" rm -f /usr/sbin/policy-rc.d
          "${as_root[@]}" systemctl --quiet disable haproxy.service nginx.service prometheus.service redis-server.service 2>/dev/null || true' EXIT
}

newer_release=()
case $distribution in
    bookworm)
        add_suite bookworm "deb deb-src" bookworm-backports
        newer_release=(-t bookworm-backports)
        ;;
    # The source of curl comes from there.
    trixie) add_suite trixie deb-src trixie ;;
    noble) ;;
    *) echo "install-packages: '$distribution' is not Debian 12, 13 or Ubuntu 24.04; trying all the same" >&2 ;;
esac

echo "install-packages: installing ${wanted[*]} ${newer_wanted[*]}"
keep_services_off
apt_get update || fail "apt-get update failed (see above)"
if (( ${#wanted[@]} )); then
    apt_get install -y --no-install-recommends "${wanted[@]}" || fail "apt-get could not install ${wanted[*]} (see above)"
fi
if (( ${#newer_wanted[@]} )); then
    apt_get install -y --no-install-recommends "${newer_release[@]}" "${newer_wanted[@]}" ||
        fail "apt-get could not install ${newer_wanted[*]} (see above)"
fi
