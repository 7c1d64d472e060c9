#!/bin/bash
# Puts the libraries of the arm64 cross build into .deps/arm64/sysroot: the distribution's packages, unpacked. apt works
# with a state of its own here, so this needs no root, and the machine's dpkg gets no second architecture.
set -euo pipefail

fail() { echo "fetch-arm64: $*" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
arm64=$(dirname "$here")/.deps/arm64
packages=(libboost1.83-dev nlohmann-json3-dev libspdlog-dev libfmt-dev)

command -v apt-get >/dev/null || fail "needs apt-get (Debian 12, Debian 13 or Ubuntu 24.04)"
rm -rf "$arm64"
mkdir -p "$arm64/apt/lists/partial" "$arm64/apt/cache/archives/partial" "$arm64/download"
trap 'rm -rf "$arm64/apt" "$arm64/download" "$arm64/unpacked"' EXIT
cd "$arm64/download"

# The machine's sources, keys, proxies and preferences stay in use; its hooks would touch its own apt state.
touch "$arm64/apt/status"
cat >"$arm64/apt/apt.conf" <<TEXT
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$arm64/apt";
Dir::State::status "$arm64/apt/status";
Dir::Cache "$arm64/apt/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
TEXT
apt_get() { apt-get -qq -c "$arm64/apt/apt.conf" "$@" </dev/null; }
apt_cache() { apt-cache -c "$arm64/apt/apt.conf" "$@" 2>/dev/null; }

# A source without arm64 does no harm as long as another one has the packages.
apt_get update || echo "fetch-arm64: apt-get update failed for some sources (see above); trying all the same" >&2
# Catch2's static library is in libcatch2-dev since Debian 13 and its backports, and in catch2 before.
if apt_cache show libcatch2-dev >/dev/null; then packages+=(libcatch2-dev); else packages+=("catch2=3.*"); fi
# The CMake packages of fmt and spdlog insist on the shared libraries, whose packages have a version in their names.
mapfile -t shared < <(apt_cache depends libfmt-dev libspdlog-dev | sed -nE 's/^ *Depends: (lib(fmt|spdlog)[0-9].*)/\1/p')
packages+=("${shared[@]}")
apt_get download "${packages[@]}" ||
    fail "apt can't download the libraries for arm64 (see above); Ubuntu has them in an archive of its own, ubuntu-ports," \
        "which has to be added to apt's sources"

for package in *.deb; do
    dpkg-deb -x "$package" "$arm64/unpacked" || fail "dpkg-deb can't unpack $package"
done
mv "$arm64/unpacked" "$arm64/sysroot"
