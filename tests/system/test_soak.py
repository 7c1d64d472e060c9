"""One minute of the soak (docs/soak.md), and what its seed decides."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import pytest

import soak
from faults import FAULTS
from injection import require
from metadata_failures import FAILURES
from plan import MODES, episodes, lasting_lane
from supervisor import BINARY

SEED = 20
SCRIPT = soak.__file__
LANES = ("inside", "outside", "ageing")


@pytest.mark.only_shipped("it bounds the memory, and AddressSanitizer keeps what was freed for a while")
@pytest.mark.long
@require(soak.why_not)
def test_every_invariant_holds_in_a_minute_of_faults() -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--minutes", "1", "--seed", str(SEED)],
        env=os.environ | {"PREFECT_SUPERVISOR_BINARY": str(BINARY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # A soak in which nothing happens would hold, too.
    for mode in MODES:
        assert int(re.search(rf"(\d+)  rotations {mode}$", ran.stdout, re.MULTILINE)[1]) > 0
    assert "every invariant held" in ran.stdout


def first(seed: int, mode: str) -> list[str]:
    lanes = [itertools.islice(lasting_lane(seed, mode, lane), 100) for lane in LANES]
    return [str(step) for step in (*itertools.chain(*lanes), *itertools.islice(episodes(seed, mode), 100))]


def test_a_seed_decides_what_happens() -> None:
    assert first(SEED, "rolling") == first(SEED, "rolling")
    assert first(SEED, "rolling") != first(SEED + 1, "rolling") != first(SEED + 1, "restart")


@pytest.mark.parametrize("mode", MODES)
def test_every_fault_comes_in_every_mode(mode: str) -> None:
    steps = [step for lane in LANES for step in itertools.islice(lasting_lane(SEED, mode, lane), 200)]
    there = {name for name in FAULTS if mode == "rolling" or not name.startswith("next child")}
    assert {step.what for step in steps} == there
    assert {step.details["kind"] for step in steps if step.what == "metadata"} > set(FAILURES)
