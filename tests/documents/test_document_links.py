"""The links between the documents, and the index of them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from documents import REPOSITORY, documents, prose, text_of

README_LINES = 150
LINK = re.compile(r"\]\(([^()\s]+)\)")


@functools.cache
def anchors(document: str) -> frozenset[str]:
    """As GitHub makes them of the headings: in lower case, without punctuation, with hyphens for spaces. A heading that is there
    twice gets a number the second time."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *$", prose(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = sum(each == anchor or re.fullmatch(rf"{re.escape(anchor)}-\d+", each) is not None for each in found)
        found.append(f"{anchor}-{count}" if anchor in found else anchor)
    return frozenset(found)


def broken(document: str, links: list[str]) -> list[str]:
    """The links that lead to no file, or to no heading of it."""
    wrong = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = ((REPOSITORY / document).parent / name).resolve() if name else REPOSITORY / document
        inside = target.is_relative_to(REPOSITORY)
        if not inside or not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(str(target.relative_to(REPOSITORY))):
            wrong.append(f"{link}: there is no such heading")
    return wrong


@pytest.mark.parametrize("document", documents())
def test_every_link_leads_somewhere(document: str) -> None:
    assert broken(document, LINK.findall(prose(document))) == []


def test_there_are_links_and_a_broken_one_is_noticed() -> None:
    assert sum(len(LINK.findall(prose(document))) for document in documents()) > 150
    assert broken("docs/README.md", ["nowhere.md", "settings.md#nowhere", "settings.md#probes", "#documents"]) == [
        "nowhere.md: there is no such file",
        "settings.md#nowhere: there is no such heading",
    ]


def test_the_index_lists_every_document() -> None:
    """The decisions are listed as a folder."""
    linked = {(REPOSITORY / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(text_of("docs/README.md"))}
    missing = [
        document
        for document in documents()
        if document not in ("README.md", "docs/README.md", "CHANGELOG.md")
        and not linked & {(REPOSITORY / document), Path(REPOSITORY / document).parent}
    ]
    assert missing == []


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES
