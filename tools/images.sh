#!/bin/bash
# The images of a release: prefect-supervisor, prefect-server and prefect-worker.
#
#   tools/images.sh build               builds them for this machine's architecture, on the bases of docker/base-images
#   tools/images.sh push PREFIX         pushes them as PREFIX/NAME:VERSION-ARCHITECTURE, such as registry.example/my-name
#   tools/images.sh join PREFIX         makes PREFIX/NAME:VERSION of those of both architectures
#   tools/images.sh sign PREFIX         signs each PREFIX/NAME:VERSION by its digest (cosign, with the identity of the run)
#
# For push, join and sign, docker is logged in to the registry if REGISTRY_USER and REGISTRY_PASSWORD are set.
set -euo pipefail

cd "$(dirname "$0")/.."
names=(supervisor server worker)
version=$(sed -nE 's/^project\(prefect-supervisor VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)

fail() { echo "images: error: $*" >&2; exit 1; }
usage() { sed -nE '2,/^set/ s/^# ?(.*)/\1/p' "$0"; }

architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) fail "no image is made for $(uname -m)" ;;
    esac
}

log_in() {
    [[ ${REGISTRY_USER:-} && ${REGISTRY_PASSWORD:-} ]] || return 0
    docker login --username "$REGISTRY_USER" --password-stdin "${prefix%%/*}" <<<"$REGISTRY_PASSWORD"
}

build() {
    local name commit bases=() source=() row
    commit=$(git rev-parse --short=12 HEAD)
    while read -r row; do bases+=("$row"); done < <(grep -E '^[A-Z_]+=' docker/base-images)
    [[ ! ${GITHUB_REPOSITORY:-} ]] || source=(--label "org.opencontainers.image.source=https://github.com/$GITHUB_REPOSITORY")
    for name in "${names[@]}"; do
        local dockerfile=docker/$name/Dockerfile arguments=(--build-arg "COMMIT=$commit" --build-arg "VERSION=$version")
        for row in "${bases[@]}"; do
            ! grep -q "^ARG ${row%%=*}=" "$dockerfile" || arguments+=(--build-arg "$row")
        done
        docker build --pull "${arguments[@]}" "${source[@]}" --file "$dockerfile" --tag "prefect-$name" .
    done
}

push() {
    local name image
    for name in "${names[@]}"; do
        image=$prefix/prefect-$name:$version-$(architecture)
        docker tag "prefect-$name" "$image"
        docker push "$image"
    done
}

join_architectures() {
    local name image
    for name in "${names[@]}"; do
        image=$prefix/prefect-$name:$version
        docker buildx imagetools create --tag "$image" "$image-amd64" "$image-arm64"
    done
}

sign() {
    local name image digest
    for name in "${names[@]}"; do
        image=$prefix/prefect-$name
        digest=$(docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}')
        # A signature of a tag would be one of whatever the tag names at that moment.
        cosign sign --yes "$image@$digest"
    done
}

command=${1:-} prefix=${2:-}
case $command in
    push | join | sign) [[ $prefix == ?*/?* ]] || fail "$command needs where the images are, such as registry.example/my-name" ;;
esac
case $command in
    build) build ;;
    push) log_in && push ;;
    join) log_in && join_architectures ;;
    sign) log_in && sign ;;
    *)
        usage >&2
        exit 2
        ;;
esac
