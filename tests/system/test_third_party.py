"""What is in the program besides our own code: as new as the distribution has it, patched, and said with its licence."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor import BINARY, REPOSITORY

pytestmark = pytest.mark.only_shipped("the notices and the linker's map are those of the static program")

BUILD = BINARY.parent
PATCHES = REPOSITORY / "cmake/curl-patches"
DOCUMENT = REPOSITORY / "docs/third-party.md"
FETCH_CURL = REPOSITORY / "tools/fetch-curl.sh"
# The folder below it is linked by every test of the folder of another checkout, so paths are compared as they really are.
OURS = REPOSITORY.resolve()


def pinned(name: str) -> str:
    found = re.findall(rf"^set\(CURL_{name} (\S+)\)$", (REPOSITORY / "cmake/curl.cmake").read_text(), re.M)
    assert len(found) == 1
    return str(found[0])


def output_of(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


def is_newer(version: str, than: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", than]).returncode == 0


def cached(name: str) -> str:
    """A variable of the build, as CMake keeps it."""
    found = re.search(rf"^{name}:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)
    assert found
    return found[1]


@functools.cache
def packages_of(files: frozenset[str]) -> dict[str, str]:
    """The distribution's packages that the files belong to."""
    listed = output_of("dpkg-query", "-S", *sorted(files))
    owners = {}
    for line in listed.splitlines():
        packages, _, file = line.rpartition(": ")
        owners[file] = packages.split(",")[0].partition(":")[0]
    return owners


def bill_of_materials() -> dict[str, dict[str, object]]:
    sbom = json.loads((BUILD / "third-party/prefect-supervisor.spdx.json").read_text())
    return {package["name"]: package for package in sbom["packages"]}


def packages_in_the_bill() -> set[str]:
    sources = [str(package["sourceInfo"]) for package in bill_of_materials().values()]
    return {found[1] for source in sources if (found := re.match(r"package (\S+) ", source))}


def test_curl_is_not_older_than_what_apt_offers() -> None:
    """Where apt has nothing newer than its release's own curl, as on Debian 12 without its backports and on Ubuntu 24.04,
    this passes and says little. It is Debian 12 with its backports, and Debian 13, that tell of new patches."""
    if not shutil.which("apt-cache"):
        pytest.skip("there is no apt here, so nothing says which curl is the newest")
    offered = {line.split("|")[1].strip() for line in output_of("apt-cache", "madison", "curl").splitlines()}
    if not offered:
        pytest.skip("apt has no lists of packages here (apt-get update), so nothing says which curl is the newest")
    reviewed = pinned("REVIEWED")
    newer = sorted(version for version in offered if is_newer(version, reviewed))
    assert not newer, (
        f"apt offers curl {', '.join(newer)}, and the newest that was looked at is {reviewed}: take its patches, or the new "
        "release, into cmake/curl.cmake and cmake/curl-patches, and list its CVEs in docs/third-party.md"
    )


def test_the_pins_of_curl_are_of_one_release() -> None:
    for revision in (pinned("PATCHES"), pinned("REVIEWED")):
        assert revision.startswith(pinned("VERSION") + "-")
    assert not is_newer(pinned("PATCHES"), pinned("REVIEWED"))


