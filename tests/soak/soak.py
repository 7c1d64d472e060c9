"""Runs the real program with a real child under random faults, and checks throughout that its invariants hold: docs/soak.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS.parent), str(_TESTS / "support")]

from episodes import run_episode  # noqa: E402
from faults import Target, apply  # noqa: E402
from findings import Findings  # noqa: E402
from injection import why_no_attaching, why_no_freezer, why_no_names  # noqa: E402
from machine import Canary, Scanner, Stopwatch  # noqa: E402
from plan import MODES, episodes, lasting_lane  # noqa: E402
from processes import kill_marked  # noqa: E402
from stepped_clock import why_no_steps  # noqa: E402
from subject import World  # noqa: E402
from supervisor import BINARY, RUN_MARK  # noqa: E402
from watch import DELIVERY, LONGEST_PAUSE, ROLLING_PAUSES, Watcher  # noqa: E402

_DESCRIPTION = """\
Runs the release build with a real child in every rotation mode, under random faults, and checks throughout that what it
promises holds; docs/soak.md describes both. For each mode there are two supervisors side by side: one that lasts for the
whole soak, and one after another that are ended. The exit code is 1 after a violation, which is shown with the last faults
and the log. Needs root.
"""
_EPILOG = """\
The faults, their order and their durations follow from the seed alone, so that the same seed runs the same faults again.
PREFECT_SUPERVISOR_BINARY names another program than build/release/prefect-supervisor."""

UNTIL_IT_SERVES = 60.0
LONGEST_ROLLING_PAUSE = ROLLING_PAUSES[-1] // 1000
JUMP, BETWEEN_JUMPS = 60, 5.0
UP_TO_DATE = LONGEST_PAUSE + max(DELIVERY.values()) + 10.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev soak",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long (default: 10)")
    parser.add_argument("--seed", type=int, metavar="S", help="a number (default: another one each time)")
    parser.add_argument(
        "--mode",
        action="append",
        choices=MODES,
        help="this rotation mode; may be given again (default: all of them)",
    )
    parser.add_argument("--verbose", action="store_true", help="print each fault when it begins")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error("--minutes: it is more than 0")
    return options


class Soak:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.seed: int = options.seed if options.seed is not None else SystemRandom().randrange(1_000_000)
        self.modes: list[str] = options.mode or list(MODES)
        self.findings = Findings(options.verbose)
        self.canary, self.scanner = Canary(), Scanner()
        self._folder = folder
        self._over = threading.Event()
        """The time is over; a violation ends it before."""
        self.stopped = False

    def run(self) -> bool:
        """Whether every invariant held."""
        print(f"soak: seed {self.seed}, {self.options.minutes:g} minutes, {', '.join(self.modes)}: {BINARY}", flush=True)
        with self.canary, self.scanner, contextlib.ExitStack() as stack:
            lives = [
                stack.enter_context(self._thread(life, mode))
                for mode in self.modes
                for life in (self._last, self._end_again_and_again)
            ]
            self._wait(self.options.minutes * 60)
            self._over.set()
            for life in lives:
                life.join()
        return not self.findings.violations

    def stop(self, *_: object) -> None:
        """Ends it before its time."""
        self.stopped = True
        self._over.set()

    def _wait(self, seconds: float) -> None:
        until, told = time.monotonic() + seconds, 0
        while time.monotonic() < until and not self.stopped and not self.findings.over.wait(0.5):
            if self.findings.age // 600 > told:
                told = int(self.findings.age // 600)
                print(self.state(), flush=True)

    def state(self) -> str:
        counts = self.findings.counts
        rotations = ", ".join(f"{counts[f'rotations {mode}']} {mode}" for mode in self.modes)
        return f"soak: {self.findings.age / 60:.0f} minutes, {sum(self.findings.faults.values())} faults; rotations: {rotations}"

    @contextlib.contextmanager
    def _thread(self, function: Callable[..., None], *arguments: object):
        """What fails in a thread of the soak ends the soak."""

        def run() -> None:
            try:
                function(*arguments)
            except BaseException:
                if self.findings.violations:
                    # It fails because the supervisor is no longer there.
                    return
                self.findings.violation("soak", f"the soak itself failed:\n{traceback.format_exc()}", "")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            thread.join()

    # The supervisor that lasts

    def _last(self, mode: str) -> None:
        name = f"{mode}, lasting"
        with World(mode, self._folder / f"{mode}-lasting") as world, contextlib.ExitStack() as stack:
            watchers: list[Watcher] = []
            subject = world.subject(lambda line: watchers[0].on_line(line))
            watchers.append(watcher := Watcher(name, subject, self.scanner, self.canary, self.findings))
            stack.enter_context(subject)
            stack.enter_context(watcher)
            if not self._fulfilled(lambda: watcher.has_served, UNTIL_IT_SERVES):
                watcher.violation("the child did not come to serve")
                return
            target = Target(subject, watcher, subject.clock(), self._over)
            # A rotation in place needs no old child.
            lanes = ["inside", "outside"] + ([] if mode == "in-place" else ["ageing"])
            with contextlib.ExitStack() as running:
                for lane in lanes:
                    running.enter_context(self._thread(self._follow, name, mode, lane, target))
            calm = watcher.clock("delivery")

            def is_well() -> bool:
                return watcher.has_token_of_after(calm) and subject.health("/readyz").status == 200

            # Without faults everything comes right by itself. Jumps end the floor between two starts, and the pauses after
            # rotations that failed; each is shorter than a token's life.
            jumps = 0 if mode == "in-place" else LONGEST_ROLLING_PAUSE // JUMP + 1
            while jumps and not self._fulfilled(is_well, BETWEEN_JUMPS):
                with watcher.frozen():
                    target.clock.step(wall=JUMP, boot=JUMP)
                jumps -= 1
            if not self._fulfilled(is_well, UP_TO_DATE):
                watcher.violation(f"without any fault it is not ready with a new token: {subject.status()}")
            watcher.is_ending = True
            if (code := subject.stop()) != 7 and not self.findings.violations:
                self.findings.violation(name, f"end: it ended with {code}, and 7 would be right", subject.transcript())

    def _follow(self, name: str, mode: str, lane: str, target: Target) -> None:
        for planned in lasting_lane(self.seed, mode, lane):
            if self._over.wait(planned.pause) or self.findings.over.is_set():
                return
            self.findings.tell(f"{name}, {lane}", str(planned))
            apply(target, planned)
            self.findings.fault(planned.what)

    def _fulfilled(self, condition: Callable[[], bool], seconds: float) -> bool:
        stopwatch, passed = Stopwatch(self.canary), 0.0
        while passed < seconds and not self.findings.over.is_set():
            with contextlib.suppress(OSError):
                if condition():
                    return True
            time.sleep(0.1)
            passed += stopwatch.lap()
        return self.findings.over.is_set()

    # Those that end

    def _end_again_and_again(self, mode: str) -> None:
        with World(mode, self._folder / f"{mode}-episodes") as world:
            for episode in episodes(self.seed, mode):
                if self._over.is_set() or self.findings.over.is_set():
                    return
                run_episode(episode, f"{mode}, episode {episode.number}", world, self.scanner, self.canary, self.findings)

    # What is said at the end

    def report(self) -> str:
        findings = self.findings
        lines = [self.state(), "", "faults:"]
        lines += [f"  {number:6d}  {what}" for what, number in sorted(findings.faults.items())]
        lines += ["", "counted:"]
        lines += [f"  {number:6d}  {what}" for what, number in sorted(findings.counts.items())]
        lines += ["", "the most that was seen:"]
        lines += [f"  {value:10.2f} {what}" for what, value in sorted(findings.most.items())]
        lines += ["", f"the machine kept a thread that only sleeps waiting for {self.canary.lost:.1f} s in all"]
        if findings.violations:
            lines += ["", *(f"VIOLATION  {violation}" for violation in findings.violations)]
            lines += [f"The same faults again: ./dev soak --seed {self.seed} --minutes {self.options.minutes:g}"]
        else:
            lines += ["", f"soak: seed {self.seed}: every invariant held" + (" until it was stopped" if self.stopped else "")]
        return "\n".join(lines)


def why_not() -> str | None:
    reasons = (check() for check in (why_no_attaching, why_no_names, why_no_freezer, why_no_steps))
    return next((reason for reason in reasons if reason), None)


def main() -> int:
    options = parse()
    if reason := why_not():
        print(f"soak: error: {reason}", file=sys.stderr)
        return 2
    if not BINARY.exists():
        print(f"soak: error: {BINARY} is missing: ./dev build makes it", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(options, folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, soak.stop)
    try:
        held = soak.run()
    finally:
        kill_marked(f"{RUN_MARK}-{os.getpid()}-")
        shutil.rmtree(folder, ignore_errors=True)
    print(soak.report(), flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
