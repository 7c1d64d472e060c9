"""Writes tutorial_commands.json: every gcloud and docker command in the text of the tutorial, without its values.

    python3 tests/cloud_run/record_tutorial.py TUTORIAL.txt

A command is recorded as its words before the first value, the values that are no variables, and the names of its flags.
Run it again when the tutorial changes; test_tutorial_commands.py then says what has no counterpart in the scripts.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path

OUTPUT = Path(__file__).with_name("tutorial_commands.json")
# A flag whose value makes it another command in the scripts.
VALUES_THAT_COUNT = {"--role"}


def commands_in(text: str) -> list[str]:
    # A command goes on where a line ends in a backslash, or within a quoted word.
    text = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in text.splitlines():
        line = line.strip()
        if inner := re.fullmatch(r"(?:export )?[A-Z_]+=\$\((.*)\)", line):
            line = inner[1]
        if re.match(r"(gcloud|docker) [a-z]", line):
            found.append(normal_form(shlex.split(line, comments=True)))
    return list(dict.fromkeys(found))


def normal_form(words: list[str]) -> str:
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        if word.startswith("-"):
            # A flag that is set to nothing takes something away.
            kept.append(word if name in VALUES_THAT_COUNT else name + "=''" * (word == f"{name}="))
        elif "$" not in word and not word.endswith((".com", ".")) and "/" not in word:
            kept.append(word)
        elif "/" in word and not word.startswith("-") and "$" in word:
            # This is an image, by its own name.
            kept.append(".../" + word.rpartition("/")[2])
    return " ".join(kept)


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    recorded = {
        "source": "the text of the tutorial \"Host Prefect Server & Worker on Cloud Run\"",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "commands": commands_in(text),
    }
    OUTPUT.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
