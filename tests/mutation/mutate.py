"""Changes the policies one place at a time, and says which changes no unit test notices: ./dev mutate.

    tests/mutation/mutate.py [--jobs N] [POLICY...]        POLICY: a part of a file's name, such as readiness

A policy is a header in `supervisor/` whose comment says "Pure policy", with the sources NAME.cpp and NAME_*.cpp beside it; its tests
are `tests/unit/FOLDER/test_NAME.cpp` and `test_NAME_*.cpp`. A policy decides and does nothing else, so a small program of it and its tests shows
what they notice: for each mutant one file is compiled, and that program is linked and run.

A mutant that no test notices has survived, which is a failure, but for those in equivalent.toml. An entry there that
fits no surviving mutant is a failure too. A mutant that does not compile is none.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from mutants import Mutant, mutants_of

REPOSITORY = Path(__file__).resolve().parents[2]
SUPERVISOR = REPOSITORY / "supervisor"
UNIT_TESTS = REPOSITORY / "tests/unit"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
LIBRARY_HEADER = re.compile(r"^#include <([^>]+)>", re.MULTILINE)
OUR_HEADER = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
IS_POLICY = re.compile(r"Pure\s+(?://+\s+)?policy")

# What is no policy and decides for all of them.
ALSO = [SUPERVISOR / "base/clock.hpp", SUPERVISOR / "base/child_phase.hpp"]
# The sources that the program of a policy is linked with.
NEEDED = {
    "child_lifecycle": ["base/child_phase.cpp", "child/child_action.cpp"],
    "child_phase": ["child/child_action.cpp", "child/child_lifecycle.cpp", "child/child_lifecycle_rolling.cpp"],
}
# The tests of what has none of its own.
TESTED_BY = {"child_phase": ["child/test_child_lifecycle.cpp", "child/test_child_lifecycle_rolling.cpp"]}

# As the dev build has it, but for what makes a program fast: each of these programs runs for some hundredths of a second.
COMPILER = [os.environ.get("CXX", "g++"), "-std=c++20", "-O0", "-w", "-D_GLIBCXX_ASSERTIONS", "-DBOOST_PROCESS_USE_STD_FS"]
LIBRARIES = ["-lCatch2Main", "-lCatch2", "-pthread"]
# A mutant whose loop has no end would run for ever.
LONGEST_RUN = 60.0


class DoesNotCompile(Exception):
    """With what the compiler or the linker says."""


@dataclasses.dataclass
class Policy:
    header: Path
    sources: list[Path]
    tests: list[Path]
    needed: list[Path]

    @property
    def name(self) -> str:
        return self.header.stem


def policies() -> list[Policy]:
    headers = [path for path in sorted(SUPERVISOR.rglob("*.hpp")) if IS_POLICY.search(path.read_text())]
    return [
        Policy(
            header,
            parts(header.parent, header),
            [UNIT_TESTS / test for test in TESTED_BY.get(header.stem, [])]
            or parts(UNIT_TESTS / header.parent.name, header, "test_"),
            [SUPERVISOR / source for source in NEEDED.get(header.stem, [])],
        )
        for header in headers + ALSO
    ]


def parts(folder: Path, header: Path, prefix: str = "") -> list[Path]:
    """NAME.cpp and each NAME_*.cpp that belongs to no other header, as child_lifecycle_rolling.cpp does to none."""
    return [
        path
        for path in sorted(folder.glob(f"{prefix}{header.stem}*.cpp"))
        if path.stem == prefix + header.stem
        or not header.with_name(path.stem.removeprefix(prefix) + ".hpp").exists()
    ]


def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise DoesNotCompile(done.stderr)


class Program:
    """The program of one policy and its tests, in a folder of its own."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        self.policy = policy
        self.folder = folder
        folder.mkdir()
        # Each file is compiled once in a mutant's life, so that a cache would only fill up.
        self.environment = {**os.environ, "CCACHE_DISABLE": "1"}
        self.objects: dict[Path, Path] = {}
        self.precompiled = folder / "libraries.hpp"

    def precompile(self) -> None:
        """The headers of the libraries, which no mutant changes and which take most of a compiler's time."""
        found = set().union(*(LIBRARY_HEADER.findall(path.read_text()) for path in self.all_files()))
        self.precompiled.write_text("".join(f"#include <{name}>\n" for name in sorted(found)))
        run([*COMPILER, "-x", "c++-header", self.precompiled], self.environment)

    def all_files(self) -> set[Path]:
        """The files of the program, with what they include of ours."""
        files, seen = [*self.policy.sources, *self.policy.tests, *self.policy.needed], set[Path]()
        while files:
            path = files.pop()
            if path not in seen:
                seen.add(path)
                ours = (folder / name for name in OUR_HEADER.findall(path.read_text()) for folder in (SUPERVISOR, UNIT_TESTS))
                files += [included for included in ours if included.exists()]
        return seen

    def compile(self, source: Path, target: Path, overlay: Path | None = None) -> None:
        """The files below `overlay` are taken instead of those of supervisor/ that they are named after."""
        folders = [path for path in (overlay, SUPERVISOR, UNIT_TESTS) if path]
        includes = ["-include", self.precompiled, *(f"-I{path}" for path in folders)]
        run([*COMPILER, *includes, "-c", source, "-o", target], self.environment)

    def link(self, objects: Sequence[Path], target: Path) -> None:
        run([*COMPILER, *objects, "-o", target, *LIBRARIES], self.environment)

    def prepare(self, pool: concurrent.futures.Executor) -> None:
        """Compiles everything as it is, and shows that the tests pass."""
        self.precompile()
        files = [*self.policy.sources, *self.policy.tests, *self.policy.needed]
        self.objects = {path: self.folder / f"{number}.o" for number, path in enumerate(files)}
        list(pool.map(lambda item: self.compile(*item), self.objects.items()))
        program = self.folder / "unchanged"
        self.link(list(self.objects.values()), program)
        if not passes(program):
            raise SystemExit(f"mutate: error: the tests of {self.policy.name} fail without a change: {program}")

    def mutants(self) -> list[Mutant]:
        return [
            mutant
            for path in [self.policy.header, *self.policy.sources]
            for mutant in mutants_of(str(path.relative_to(SUPERVISOR)), path.read_text())
        ]

    def survives(self, mutant: Mutant) -> bool | None:
        """Whether the tests pass with it; None if it does not compile."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            overlay = folder / "overlay"
            changed = overlay / mutant.file
            changed.parent.mkdir(parents=True)
            changed.write_text(mutant.text)
            objects = dict(self.objects)
            # A header is part of every file that includes it.
            is_header = changed.suffix == ".hpp"
            for source in self.objects if is_header else [SUPERVISOR / mutant.file]:
                objects[source] = folder / self.objects[source].name
                try:
                    self.compile(source if is_header else changed, objects[source], overlay)
                except DoesNotCompile:
                    return None
            program = folder / "mutant"
            self.link(list(objects.values()), program)
            return passes(program)


def passes(program: Path) -> bool:
    """Catch's own code for success; a crash and an endless loop are noticed by whoever runs the tests."""
    try:
        done = subprocess.run(
            [program, "--abort"], capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST_RUN, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def read_equivalent() -> collections.Counter[tuple[str, str, str]]:
    entries = tomllib.loads(EQUIVALENT.read_text()).get("mutant", [])
    for entry in entries:
        if set(entry) != {"file", "original", "changed", "reason"} or not entry["reason"].strip():
            raise SystemExit(f"mutate: error: {EQUIVALENT.name}: not file, original, changed and reason: {entry}")
    return collections.Counter((entry["file"], entry["original"], entry["changed"]) for entry in entries)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev mutate", description="Mutates the policies, and names what no unit test notices.")
    parser.add_argument("policy", nargs="*", help="parts of names, such as readiness (default: all policies)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    start = time.monotonic()
    chosen = [policy for policy in policies() if not options.policy or any(it in policy.name for it in options.policy)]
    if not chosen:
        raise SystemExit(f"mutate: error: no policy has one of these in its name: {' '.join(options.policy)}")
    equivalent = read_equivalent()
    expected = collections.Counter(
        {key: count for key, count in equivalent.items() if any(is_of(policy, key[0]) for policy in chosen)}
    )
    total = noticed = unexpected = 0
    (REPOSITORY / "build").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="mutate-", dir=REPOSITORY / "build") as folder,
        concurrent.futures.ThreadPoolExecutor(options.jobs) as pool,
    ):
        for policy in chosen:
            program = Program(policy, Path(folder) / policy.name)
            program.prepare(pool)
            mutants = program.mutants()
            outcomes = collections.Counter[bool | None]()
            for mutant, outcome in zip(mutants, pool.map(program.survives, mutants)):
                outcomes[outcome] += 1
                key = (mutant.file, mutant.original, mutant.changed)
                if outcome and expected[key] > 0:
                    expected[key] -= 1
                elif outcome:
                    unexpected += 1
                    print(f"mutate: no test notices {mutant}", flush=True)
            compiled = outcomes[True] + outcomes[False]
            print(f"mutate: {policy.name}: {compiled} mutants, {outcomes[False]} noticed by a test", flush=True)
            total += compiled
            noticed += outcomes[False]

    unused = [key for key, count in expected.items() if count > 0]
    for file, original, changed in unused:
        print(f"mutate: {EQUIVALENT.name} has a mutant that does not survive, or does not exist: {file}\n    - {original}\n    + {changed}")
    print(
        f"mutate: {total} mutants, {noticed} noticed by a test, {total - noticed - unexpected} known to change nothing,"
        f" {unexpected} not noticed; {time.monotonic() - start:.0f} s"
    )
    return 1 if unexpected or unused else 0


def is_of(policy: Policy, file: str) -> bool:
    return SUPERVISOR / file in [policy.header, *policy.sources]


if __name__ == "__main__":
    sys.exit(main())