def test_all_patches_are_in_the_source_that_is_compiled_and_can_be_applied_to_the_release(tmp_path: Path) -> None:
    names = (PATCHES / "series").read_text().split()
    assert {path.name for path in PATCHES.iterdir()} == {*names, "series"} and len(names) >= 17
    source = Path(cached("CURL_SOURCE_DIR"))
    assert subprocess.run([FETCH_CURL, "--check", source]).returncode == 0

    patched, release = tmp_path / "patched", tmp_path / "release"
    texts = [(PATCHES / name).read_text() for name in names]
    for file in {file for text in texts for file in re.findall(r"^\+\+\+ b/(\S+)", text, re.M)}:
        (patched / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, patched / file)
    shutil.copytree(patched, release)
    for name in reversed(names):
        subprocess.run(["patch", "-d", release, "-p1", "-R", "-F0", "-f", "-s", "-i", PATCHES / name], check=True)
    unpatched = (release / "lib/url.c").read_bytes()

    # Twice: the second time there is nothing left to do.
    for _ in range(2):
        subprocess.run([FETCH_CURL, "--patch", release], check=True)
        assert subprocess.run([FETCH_CURL, "--check", release]).returncode == 0
        for file in patched.rglob("*"):
            assert file.is_dir() or file.read_bytes() == (release / file.relative_to(patched)).read_bytes()

    # Other patches than the present ones, and a source that they do not fit to, are refused.
    (release / "patched").write_text("something else\n")
    assert subprocess.run([FETCH_CURL, "--check", release]).returncode == 1
    assert subprocess.run([FETCH_CURL, "--patch", release], capture_output=True).returncode == 1
    (release / "patched").unlink()
    assert subprocess.run([FETCH_CURL, "--patch", release], capture_output=True).returncode == 1
    assert unpatched != (patched / "lib/url.c").read_bytes()


def test_the_document_lists_every_cve_of_the_patches_and_the_present_versions() -> None:
    document = DOCUMENT.read_text()
    patches = "\n".join(path.name for path in PATCHES.iterdir())
    for cve in {*re.findall(r"CVE-\d+-\d+", patches), "CVE-2025-9086"}:
        assert f"| {cve} |" in document, cve
    for revision in (pinned("PATCHES"), pinned("REVIEWED")):
        assert revision in document
    for line in re.findall(r"^\| CVE-.*$", document, re.M):
        _, _, what, verdict, *_ = [cell.strip() for cell in line.split("|")]
        assert what and verdict, line


def test_the_reasons_in_the_document_hold() -> None:
    """What is said to be left out is left out of the build, and what is said to be unused is not called."""
    document = DOCUMENT.read_text()
    settings = (BUILD / "_deps/curl-build/lib/curl_config.h").read_text()
    disabled = set(re.findall(r"`(CURL_DISABLE_\w+)`", document))
    assert len(disabled) >= 8
    # HTTP_ONLY is no definition, but one for each other protocol.
    for option in disabled | {f"CURL_DISABLE_{protocol}" for protocol in "FTP IMAP LDAP POP3 SMB SMTP TFTP".split()}:
        assert f"#define {option} 1\n" in settings, option
    assert not re.search(r"^#define USE_(NGHTTP2|NGTCP2|QUICHE|OPENSSL|GNUTLS|WOLFSSL|LIBSSH\w*|LIBPSL|ARES)\b", settings, re.M)

    sources = "\n".join(path.read_text() for path in (REPOSITORY / "supervisor").rglob("*.cpp"))
    # Nothing of the library is used beside curl but what signs, hashes, and restricts certificates.
    called = set(re.findall(r"\bmbedtls_\w+(?=\()", sources))
    assert {name.split("_")[1] for name in called} == {"ctr", "entropy", "md", "pk", "ssl", "strerror"}
    assert {name for name in called if name.startswith("mbedtls_ssl")} == {"mbedtls_ssl_conf_cert_profile"}
    used = set(re.findall(r"\b(?:curl_\w+(?=\()|CURL(?:OPT|INFO|MOPT)_\w+)", sources))
    assert used and not {name for name in used if re.search(r"PAUSE|pause|INTERFACE|EFFECTIVE_URL|USERPWD|NETRC|COOKIE", name)}
    for line in [
        'CURLOPT_PROTOCOLS_STR, "http")',
        'CURLOPT_PROTOCOLS_STR, "https")',
        'CURLOPT_PROXY, "")',
        "CURLOPT_SSL_VERIFYPEER, 1L)",
        "CURLOPT_SSL_VERIFYHOST, 2L)",
        "CURLOPT_SSL_SESSIONID_CACHE, 0L)",
        "CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1))",
        "CURLOPT_FOLLOWLOCATION, 0L)",
        "CURLOPT_FRESH_CONNECT, 1L)",
        "CURLOPT_FORBID_REUSE, 1L)",
    ]:
        assert line in sources, line


