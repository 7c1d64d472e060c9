"""The Debian package and the tarball: what is in them, how they are installed, and that they do not tell where they were made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

from built_packages import EPOCH, Packages, make_packages, output_of, version
from supervisor import BINARY, REPOSITORY

OVERRIDES = REPOSITORY / "packaging/debian/lintian-overrides"
DOCUMENTS = "usr/share/doc/prefect-supervisor"
IN_THE_PACKAGE = {
    "usr/bin/prefect-supervisor": "rwxr-xr-x",
    "usr/share/bash-completion/completions/prefect-supervisor": "rw-r--r--",
    f"{DOCUMENTS}/THIRD_PARTY_NOTICES.gz": "rw-r--r--",
    f"{DOCUMENTS}/changelog.gz": "rw-r--r--",
    f"{DOCUMENTS}/copyright": "rw-r--r--",
    f"{DOCUMENTS}/prefect-supervisor.spdx.json": "rw-r--r--",
    "usr/share/lintian/overrides/prefect-supervisor": "rw-r--r--",
    "usr/share/man/man8/prefect-supervisor.8.gz": "rw-r--r--",
    "usr/share/zsh/vendor-completions/_prefect-supervisor": "rw-r--r--",
}
IN_THE_TARBALL = {
    "bin/prefect-supervisor": 0o755,
    "share/bash-completion/completions/prefect-supervisor": 0o644,
    "share/doc/prefect-supervisor/LICENSE": 0o644,
    "share/doc/prefect-supervisor/THIRD_PARTY_NOTICES": 0o644,
    "share/doc/prefect-supervisor/prefect-supervisor.spdx.json": 0o644,
    "share/man/man8/prefect-supervisor.8.gz": 0o644,
    "share/zsh/site-functions/_prefect-supervisor": 0o644,
}


def test_the_debian_package_has_these_files_with_the_time_of_the_commit(packages: Packages) -> None:
    listed = output_of("dpkg-deb", "--contents", packages.deb, env=os.environ | {"TZ": "UTC"}).splitlines()
    files = {}
    for line in listed:
        found = re.fullmatch(r"(.)(\S+) (\S+) +\d+ (\S+ \S+) \./(.*)", line)
        assert found, line
        kind, mode, owner, time, name = found.groups()
        assert owner == "root/root" and time == "2023-11-14 22:13", line
        if kind == "d":
            assert mode == "rwxr-xr-x", line
        else:
            files[name] = mode
    assert files == IN_THE_PACKAGE


def test_the_debian_package_needs_no_other_one(packages: Packages) -> None:
    fields = dict(re.findall(r"^(\S+): (.*)$", output_of("dpkg-deb", "--field", packages.deb), re.M))
    assert fields["Package"] == "prefect-supervisor" and fields["Version"] == version()
    assert fields["Architecture"] == packages.architecture
    assert not {"Depends", "Pre-Depends", "Recommends"} & set(fields)


def test_lintian_reports_nothing_that_is_not_explained(packages: Packages) -> None:
    checked = subprocess.run(
        ["lintian", "--allow-root", "--pedantic", "--display-info", "--fail-on", "error,warning,info,pedantic", packages.deb],
        capture_output=True,
        text=True,
    )
    assert checked.stdout == "" and checked.returncode == 0, checked.stdout + checked.stderr
    # Each override stands below the comment with its reason; several may share one.
    explained = False
    for line in OVERRIDES.read_text().splitlines():
        explained = explained or line.startswith("# ")
        assert line.startswith("# ") or (explained and line.startswith("prefect-supervisor: ")), line


def test_the_debian_package_can_be_installed_and_removed(packages: Packages, tmp_path: Path) -> None:
    """By dpkg itself, in a folder of its own."""
    database = tmp_path / "var/lib/dpkg"
    for folder in ("info", "updates"):
        (database / folder).mkdir(parents=True)
    (database / "status").touch()
    dpkg = ["dpkg", f"--root={tmp_path}", f"--log={tmp_path}/log", "--force-not-root"]
    subprocess.run([*dpkg, "--install", packages.deb], check=True, capture_output=True)
    assert output_of(*dpkg, "--verify", "prefect-supervisor") == ""
    installed = tmp_path / "usr/bin/prefect-supervisor"
    assert installed.read_bytes() == BINARY.read_bytes()
    assert output_of(installed, "--version") == output_of(BINARY, "--version")
    notices = output_of("gzip", "-dc", tmp_path / DOCUMENTS / "THIRD_PARTY_NOTICES.gz")
    assert notices == output_of(installed, "--licenses")
    assert json.loads((tmp_path / DOCUMENTS / "prefect-supervisor.spdx.json").read_text())["spdxVersion"] == "SPDX-2.3"
    subprocess.run([*dpkg, "--purge", "prefect-supervisor"], check=True, capture_output=True)
    assert not (tmp_path / "usr/bin").exists() and not (tmp_path / "usr/share/doc/prefect-supervisor").exists()


def test_the_tarball_can_be_unpacked_anywhere(packages: Packages, tmp_path: Path) -> None:
    with tarfile.open(packages.tarball) as tar:
        members = tar.getmembers()
        assert [one.name for one in members] == sorted(one.name for one in members)
        assert {(one.uid, one.gid, one.mtime) for one in members} == {(0, 0, EPOCH)}
        assert {one.mode for one in members if one.isdir()} == {0o755}
        files = {one.name.removeprefix(f"{packages.name}/"): one.mode for one in members if not one.isdir()}
        assert files == IN_THE_TARBALL
    output_of("tar", "--extract", "--file", packages.tarball, "--directory", tmp_path)
    assert (tmp_path / packages.name / "bin/prefect-supervisor").read_bytes() == BINARY.read_bytes()
    licence = (tmp_path / packages.name / "share/doc/prefect-supervisor/LICENSE").read_text()
    assert licence == (REPOSITORY / "LICENSE").read_text()


def test_the_bill_of_materials_lies_beside_the_packages(packages: Packages) -> None:
    assert {path.name for path in packages.folder.iterdir()} == {
        packages.deb.name,
        packages.tarball.name,
        f"{packages.name}.spdx.json",
    }
    bill = json.loads((packages.folder / f"{packages.name}.spdx.json").read_text())
    assert {"curl", "glibc"} < {package["name"] for package in bill["packages"]}


def test_the_label_of_the_image_with_the_program_alone_names_its_licences(packages: Packages) -> None:
    bill = json.loads((packages.folder / f"{packages.name}.spdx.json").read_text())
    licences = {package["licenseConcluded"] for package in bill["packages"]}
    label = re.search(r'image\.licenses="(.*)"', (REPOSITORY / "docker/supervisor/Dockerfile").read_text())
    assert label and label[1] == " AND ".join(sorted(licences))


def test_the_same_program_gives_the_same_packages_for_everybody(packages: Packages, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_packages(tmp_path / "again", TZ="Pacific/Kiritimati", LC_ALL="C.UTF-8", USER="somebody", HOME=str(tmp_path))
    finally:
        os.umask(before)
    for path in packages.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
