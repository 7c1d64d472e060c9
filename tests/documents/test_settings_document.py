"""The tables of settings in docs/settings.md and in the README are those of the program, as `--help` prints them."""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass

import pytest

from documents import text_of
from google_emulator.durations import parse_duration
from supervisor import BINARY

ROW = re.compile(r"^\| (?P<variables>[^|]*)\| (?P<flags>[^|]*--[^|]*)\| (?P<default>[^|]*)\|", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    variable: str
    default: str


@functools.cache
def help_text() -> str:
    return subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout


@functools.cache
def of_the_program() -> dict[str, Setting]:
    """By the flag."""
    settings = {}
    # An entry goes on in lines that are indented further.
    for entry in re.findall(r"^  (--.*(?:\n {4,}.*)*)", help_text(), re.MULTILINE):
        text = " ".join(entry.split())
        variable = re.search(r" \(([A-Z_]+)\)$", text)
        text = text.removesuffix(variable[0]) if variable else text
        default = re.search(r"\[([^\[\]]*)\]$", text)
        value = default[1] if default else "required" if text.endswith("(required)") else ""
        settings[text.split()[0]] = Setting(variable[1] if variable else "", value)
    return settings


def of_the_document(document: str) -> dict[str, Setting]:
    settings = {}
    for row in ROW.finditer(text_of(document)):
        flags = re.findall(r"`(--[a-z-]+)[^`]*`", row["flags"])
        variables = re.findall(r"`([A-Z_]+)`", row["variables"]) or [""] * len(flags)
        for flag, variable in zip(flags, variables, strict=True):
            assert flag not in settings, f"{document} has {flag} twice"
            settings[flag] = Setting(variable, row["default"].strip().replace("`", ""))
    return settings


def is_same(shown: str, default: str) -> bool:
    """The program may say more about it, and writes a duration in its own way."""
    try:
        return parse_duration(shown) == parse_duration(default)
    except ValueError:
        return shown == default or (bool(shown) and re.match(rf"{re.escape(shown)}\b", default) is not None)


def test_help_was_understood() -> None:
    assert len(of_the_program()) > 25
    assert of_the_program()["--stop-delay"] == Setting("SUPERVISOR_STOP_DELAY", "0s")
    assert of_the_program()["--db-user"] == Setting("DB_USER", "required")
    assert is_same("60s", "1m") and is_same("auto", "auto: unless") and not is_same("8s", "80s") and not is_same("", "8s")


def test_the_document_has_every_flag_and_no_other() -> None:
    assert of_the_document("docs/settings.md").keys() == of_the_program().keys()


@pytest.mark.parametrize("document", ["docs/settings.md", "README.md"])
def test_variables_and_defaults_are_those_of_the_program(document: str) -> None:
    shown, program = of_the_document(document), of_the_program()
    assert len(shown) >= 7
    wrong = [
        f"{flag}: {setting}, and the program has {program.get(flag)}"
        for flag, setting in shown.items()
        if flag not in program
        or setting.variable != program[flag].variable
        or not is_same(setting.default, program[flag].default)
    ]
    assert wrong == []


def test_the_program_names_the_variables_that_have_no_flag() -> None:
    without = re.findall(r"^\| (`[A-Z_` ]+`) \| \|", text_of("docs/settings.md"), re.MULTILINE)
    names = re.findall(r"[A-Z_]{2,}", " ".join(without))
    assert names and [name for name in names if name not in help_text()] == []
