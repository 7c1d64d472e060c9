#!/bin/bash
# Asks the registries which digests the tags in docker/base-images have now, and writes them there and wherever else the same
# images are named in docker/ and .github/workflows/. With --check it changes nothing, and the exit code says whether all are new.
#
#   tools/update-base-images.sh [--check] [NAME...]        NAME: such as DEBIAN_IMAGE; without one, all that have a digest
#
# The protocol is the OCI distribution specification's: HEAD of a manifest, and the token that a registry asks for. REGISTRY=URL in
# the environment is the registry to ask for all images, that of the official ones or a mirror of your own.
set -euo pipefail

cd "$(dirname "$0")/.."
list=docker/base-images
sha256='sha256:[0-9a-f]{64}'
index_types=(application/vnd.oci.image.index.v1+json application/vnd.docker.distribution.manifest.list.v2+json)

fail() { echo "update-base-images: error: $*" >&2; exit 1; }
# header NAME: the last value of that header in the answer on standard input.
header() { tr -d '\r' | sed -nE "s/^$1: *(.*)$/\1/Ip" | tail -n1; }
ask() { curl --silent --show-error --max-time 30 --retry 2 "$@"; }

# token CHALLENGE: the token that the challenge of a 401 asks for.
token() {
    local challenge=$1 realm service scope answer
    parameter() { sed -nE "s/.*[ ,]$1=\"([^\"]*)\".*/\1/p" <<<"$challenge"; }
    [[ $challenge == Bearer\ * ]] || fail "the registry asks for a login that is not known here: $challenge"
    realm=$(parameter realm) service=$(parameter service) scope=$(parameter scope)
    [[ $realm ]] || fail "the registry does not say where its tokens are: $challenge"
    answer=$(ask --fail --get ${service:+--data-urlencode "service=$service"} ${scope:+--data-urlencode "scope=$scope"} "$realm") ||
        fail "no token from $realm"
    sed -nE 's/.*"(access_)?token" *: *"([^"]+)".*/\2/p' <<<"$(tr -d '\n' <<<"$answer")"
}

# digest_of IMAGE:TAG: the digest of its index, which all architectures share.
digest_of() {
    local name=${1%:*} tag=${1##*:} url answer status bearer digest type accept=()
    if [[ ${name%%/*} == *[.:]* && $name == */* ]]; then
        url=${REGISTRY:-https://${name%%/*}} name=${name#*/}
    else
        url=${REGISTRY:-}
        [[ $url ]] || fail "$1 does not say where it is: REGISTRY=URL is missing"
    fi
    [[ $name == */* ]] || name=library/$name
    url=$url/v2/$name/manifests/$tag
    for type in "${index_types[@]}"; do accept+=(--header "Accept: $type"); done
    answer=$(ask --head "${accept[@]}" "$url") || fail "no answer from $url"
    if grep -Eq '^HTTP/[0-9.]+ 401' <<<"$answer"; then
        bearer=$(token "$(header WWW-Authenticate <<<"$answer")")
        [[ $bearer ]] || fail "the registry gave no token for $1"
        answer=$(ask --head "${accept[@]}" --header "Authorization: Bearer $bearer" "$url") || fail "no answer from $url"
    fi
    status=$(sed -nE 's/^HTTP\/[0-9.]+ ([0-9]+).*/\1/p' <<<"$answer" | tail -n1)
    [[ $status == 200 ]] || fail "$url answers $status"
    type=$(header Content-Type <<<"$answer")
    [[ " ${index_types[*]} " == *" ${type%%;*} "* ]] || fail "$1 is no index of several architectures, but $type"
    digest=$(header Docker-Content-Digest <<<"$answer")
    [[ $digest =~ ^$sha256$ ]] || fail "$url names no digest of the form sha256:..., but '$digest'"
    echo "$digest"
}

check=''
if [[ ${1:-} == --check ]]; then
    check=1
    shift
fi
mapfile -t rows < <(grep -E '^[A-Z_]+=' "$list")
names=("$@")
if ((${#names[@]} == 0)); then mapfile -t names < <(grep -Eo "^[A-Z_]+=.*@" "$list" | cut -d= -f1); fi
shopt -s nullglob
files=("$list" docker/*/Dockerfile docker/*.yaml .github/workflows/*.yml)

old=0
for name in "${names[@]}"; do
    present=$(printf '%s\n' "${rows[@]}" | sed -n "s/^$name=//p")
    [[ $present ]] || fail "$list has no $name"
    image=${present%@*}
    digest=$(digest_of "$image")
    if [[ $present == "$image@$digest" ]]; then
        echo "$name: $image is up to date"
        continue
    fi
    old=1
    echo "$name: $image is ${digest} now"
    [[ $check ]] || sed -Ei "s#(^|:-|[^a-zA-Z0-9/._-])(${image//./\\.})(@$sha256)?([^a-zA-Z0-9@._-]|\$)#\1\2@$digest\4#" "${files[@]}"
done
[[ ! $check ]] || exit "$old"
