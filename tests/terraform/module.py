"""The Terraform module of deploy/terraform as its parser, python-hcl2, reads it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "deploy/terraform"
_IS_BLOCK = "__is_block__"


@functools.cache
def parsed(file: Path) -> dict[str, Any]:
    with file.open() as text:
        return dict(hcl2.load(text))


def blocks_of(module: Path, kind: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The blocks of one kind at the top of all files, by their labels."""
    found = {}
    for file in sorted(module.glob("*.tf")):
        for block in parsed(file).get(kind, []):
            labels = []
            while _IS_BLOCK not in block:
                ((label, block),) = block.items()
                labels.append(unquoted(label))
            assert tuple(labels) not in found, f"{kind} {labels} is there twice"
            found[tuple(labels)] = block
    return found


def members(block: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any], bool]]]:
    """A block's arguments, and the blocks in it: name, contents, and whether it is made by `dynamic`."""
    arguments, nested = {}, []
    for name, value in block.items():
        if name.startswith("__"):
            continue
        if name == "dynamic":
            for dynamic in value:
                ((label, body),) = dynamic.items()
                (content,) = body["content"]
                nested.append((unquoted(label), content, True))
        elif isinstance(value, list) and value and all(isinstance(each, dict) and _IS_BLOCK in each for each in value):
            nested += [(name, each, False) for each in value]
        else:
            arguments[name] = value
    return arguments, nested


def texts(value: Any) -> Iterator[str]:
    """Every expression in a block, however deep."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def unquoted(label: str) -> str:
    return label.strip('"')