def test_mbedtls_is_the_pinned_release_with_what_its_configuration_names() -> None:
    cmake = (REPOSITORY / "cmake/mbedtls.cmake").read_text()
    pins = dict(re.findall(r"^set\(MBEDTLS_(VERSION|SHA256) (\S+)\)$", cmake, re.M))
    mbedtls = bill_of_materials()["Mbed TLS"]
    assert mbedtls["versionInfo"] == pins["VERSION"]
    assert mbedtls["checksums"] == [{"algorithm": "SHA256", "checksumValue": pins["SHA256"]}]
    assert f" mbedTLS/{pins['VERSION']} " in output_of(BINARY, "--version")
    assert f"| Mbed TLS | {pins['VERSION']} |" in DOCUMENT.read_text()
    symbols = set(re.findall(r" [TtRr] (mbedtls_\w+|psa_\w+)$", output_of("nm", BUILD / "libmbedtls.a"), re.M))
    assert {"mbedtls_ssl_handshake", "mbedtls_pk_parse_key", "mbedtls_x509_crt_parse"} <= symbols
    left_out = r"cbc|sha1|md5|des_|dhm|psk|ticket|renegot|early_data|pkcs5|pkcs7|pkcs12|_srv_|dtls_srtp|chacha|ecjpake"
    # A refusal that can't be switched off, and a helper that nothing calls.
    harmless = {"mbedtls_ssl_conf_legacy_renegotiation", "mbedtls_ssl_tls13_create_psk_binder"}
    assert {name for name in symbols if re.search(left_out, name)} <= harmless


def test_the_source_of_mbedtls_is_not_fetched_twice(tmp_path: Path) -> None:
    """Where it is there already, nothing is asked of any server."""
    for path in ("tools/fetch-mbedtls.sh", "cmake/mbedtls.cmake"):
        (tmp_path / path).parent.mkdir()
        shutil.copy(REPOSITORY / path, tmp_path / path)
    version = re.search(r"MBEDTLS_VERSION (\S+)\)", (REPOSITORY / "cmake/mbedtls.cmake").read_text())
    assert version
    (tmp_path / ".deps" / f"mbedtls-{version[1]}").mkdir(parents=True)
    subprocess.run([tmp_path / "tools/fetch-mbedtls.sh"], check=True, env={"PATH": "/usr/bin:/bin"})
    # A release that no mirror has is left for CMake to download.
    (tmp_path / ".deps" / f"mbedtls-{version[1]}").rmdir()
    pins = tmp_path / "cmake/mbedtls.cmake"
    pins.write_text(pins.read_text().replace(f"MBEDTLS_VERSION {version[1]}", "MBEDTLS_VERSION 3.6.999"))
    said = subprocess.run([tmp_path / "tools/fetch-mbedtls.sh"], check=True, capture_output=True, text=True)
    assert "CMake will download it from upstream" in said.stdout
    assert list((tmp_path / ".deps").iterdir()) == []


def test_version_says_which_patches_curl_has() -> None:
    curl = f"libcurl/{pinned('VERSION')} (with the security patches of Debian's {pinned('PATCHES')}) mbedTLS/"
    assert curl in output_of(BINARY, "--version")


