"""prefect-supervisor(8), which is generated from the table that --help prints."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from built_packages import output_of
from supervisor import BINARY, REPOSITORY

PAGE = BINARY.parent / "documents/prefect-supervisor.8"
WIDE = os.environ | {"MANWIDTH": "1000", "MANROFFOPT": "", "LC_ALL": "C.UTF-8"}


def shown() -> str:
    return output_of("man", "--local-file", PAGE, env=WIDE)


def words(text: str) -> str:
    return " ".join(text.split())


def test_mandoc_and_groff_find_nothing() -> None:
    checked = subprocess.run(["mandoc", "-T", "lint", "-W", "all", PAGE], capture_output=True, text=True)
    assert checked.stdout + checked.stderr == "" and checked.returncode == 0
    checked = subprocess.run(["man", "--warnings", "--local-file", PAGE], capture_output=True, text=True, env=WIDE)
    assert checked.stderr == "" and checked.returncode == 0


def test_the_page_says_of_each_option_what_the_help_says() -> None:
    page = words(shown())
    help_text = output_of(BINARY, "--help")
    entries = re.findall(r"^  (--\S+(?: \S+)?)\s{2,}(.*(?:\n {30}.*)*)", help_text, re.M)
    assert len(entries) == len(re.findall(r"^  --", help_text, re.M)) > 25
    for flag, text in entries:
        assert f"{flag} {words(text)}" in page, flag


def test_the_page_lists_each_variable_and_exit_code_of_the_help() -> None:
    page, help_text = words(shown()), words(output_of(BINARY, "--help"))
    environment = page.partition(" ENVIRONMENT ")[2]
    variables = set(re.findall(r"\(([A-Z_]+)\)", help_text))
    assert len(variables) > 15
    for variable in variables:
        assert f" {variable} the value of --" in f" {environment}", variable
    assert help_text.partition("The metadata server is")[2].partition("The exit code")[0].strip() in environment
    codes = re.findall(r"[.;] (\d+): ([^;]+?)(?=;|\.$)", help_text.partition("The exit code is")[2])
    assert {code for code, _ in codes} == {"127", "126", "1", "2"}
    for code, meaning in codes:
        assert f" {code} {meaning}." in page


def test_the_page_bears_the_version_and_the_day_of_the_commit() -> None:
    version = output_of(BINARY, "--version").split()[1]
    day = (BINARY.parent / "version/date").read_text().strip()
    assert f'.TH PREFECT\\-SUPERVISOR 8 {day} "prefect\\-supervisor {version}"' in PAGE.read_text()
    if Path(REPOSITORY / ".git").exists() and "SOURCE_DATE_EPOCH" not in os.environ:
        commit = re.search(r"\(commit (\w+),", output_of(BINARY, "--version"))
        assert commit
        committed = output_of("git", "-C", REPOSITORY, "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d", commit[1],
                              env=os.environ | {"TZ": "UTC"})  # fmt: skip
        assert committed.strip() == day
