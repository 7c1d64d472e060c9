"""Finds the places of a C++ source where a decision can be inverted or moved by one step, and what to put there.

A mutant is the source with one such place changed. The sources are formatted by clang-format, on which this relies: a
comparison has spaces around it, and the bracket of a template has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What stands in the source, and what is put in its place. A comparison is inverted, and its boundary is moved; an
# operator and a function get their counterpart; a negation is taken out.
RULES: list[tuple[re.Pattern[str], tuple[str, ...]]] = [
    (re.compile(pattern), replacements)
    for pattern, replacements in [
        (r"(?<= )<(?= )", (">=", "<=")),
        (r"(?<= )<=(?= )", (">", "<")),
        (r"(?<= )>(?= )", ("<=", ">=")),
        (r"(?<= )>=(?= )", ("<", ">")),
        (r"(?<= )==(?= )", ("!=",)),
        (r"(?<= )!=(?= )", ("==",)),
        (r"(?<= )&&(?= )", ("||",)),
        (r"(?<= )\|\|(?= )", ("&&",)),
        (r"(?<= )\+(?= )", ("-",)),
        (r"(?<= )-(?= )", ("+",)),
        (r"(?<= )\*(?= )", ("/",)),
        (r"(?<= )/(?= )", ("*",)),
        (r"(?<= )\+=(?= )", ("-=",)),
        (r"(?<= )-=(?= )", ("+=",)),
        (r"(?<![\w)\]+])\+\+(?=\w)", ("--",)),
        (r"(?<=[( ])!(?=[\w(*])", ("",)),
        (r"(?<=[( ])-(?=[A-Za-z_(])", ("",)),
        (r"\btrue\b", ("false",)),
        (r"\bfalse\b", ("true",)),
        (r"\bstd::min\b", ("std::max",)),
        (r"\bstd::max\b", ("std::min",)),
        (r"\bearlier(?=\()", ("later",)),
        (r"\blater(?=\()", ("earlier",)),
    ]
]

# Comments, texts, characters, and what the preprocessor reads, in which nothing is decided.
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|^[ \t]*#[^\n]*', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    file: str  # below supervisor/
    line: int  # counted from 1
    original: str  # the line without its indentation
    changed: str  # the line that stands there instead
    text: str  # the whole source

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n    - {self.original}\n    + {self.changed}"


def code_alone(text: str) -> str:
    """The text with a space for every character that is no code, so that all places stay the same."""
    return NO_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_at(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[start : end if end >= 0 else len(text)].strip()


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    code = code_alone(text)
    for pattern, replacements in RULES:
        for found in pattern.finditer(code):
            for replacement in replacements:
                changed = text[: found.start()] + replacement + text[found.end() :]
                yield Mutant(
                    file,
                    text.count("\n", 0, found.start()) + 1,
                    line_at(text, found.start()),
                    line_at(changed, found.start()),
                    changed,
                )
