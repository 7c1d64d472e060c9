"""The commands that a script of deploy/cloud_run prints, which are lines for a shell."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_HEREDOC = re.compile(r" <<'?YAML'?\n(.*?)\nYAML$", re.DOTALL | re.MULTILINE)
_INNER = re.compile(r"^(?:[A-Za-z_]+|for each in )=?\$\((.*?)\)(?:; do (.*) \"\$each\"; done)?$")
_COMPARED = re.compile(r"^\[\[ \$\((.*?)\) == ")


@dataclass(frozen=True)
class Shown:
    words: list[str]
    # What it reads from its standard input, if that is YAML.
    yaml: str = ""

    def __str__(self) -> str:
        return " ".join(self.words)


def shown_commands(output: str) -> list[Shown]:
    """gcloud's and docker's, in their order. What is known later stands in them as ${NAME}."""
    documents: list[str] = []

    def number(match: re.Match[str]) -> str:
        documents.append(match[1])
        return f" YAML-{len(documents) - 1}"

    commands = []
    for line in _HEREDOC.sub(number, output).splitlines():
        inner = _INNER.match(line) or _COMPARED.match(line)
        texts = [line.removesuffix(" ||")]
        if inner:
            each = inner[2] if inner.re is _INNER else None
            texts = [inner[1]] + ([f'{each} "${{each}}"'] if each else [])
        for text in texts:
            text = re.sub(r"^printf .* \| (env ([A-Z_]+=\S+ )*)?", "", text)
            if text.startswith(("gcloud ", "docker ")):
                words = shlex.split(text)
                yaml = documents[int(words.pop().removeprefix("YAML-"))] if words[-1].startswith("YAML-") else ""
                commands.append(Shown(words, yaml))
    return commands