def test_licenses_prints_the_notices_with_the_texts_of_all_licences() -> None:
    environment = {**os.environ, "DB_PORT": "bad", "SUPERVISOR_ROTATION": "bad"}
    ended = subprocess.run([BINARY, "--licenses"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and not ended.stderr
    assert ended.stdout == (BUILD / "third-party/THIRD_PARTY_NOTICES").read_text()
    for text in [
        "COPYRIGHT AND PERMISSION NOTICE\n\nCopyright (c) 1996 -",  # curl
        "Apache License\n                           Version 2.0, January 2004",
        "Boost Software License - Version 1.0",
        "Victor Zverovich",
        "Gabi Melman",
        "Niels Lohmann",
        "GCC RUNTIME LIBRARY EXCEPTION\n\nVersion 3.1",
        "GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 2.1, February 1999",
        # What section 6 of the LGPL asks for: how to link with another library, and where its source is.
        "./dev build",
        f"apt-get source glibc={bill_of_materials()['glibc']['versionInfo']}",
    ]:
        assert text in ended.stdout, text
    for name, package in bill_of_materials().items():
        if name != "prefect-supervisor":
            row = rf"^{re.escape(name)} +{re.escape(str(package['versionInfo']))}.* {re.escape(str(package['licenseDeclared']))}$"
            assert re.search(row, ended.stdout, re.M), row
    assert "--licenses" in output_of(BINARY, "--help")


def test_every_library_that_the_linker_took_from_is_in_the_bill_of_materials() -> None:
    link_map = BUILD / "prefect-supervisor.map"
    if not link_map.exists():
        pytest.skip("this build's program is linked dynamically, for developers only")
    text = link_map.read_text()
    archives = set(re.findall(r"^(/\S+\.a)\(", text, re.M))
    start_files = set(re.findall(r"^LOAD (/\S+\.o)$", text, re.M))
    files = {os.path.realpath(BUILD / path) for path in archives | start_files}
    outside = frozenset(file for file in files if not Path(file).is_relative_to(OURS))
    assert any(file.endswith("/libc.a") for file in outside)
    assert set(packages_of(outside).values()) <= packages_in_the_bill()
    assert {Path(file).name for file in outside} >= {"libstdc++.a", "libgcc_eh.a"}


def test_every_package_whose_headers_are_compiled_in_is_in_the_bill_of_materials() -> None:
    dependencies = output_of("ninja", "-C", BUILD, "-t", "deps")
    headers = {os.path.realpath(path) for path in re.findall(r"^    (/usr/\S+)$", dependencies, re.M)}
    found = set(packages_of(frozenset(headers)).values())
    assert found >= {"libboost1.83-dev", "libspdlog-dev", "libfmt-dev", "nlohmann-json3-dev"}
    # The kernel's headers are numbers and layouts, with an exception for programs that use them (Linux-syscall-note). Those of
    # the test framework are in no program that is shipped.
    assert found - {"linux-libc-dev", "libcatch2-dev", "catch2"} <= packages_in_the_bill()


def test_the_bill_of_materials_is_spdx_with_the_installed_versions() -> None:
    """The fields that SPDX 2.3 wants (https://spdx.github.io/spdx-spec/v2.3, annex "SPDX Lite" and chapters 6, 7 and 11)."""
    sbom = json.loads((BUILD / "third-party/prefect-supervisor.spdx.json").read_text())
    assert sbom["spdxVersion"] == "SPDX-2.3" and sbom["dataLicense"] == "CC0-1.0"
    assert sbom["SPDXID"] == "SPDXRef-DOCUMENT" and sbom["name"]
    assert re.fullmatch(r"https://[^#\s]+", sbom["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", sbom["creationInfo"]["created"])
    assert all(re.match(r"(Tool|Person|Organization): ", creator) for creator in sbom["creationInfo"]["creators"])

    ids = {package["SPDXID"] for package in sbom["packages"]}
    assert len(ids) == len(sbom["packages"]) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in ids)
    for package in sbom["packages"]:
        assert package["name"] and package["versionInfo"] and package["downloadLocation"] and package["licenseConcluded"]
        if found := re.match(r"package (\S+) (\S+) of ", package["sourceInfo"]):
            assert package["versionInfo"] == found[2]
            installed = output_of("dpkg-query", "-W", "-f", "${Package} ${Version}\n", found[1])
            assert f"{found[1]} {found[2]}\n" in installed
    program = "SPDXRef-prefect-supervisor"
    used = {one["relatedSpdxElement"] for one in sbom["relationships"] if one["spdxElementId"] == program}
    assert used == ids - {program}
    assert bill_of_materials()["curl"]["versionInfo"] == pinned("VERSION")
