"""Looks for tokens where other processes, users and readers of logs could find them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google_emulator.records import MintedToken

# The start of a token is as harmful as the whole token, and a line may cut it off.
_TELLING = 40


def leaks_in(content: str | bytes, tokens: Iterable[MintedToken]) -> list[int]:
    """The numbers of the tokens whose text it contains; not the texts, because a test's report is a log, too."""
    searched = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    return [token.number for token in tokens if token.text[:_TELLING].encode() in searched]


def leaks_in_processes(kind: str, tokens: Iterable[MintedToken]) -> dict[int, list[int]]:
    """The tokens in /proc/PID/`kind`, by the pid of every process that has one there."""
    tokens = list(tokens)
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            content = (folder / kind).read_bytes()
        except OSError:
            # It has ended meanwhile, or it belongs to another user.
            continue
        if leaks := leaks_in(content, tokens):
            found[int(folder.name)] = leaks
    return found
