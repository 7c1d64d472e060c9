"""The digests of the base images: one list, the same everywhere, and the script that renews them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import MANIFEST, Registry, serve
from supervisor import REPOSITORY

PINNED = re.compile(r"[a-z][a-z0-9./-]*:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")
# The base images whose digests no public record shows: docs/releasing.md tells how they get one.
WITHOUT_DIGEST = {"PREFECT_IMAGE"}
TAGS = {
    "DEBIAN_IMAGE": "library/debian:bookworm-slim",
    "HAPROXY_IMAGE": "library/haproxy:2.6",
    "POSTGRES_IMAGE": "library/postgres:18",
    "REDIS_IMAGE": "library/redis:7",
    "CI_IMAGE": "library/buildpack-deps:bookworm-scm",
}


def rows(root: Path = REPOSITORY) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(\S+)$", (root / "docker/base-images").read_text(), re.M))


def files(root: Path = REPOSITORY) -> list[Path]:
    return [*root.glob("docker/*/Dockerfile"), *root.glob("docker/*.yaml"), *root.glob(".github/workflows/*.yml")]


def test_every_base_is_pinned_and_is_the_one_of_the_list() -> None:
    listed = rows()
    assert {name for name, image in listed.items() if not PINNED.fullmatch(image)} == WITHOUT_DIGEST
    found = set()
    for file in files():
        text = file.read_text()
        found |= set(PINNED.findall(text))
        for name, image in re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.M):
            # The version of Prefect is an argument of its own, for which any other one may be given.
            assert image == listed[name] or (name in WITHOUT_DIGEST and "${PREFECT_VERSION}" in image), f"{file}: {name}"
        for base in re.findall(r"^FROM (\S+)", text, re.M):
            assert re.fullmatch(r"\$\{\w+_IMAGE\}|scratch|build", base), f"{file}: {base}"
        for image in re.findall(r"^ +image: (\S+)$", text, re.M):
            # Ours have no tag; all others can be replaced by a variable, or are what a workflow runs in.
            named = re.fullmatch(r"\$\{(\w+):-(\S+)\}", image)
            assert not re.search("[:@]", image) or (named and named[2] == listed[named[1]]) or image == listed["CI_IMAGE"]
    assert found == set(listed.values()) - {listed[name] for name in WITHOUT_DIGEST}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in [*files(), REPOSITORY / "docker/base-images", REPOSITORY / "tools/update-base-images.sh"]:
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


@pytest.fixture
def registry() -> Iterator[Registry]:
    """In which every tag has moved."""
    with serve(Registry({image: f"sha256:{number:064x}" for number, image in enumerate(TAGS.values(), 1)})) as it:
        yield it


def update(checkout: Path, registry: Registry, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "tools/update-base-images.sh", *arguments],
        env=os.environ | {"REGISTRY": registry.url, "http_proxy": "", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
    )


def contents(checkout: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in [*files(checkout), checkout / "docker/base-images"]}


def test_new_digests_are_written_wherever_an_image_is_named(checkout: Path, registry: Registry) -> None:
    before, old = contents(checkout), rows(checkout)
    assert update(checkout, registry, "--check").returncode == 1
    assert contents(checkout) == before
    updated = update(checkout, registry)
    assert updated.returncode == 0, updated.stderr
    expected = {}
    for path, text in before.items():
        for name, image in TAGS.items():
            text = text.replace(old[name], f"{image.removeprefix('library/')}@{registry.digests[image]}")
        expected[path] = text
    assert contents(checkout) == expected != before
    assert len(updated.stdout.splitlines()) == len(TAGS)
    # The second time there is nothing to do.
    assert update(checkout, registry, "--check").returncode == 0
    assert update(checkout, registry).stdout.count("is up to date") == len(TAGS)
    assert contents(checkout) == expected


def test_the_token_is_asked_for_as_the_challenge_says(checkout: Path, registry: Registry) -> None:
    registry.token_field = "access_token"
    assert update(checkout, registry, "REDIS_IMAGE").returncode == 0
    manifest = "HEAD /v2/library/redis/manifests/7"
    assert registry.requests == [manifest, "GET /token repository:library/redis:pull", manifest]


def test_a_registry_without_tokens_is_asked_once(checkout: Path, registry: Registry) -> None:
    registry.asks_for_token = False
    assert update(checkout, registry, "REDIS_IMAGE").returncode == 0
    assert registry.requests == ["HEAD /v2/library/redis/manifests/7"]


def test_an_image_gets_its_first_digest_when_it_is_named(checkout: Path, registry: Registry) -> None:
    image = rows(checkout)["PREFECT_IMAGE"]
    registry.digests[image] = f"sha256:{99:064x}"
    assert update(checkout, registry, "PREFECT_IMAGE").returncode == 0
    assert rows(checkout)["PREFECT_IMAGE"] == f"{image}@{registry.digests[image]}"
    # The Dockerfiles keep their argument for the version.
    assert "prefect:${PREFECT_VERSION}-python3.11\n" in (checkout / "docker/server/Dockerfile").read_text()


def refusal(checkout: Path, registry: Registry, *arguments: str) -> str:
    before = contents(checkout)
    ended = update(checkout, registry, *arguments)
    assert ended.returncode == 1 and contents(checkout) == before
    return ended.stderr.splitlines()[-1].removeprefix("update-base-images: error: ")


def test_what_is_no_digest_of_all_architectures_is_refused(checkout: Path, registry: Registry) -> None:
    registry.content_type = MANIFEST
    assert refusal(checkout, registry, "REDIS_IMAGE") == f"redis:7 is no index of several architectures, but {MANIFEST}"
    registry.content_type = "application/vnd.oci.image.index.v1+json; charset=utf-8"
    registry.digests["library/redis:7"] = "sha256:short"
    assert "names no digest of the form sha256:..., but 'sha256:short'" in refusal(checkout, registry, "REDIS_IMAGE")
    del registry.digests["library/redis:7"]
    assert refusal(checkout, registry, "REDIS_IMAGE").endswith("/v2/library/redis/manifests/7 answers 404")
    registry.token_field = "nothing"
    assert refusal(checkout, registry, "REDIS_IMAGE") == "the registry gave no token for redis:7"
    assert refusal(checkout, registry, "NO_IMAGE") == "docker/base-images has no NO_IMAGE"
