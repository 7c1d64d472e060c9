"""The completions in real shells: a line is typed and completed by Tab, and the shell then prints the line."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import BINARY

DOCUMENTS = BINARY.parent / "documents"
TIMEOUT = 30
READY = "ready> "
TO_THE_START, ENTER = "\x01", "\r"


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._terminal, terminal = pty.openpty()
        self._shown = ""
        self._shell = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=shell_environment(folder),
            start_new_session=True,
        )
        os.close(terminal)

    def __enter__(self) -> Shell:
        self._read_until(re.escape(READY))
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._terminal)

    def _read_until(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self._shown)):
            readable, _, _ = select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"no {pattern!r} in {self._shown!r}"
            # Without what colours text and moves the cursor.
            self._shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._terminal, 65536).decode(errors="replace"))
        self._shown = self._shown[found.end() :]
        return found

    def completed(self, line: str) -> str:
        """What the line has become after Tab, without the space that a shell adds."""
        os.write(self._terminal, f"{line}\t{TO_THE_START}echo '<it is>' {ENTER}".encode())
        return str(self._read_until(r"\n<it is> (.*?)\r*\n")[1]).rstrip()


def bash(folder: Path, *, library: bool) -> Shell:
    rc = folder / "bashrc"
    rc.write_text(
        ("source /usr/share/bash-completion/bash_completion\n" if library else "")
        + f"source {DOCUMENTS}/prefect-supervisor.bash\nPS1='{READY}'\nbind 'set enable-bracketed-paste off'\n"
    )
    return Shell(["bash", "--noprofile", "--rcfile", str(rc), "-i"], folder)


def zsh(folder: Path) -> Shell:
    functions = folder / "functions"
    functions.mkdir()
    (functions / "_prefect-supervisor").write_text((DOCUMENTS / "prefect-supervisor.zsh").read_text())
    (folder / ".zshrc").write_text(
        f"PS1='{READY}'\nfpath=({functions} $fpath)\nautoload -Uz compinit\ncompinit -u -D\nunset zle_bracketed_paste\n"
        "setopt no_prompt_sp no_beep\n"
    )
    return Shell(["zsh", "-i"], folder)


def shell_environment(folder: Path) -> dict[str, str]:
    program = folder / "bin"
    program.mkdir()
    (program / "prefect-supervisor").symlink_to(BINARY)
    return {"HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "dumb", "COLUMNS": "500", "LC_ALL": "C.UTF-8",
            "PATH": f"{program}:/usr/bin:/bin"}  # fmt: skip


@pytest.fixture(params=["bash", "bash-without-its-library", "zsh"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "certificate.pem").touch()
    with zsh(tmp_path) if request.param == "zsh" else bash(tmp_path, library=request.param == "bash") as opened:
        yield opened


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("--rot", "--rotation"),
        ("--lic", "--licenses"),
        ("--single", "--single-child"),
        ("--rotation in-", "--rotation in-place"),
        ("--rotation=in-", "--rotation=in-place"),
        ("--db-ssl verify-f", "--db-ssl verify-full"),
        ("--health-address o", "--health-address off"),
        ("--db-ssl-root-cert cert", "--db-ssl-root-cert certificate.pem"),
        ("--no-token --log-f", "--no-token --log-format"),
        # A value that the program does not know is left alone.
        ("--db-user --lic", "--db-user --lic"),
        # The command's own words are none of the program's flags.
        ("--no-token -- --rot", "--no-token -- --rot"),
        ("--no-token -- sha256", "--no-token -- sha256sum"),
        ("--no-token -- cat cert", "--no-token -- cat certificate.pem"),
    ],
)
def test_tab_completes(shell: Shell, typed: str, completed: str) -> None:
    line = shell.completed(f"prefect-supervisor {typed}")
    expected = f"prefect-supervisor {completed}"
    # zsh leaves the = of a flag whose value may follow it.
    assert line in (expected, f"{expected}=")


def test_every_flag_of_the_help_is_completed() -> None:
    flags = set(re.findall(r"^  (--[\w-]+)", subprocess.check_output([BINARY, "--help"], text=True), re.M))
    bash_text = (DOCUMENTS / "prefect-supervisor.bash").read_text()
    offered = re.search(r"\*\) .*compgen -W '([^']*)'", bash_text)
    assert offered and set(offered[1].split()) == flags | {"--"}
    assert set(re.findall(r"(--[\w-]+)=?\[", (DOCUMENTS / "prefect-supervisor.zsh").read_text())) == flags
