"""The Markdown documents that git tracks, and the blocks of code in them.

    for block in blocks():
        print(block.place, block.language, block.text)
    sql = take_block("docs/google-cloud.md", "SET ROLE cloudsqlsuperuser")

A test that runs a block itself gets it by take_block(), with both arguments written out. tests/documents finds these calls,
and so knows that the block is run there.
"""

from __future__ import annotations

import functools
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w-]*)")
_INDENTED = " " * 4


@dataclass(frozen=True)
class Block:
    document: str
    """Its path in the repository."""
    line: int
    """Of the first line of code."""
    language: str
    """What stands behind the fence; empty for a block that is only indented."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@functools.cache
def documents() -> tuple[str, ...]:
    """Those that are not committed yet belong to them, unless git ignores them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(name for name in found if (REPOSITORY / name).exists())


@functools.cache
def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text()


@functools.cache
def blocks() -> tuple[Block, ...]:
    """Fenced and indented ones, of all documents."""
    return tuple(block for document in documents() for block in parse(document, text_of(document)))


def parse(document: str, text: str) -> Iterator[Block]:
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        start = number
        if fence := _FENCE.match(lines[number]):
            number += 1
            while number < len(lines) and not lines[number].lstrip().startswith(fence["fence"]):
                number += 1
            indent = len(fence["indent"])
            code = [line[indent:] if not line[:indent].strip() else line for line in lines[start + 1 : number]]
            yield Block(document, start + 2, fence["language"], "\n".join(code) + "\n")
        elif lines[number].startswith(_INDENTED) and (number == 0 or not lines[number - 1].strip()):
            # An empty line does not end it if another indented one follows.
            while number < len(lines) and (lines[number].startswith(_INDENTED) or not lines[number].strip()):
                number += 1
            code_text = textwrap.dedent("\n".join(lines[start:number])).rstrip()
            yield Block(document, start + 1, "", code_text + "\n")
            continue
        number += 1


def prose(document: str) -> str:
    """The text without its blocks of code."""
    lines = text_of(document).splitlines()
    fence = ""
    kept = []
    for line in lines:
        found = _FENCE.match(line)
        if found and not fence:
            fence = found["fence"]
        elif fence:
            fence = "" if line.lstrip().startswith(fence) else fence
        elif not line.startswith(_INDENTED):
            kept.append(line)
    return "\n".join(kept)


def code_spans(document: str) -> list[str]:
    """What stands between single backquotes, in one line each."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(document))]


def take_block(document: str, start: str) -> str:
    """The text of the only block of the document that begins so."""
    (block,) = (block for block in blocks() if block.document == document and block.text.startswith(start))
    return block.text
