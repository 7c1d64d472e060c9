"""What ./dev release --tag and ./dev publish refuse, and what they and ./dev images tell docker, cosign and gh to do, which write down
here what they are told. The build of a release is checked by tools/check-reproducible.sh and test_packages.py, by the same
tools/package.sh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from built_packages import output_of, version
from supervisor import REPOSITORY

VERSION = version()
TAG = f"v{VERSION}"
NAMES = ("supervisor", "server", "worker")
NOTES = "\nWhat is new.\n\n- One thing.\n"
# Writes its arguments, each on a line, in place of asking GitHub.
GH = '#!/bin/sh\nprintf "%s\\n" "$@" >"$CALLS"\n'
# The same on one line for each call. A digest is what `imagetools inspect` answers; a password is what `login` reads.
DIGEST = f"sha256:{1:064x}"
RECORDER = f"""#!/bin/sh
echo "${{0##*/}} $*" >>"$CALLS"
case "$*" in
    *inspect*) echo {DIGEST} ;;
    login*) cat >>"$CALLS" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of its own, whose one commit is the release that its changelog tells of."""
    folder = tmp_path / "checkout"
    for name in ("CMakeLists.txt", "tools/release.sh", "tools/publish.sh"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} (2026-11-26)\n{NOTES}\n## 0.0.1 (2026-01-01)\n\nOld.\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    commit(folder)
    git(folder, "tag", TAG)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.invalid", "-c", "commit.gpgsign=false"]
    return output_of("git", "-C", folder, *identity, *arguments)


def commit(folder: Path) -> None:
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "A change")


def refusal(checkout: Path, script: str, *arguments: str) -> str:
    ended = subprocess.run([checkout / "tools" / script, *arguments], capture_output=True, text=True)
    assert ended.returncode == 1 and not ended.stdout
    (line,) = ended.stderr.splitlines()
    return line.removeprefix(f"{Path(script).stem}: error: ")


def with_programs(folder: Path, calls: Path, **programs: str) -> dict[str, str]:
    """An environment in which these programs are found first."""
    (folder / "bin").mkdir()
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls)}


def test_a_release_is_of_the_commit_that_its_tag_names(checkout: Path) -> None:
    other = f"the tag is v9.9.9, and CMakeLists.txt says that this is version {VERSION}"
    assert refusal(checkout, "release.sh", "--tag", "v9.9.9") == other
    assert refusal(checkout, "release.sh", "--tag") == "--tag needs a tag, such as v0.1.0"
    assert refusal(checkout, "release.sh", "--all") == "unknown argument '--all'"
    (checkout / "CMakeLists.txt").write_text((checkout / "CMakeLists.txt").read_text() + "# changed\n")
    assert refusal(checkout, "release.sh", "--tag", TAG) == f"files were changed since {TAG}:  M CMakeLists.txt"
    git(checkout, "checkout", "--quiet", ".")
    commit(checkout)
    assert refusal(checkout, "release.sh", "--tag", TAG) == f"{TAG} is not the present commit"


def test_a_release_has_a_day_in_the_changelog(checkout: Path) -> None:
    git(checkout, "tag", "--delete", TAG)
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} (unreleased)\n")
    git(checkout, "add", ".")
    commit(checkout)
    git(checkout, "tag", TAG)
    expected = f"CHANGELOG.md has no heading '## {VERSION} (YYYY-MM-DD)', the day of the release"
    assert refusal(checkout, "release.sh", "--tag", TAG) == expected


def test_what_is_published_is_what_was_built_with_the_notes_of_its_version(checkout: Path, tmp_path: Path) -> None:
    folder = checkout / f"build/release-{VERSION}"
    assert "has no SHA256SUMS" in refusal(checkout, "publish.sh", TAG)
    folder.mkdir(parents=True)
    (folder / "package.deb").write_text("a package\n")
    sums = output_of("sha256sum", "package.deb", cwd=folder)
    (folder / "SHA256SUMS").write_text(sums)

    calls = tmp_path / "calls"
    environment = with_programs(tmp_path, calls, gh=GH)
    subprocess.run([checkout / "tools/publish.sh", TAG], check=True, env=environment)
    # A line break of the notes is one of the list as well.
    assert calls.read_text() == "\n".join(
        ["release", "create", TAG, "--verify-tag", "--title", f"prefect-supervisor {VERSION}", "--notes", NOTES.rstrip("\n"),
         f"build/release-{VERSION}/SHA256SUMS", f"build/release-{VERSION}/package.deb", ""]
    )  # fmt: skip

    (folder / "package.deb").write_text("another package\n")
    ended = subprocess.run([checkout / "tools/publish.sh", TAG], capture_output=True, text=True, env=environment)
    assert ended.returncode == 1 and "is not what ./dev release wrote" in ended.stderr
    assert refusal(checkout, "publish.sh") == "needs a tag, such as v0.1.0"


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., list[str]]:
    """./dev images with docker and cosign that write down what they are told: a list of it."""
    calls = tmp_path / "calls"
    environment = with_programs(tmp_path, calls, docker=RECORDER, cosign=RECORDER)

    def call(*arguments: str, **variables: str) -> list[str]:
        calls.unlink(missing_ok=True)
        subprocess.run([REPOSITORY / "tools/images.sh", *arguments], check=True, env=environment | variables)
        return calls.read_text().splitlines()

    return call


def test_images_are_built_on_the_bases_of_the_list(images: Callable[..., list[str]]) -> None:
    listed = dict(re.findall(r"^([A-Z_]+)=(\S+)$", (REPOSITORY / "docker/base-images").read_text(), re.M))
    commit = output_of("git", "-C", REPOSITORY, "rev-parse", "--short=12", "HEAD").strip()
    built = images("build", GITHUB_REPOSITORY="owner/repository")
    assert len(built) == len(NAMES)
    for name, line in zip(NAMES, built, strict=True):
        assert line.startswith("docker build --pull ")
        assert line.endswith(f" --file docker/{name}/Dockerfile --tag prefect-{name} .")
        arguments = set(re.findall(r"--build-arg (\S+)", line))
        bases = {"DEBIAN_IMAGE"} | ({"PREFECT_IMAGE"} if name != "supervisor" else set())
        assert arguments == {f"COMMIT={commit}", f"VERSION={VERSION}"} | {f"{base}={listed[base]}" for base in bases}
        assert " --label org.opencontainers.image.source=https://github.com/owner/repository " in line


def test_each_architecture_is_pushed_and_the_joined_image_is_signed_by_its_digest(images: Callable[..., list[str]]) -> None:
    here = output_of("dpkg", "--print-architecture").strip()
    prefix = "registry.example/owner"
    login = {"REGISTRY_USER": "somebody", "REGISTRY_PASSWORD": "the-password"}
    logged_in = ["docker login --username somebody --password-stdin registry.example", "the-password"]
    pushed = images("push", prefix, **login)
    expected = list(logged_in)
    for name in NAMES:
        image = f"{prefix}/prefect-{name}:{VERSION}-{here}"
        expected += [f"docker tag prefect-{name} {image}", f"docker push {image}"]
    assert pushed == expected
    joined = [f"{prefix}/prefect-{name}:{VERSION}" for name in NAMES]
    assert images("join", prefix) == [
        f"docker buildx imagetools create --tag {image} {image}-amd64 {image}-arm64" for image in joined
    ]
    signed = images("sign", prefix, **login)
    assert signed[:2] == logged_in
    assert signed[3::2] == [f"cosign sign --yes {prefix}/prefect-{name}@{DIGEST}" for name in NAMES]


def test_images_need_to_know_where_to() -> None:
    for arguments in (["push"], ["join", "registry.example"], ["sign", "/owner"]):
        ended = subprocess.run([REPOSITORY / "tools/images.sh", *arguments], capture_output=True, text=True)
        assert ended.returncode == 1 and "needs where the images are" in ended.stderr
    assert subprocess.run([REPOSITORY / "tools/images.sh"], capture_output=True).returncode == 2
