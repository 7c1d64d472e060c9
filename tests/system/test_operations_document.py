"""docs/operations.md has every text that the program can print, so that a reader of the log finds each text there.

The texts are read out of the sources: the string literals of each call that logs, refuses to start or says
why something failed. Each must stand in a code span of the document.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SUPERVISOR = REPOSITORY / "supervisor"
DOCUMENT = REPOSITORY / "docs/operations.md"

LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
BETWEEN_PIECES_OF_A_LITERAL = re.compile(r'"\s*\n\s*"')
COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+)(.+?)\1")


@dataclass(frozen=True)
class Kind:
    """A kind of call that gets a text. `pattern` ends where the arguments of the call begin."""

    pattern: str
    fewest: int
    """The minimum number of texts; if fewer are found, the extraction itself has failed."""
    argument: int | None = 0
    """The index of the argument that holds the text; None for all arguments."""


KINDS = {
    "log lines": Kind(r"\blog_?\.(?:debug|info|warning|error)\(", fewest=24),
    "log lines of the rotation": Kind(r"\blog\((?=[^;{]*Level::)", fewest=12, argument=1),
    "log lines of the log": Kind(r'\{(?=Level::\w+,\s*")', fewest=1, argument=1),
    "warnings": Kind(r"warnings\.push_back\(", fewest=3),
    "refusals to start": Kind(r"\b(?:bad_usage|unusable|usage)\(", fewest=16),
    "lines on standard error": Kind(r"fprintf\(stderr, ", fewest=2),
    "reasons": Kind(r"\b(?:(?:Launch)?Fault\{|failed\()", fewest=22, argument=None),
    "complaints about credential files": Kind(r"\bcomplain\(", fewest=6, argument=1),
    "parts of reasons": Kind(r"\bwhy \+= ", fewest=8),
    "last errors": Kind(r"last_error_ = ", fewest=2),
}
# Calls that only pass on the text of another call, and functions of the same names.
MOST_WITHOUT_TEXT = 26

EXIT_CODES = ["0", "1", "2", "3", "126", "127", "128+n", "137", "143"]


@functools.cache
def source(path: Path) -> str:
    """Without comments, the pieces of a literal joined."""
    return BETWEEN_PIECES_OF_A_LITERAL.sub("", COMMENT.sub("", path.read_text()))


def arguments(text: str, start: int) -> list[str]:
    """From `start` to the closing bracket, or to the end of the statement."""
    found, depth, begin, position = [], 0, start, start
    while True:
        if literal := LITERAL.match(text, position):
            position = literal.end()
            continue
        character = text[position]
        depth += (character in "([{") - (character in ")]}")
        ends = depth < 0 or (depth == 0 and character == ";")
        if ends or (depth == 0 and character == ","):
            found.append(text[begin:position])
            begin = position + 1
        if ends:
            return found
        position += 1


def texts_by_place(kind: Kind) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(SUPERVISOR.rglob("*.cpp")):
        for match in re.finditer(kind.pattern, source(path)):
            found = arguments(source(path), match.end())
            of_interest = found if kind.argument is None else found[kind.argument : kind.argument + 1]
            yield f"{path.name}: {match.group()}", LITERAL.findall(",".join(of_interest))


def texts_between(file: str, start: str, end: str) -> list[str]:
    text = source(SUPERVISOR / file)
    begin = text.index(start)
    return LITERAL.findall(text[begin : text.index(end, begin)])


@functools.cache
def code_spans() -> list[str]:
    text = DOCUMENT.read_text()
    return CODE_BLOCK.findall(text) + [span for _, span in CODE_SPAN.findall(CODE_BLOCK.sub("", text))]


def missing(literals: list[str]) -> list[str]:
    """The texts that no code span of the document has, without the punctuation that joins them to a value."""
    parts = [part for literal in literals for part in literal.replace(r"\n", "").split("%s")]
    texts = [part.replace(r"\"", '"').strip(" :;,") for part in parts]
    return [text for text in texts if not any(text in span for span in code_spans())]


@pytest.mark.parametrize("name", KINDS)
def test_every_text_is_in_the_document(name: str) -> None:
    found = list(texts_by_place(KINDS[name]))
    assert sum(len(texts) for _, texts in found) >= KINDS[name].fewest, found
    lost = [f"{place}: {text}" for place, texts in found for text in missing(texts)]
    assert lost == [], f"{DOCUMENT.name} has no {name} like these"


def test_nearly_everything_that_was_found_has_a_text() -> None:
    without = [place for kind in KINDS.values() for place, texts in texts_by_place(kind) if not texts]
    assert len(without) <= MOST_WITHOUT_TEXT, without


@pytest.mark.parametrize(
    ("file", "start", "end", "fewest"),
    [
        pytest.param("health/health_report.cpp", "why_not_alive(", "\n}", 1, id="livez"),
        pytest.param("health/health_report.cpp", "why_not_ready(", "\n}", 3, id="readyz"),
        pytest.param("health/health_report.cpp", "why_not_started(", "\n}", 1, id="startupz"),
        pytest.param("health/health_report.cpp", "waiting_for_database = ", ";", 1, id="waiting"),
        pytest.param("health/health_report.cpp", "{.status = 404", "}", 1, id="other-paths"),
        pytest.param("http/http_server.cpp", "void on_header(", "void refuse(", 6, id="bad-requests"),
        pytest.param("base/child_phase.cpp", "to_string(Phase", "\n}", 8, id="states"),
    ],
)
def test_every_answer_of_a_probe_is_in_the_document(file: str, start: str, end: str, fewest: int) -> None:
    texts = texts_between(file, start, end)
    assert len(texts) >= fewest, texts
    assert missing(texts) == []


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_has_a_row(code: str) -> None:
    assert re.search(rf"^\| `{re.escape(code)}` \|", DOCUMENT.read_text(), re.MULTILINE)


def test_a_text_that_the_document_lacks_is_noticed() -> None:
    assert missing(["token: there is no such line: "]) == ["token: there is no such line"]
