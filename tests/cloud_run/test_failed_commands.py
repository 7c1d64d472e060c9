"""What the scripts do when a command fails: they wait, they go on, or they stop with one line that says what to do.

gcloud's texts are those of gcloud_texts.py, which says where each comes from. That a second run completes what a first
one began is tested in test_life_cycle.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gcloud_texts import Failure
from quick_gcloud import QuickGoogleCloud, failures_of

Choice = Callable[[Sequence[tuple[str, ...]]], list[tuple[str, ...]]]
# With these each script runs all of the commands that it has.
SETTINGS = {
    "SCALE": "ha",
    "DB_TIER": "db-custom-1-3840",
    "DB_SSL": "verify-ca",
    "ALERT_EMAIL": "team@example.com",
    "SERVER_SECRET_TOKEN": "token",
    "WORKER_SECRET_TOKEN": "token",
}
OTHER_SETTINGS = {
    "SCALE": "single",
    "NETWORK": "existing",
    "PSC_NETWORK_NAME": "our-network",
    "SUBNET": "our-subnet",
    "DB_IP": "10.8.0.9",
    "DB_INSTANCE": "existing",
    "DB_INSTANCE_NAME": "our-db",
    "DB_NAME": "prefect",
    "BUILD": "cloud-build",
    "ACCESS": "public",
    "IAP": "yes",
    "WORKER_COUNT": "0",
}
RUNS = {
    "setup": ("setup", [], {}, False),
    "deploy": ("deploy", [], {}, False),
    "cleanup": ("cleanup", ["--yes"], {}, True),
    "verify of an internal server": ("verify", [], {"ACCESS": "internal"}, True),
    "cleanup in an existing instance": ("cleanup", ["--yes"], OTHER_SETTINGS, True),
    # Where the API of Redis is on, as after SCALE=ha.
    "deploy with IAP": ("deploy", [], OTHER_SETTINGS, False),
    "cleanup of Redis alone": ("cleanup", ["--yes", "--redis"], OTHER_SETTINGS, True),
}
# Of these the first calls have the text of an API that is off: what says so is no such API itself.
BEFORE_ANYTHING = (("gcloud", "version"), ("gcloud", "config"))


@pytest.fixture(params=list(RUNS))
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[QuickGoogleCloud, str, list[str]]:
    script, options, settings, everything_is_there = RUNS[request.param]
    # Nobody listens there, so that verify finds its server closed from outside.
    return QuickGoogleCloud(tmp_path / "cloud", everything_is_there, **SETTINGS | settings), script, options


def all_commands(cloud: QuickGoogleCloud, script: str, options: list[str]) -> list[tuple[str, ...]]:
    result = cloud.run(script, *options)
    assert result.returncode == 0, result.stderr
    return [words for words in cloud.commands if words[:2] not in BEFORE_ANYTHING]


@pytest.mark.parametrize("case", ["api-not-enabled", "iam-not-propagated"])
def test_what_may_pass_is_waited_for_at_every_command(
    case: str, tried: tuple[QuickGoogleCloud, str, list[str]]
) -> None:
    cloud, script, options = tried
    commands = all_commands(cloud, script, options)
    failures = failures_of(commands, case)
    assert failures or case == "iam-not-propagated"
    result = cloud.run(script, *options, failures=failures, once=True)
    assert result.returncode == 0, result.stderr
    expected = [words for each in commands for words in [each] * (2 if each in failures else 1)]
    # What is there twice in a script fails only the first time.
    assert sorted(set(expected)) == sorted({words for words in cloud.commands if words[:2] not in BEFORE_ANYTHING})
    for words in failures:
        assert cloud.commands.count(words) == commands.count(words) + 1, words
    assert result.stderr.count("this may pass") == len(failures)


@pytest.mark.parametrize("case", ["api-not-enabled", "iam-not-propagated"])
def test_patience_ends_and_then_a_line_says_what_it_was(
    case: str, tried: tuple[QuickGoogleCloud, str, list[str]]
) -> None:
    cloud, script, options = tried
    failures = failures_of(all_commands(cloud, script, options), case)
    # The last one, and one in the middle.
    for words in list(failures)[len(failures) // 2 :: max(1, len(failures) // 2)]:
        result = cloud.run(script, *options, failures={words: failures[words]}, PATIENCE="0")
        assert_stopped(result.returncode, result.stderr, script, words, failures[words])


@pytest.mark.parametrize("case", ["permission-denied", "organisation-policy"])
def test_what_does_not_pass_stops_the_script_with_one_line_that_says_what_to_do(
    case: str, tried: tuple[QuickGoogleCloud, str, list[str]], some_of: Choice
) -> None:
    cloud, script, options = tried
    failures = failures_of(all_commands(cloud, script, options), case)
    assert failures or case == "organisation-policy"
    hints = {
        "permission-denied": "You lack a permission",
        "organisation-policy": "A policy of your organisation forbids it",
    }
    for words in some_of(list(failures)):
        answer = failures[words]
        result = cloud.run(script, *options, failures={words: answer})
        line = assert_stopped(result.returncode, result.stderr, script, words, answer)
        # `sql instances describe` says the same of every refusal.
        says_little = words[1:4] == ("sql", "instances", "describe")
        assert hints["permission-denied" if says_little else case] in line, line
        assert "this may pass" not in result.stderr
        assert cloud.commands.count(words) == 1 or "delete" in words


def test_what_is_missing_is_made_or_counts_as_deleted_or_stops_the_script(
    tried: tuple[QuickGoogleCloud, str, list[str]], some_of: Choice
) -> None:
    cloud, script, options = tried
    # All is there, and a describe that fails is the only one.
    cloud.environment["EVERYTHING_IS_THERE"] = "yes"
    commands = all_commands(cloud, script, options)
    failures = failures_of(commands, "missing")
    questions = questions_before_making(cloud, script, options)
    looked_for = [words for words in failures if words in questions]
    deleted = [words for words in failures if is_removal(words)]
    fine = {words: failures[words] for words in looked_for + deleted}
    result = cloud.run(script, *options, failures=fine, once=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("there is none") == len(deleted)
    for words in looked_for:
        made = tuple("create" if word == "describe" else word for word in words[: words.index("describe") + 1])
        made = ("gcloud", "secrets", "versions", "add") if "versions" in words else made
        assert any(each[: len(made)] == made for each in cloud.commands), words
    for words in some_of([words for words in failures if words not in fine]):
        result = cloud.run(script, *options, failures={words: failures[words]})
        if may_be_missing(words, cloud.environment["SCALE"]):
            assert result.returncode == 0, result.stderr
            continue
        assert_stopped(result.returncode, result.stderr, script, words, failures[words])


def may_be_missing(words: tuple[str, ...], scale: str) -> bool:
    """With SCALE=ha: an instance of Cloud SQL that is to be made yet, and a secret without a version; and what SCALE=single
    looks for of a former SCALE=ha."""
    tier_or_flags = any(word.startswith("--format=value(settings.") for word in words)
    is_left = words[1:4] == ("redis", "instances", "describe") and "--format=value(state)" in words
    return (
        (words[1:4] == ("sql", "instances", "describe") and tier_or_flags)
        or words[1:4] == ("secrets", "versions", "access")
        or (is_left and scale == "single")
        or any("prefect-supervisor/scale" in word for word in words)
    )


def is_removal(words: tuple[str, ...]) -> bool:
    return "delete" in words or any(word.startswith("remove-") for word in words)


def questions_before_making(cloud: QuickGoogleCloud, script: str, options: list[str]) -> list[tuple[str, ...]]:
    """The commands that are shown with || after them."""
    lines = cloud.run(script, *options).stdout.splitlines()
    return [tuple(shlex.split(line.removesuffix(" ||"))) for line in lines if line.endswith(" ||")]


def assert_stopped(code: int, stderr: str, script: str, words: tuple[str, ...], answer: Failure) -> str:
    assert code == answer.exit_code, (words, stderr)
    lines = [line for line in stderr.splitlines() if "failed in step" in line]
    assert lines, (words, stderr)
    line = lines[0]
    assert line.startswith(f'{script}: failed in step "')
    assert line.endswith(f"Then run {script} again: it goes on from there.")
    # Without what quotes it for a shell.
    assert words[-1].replace("'", "") in line.replace("'", "").replace("\\", "") or "condition" in line
    # What gcloud said is in it.
    said = next(text for text in answer.stderr.splitlines() if "ERROR: (gcloud" in text)
    assert " ".join(said.split())[:60] in line, line
    return line


def test_an_api_that_is_off_has_nothing_to_delete(tmp_path: Path) -> None:
    """services list says so; then it is not waited for, and it is not said that something may be left."""
    cloud = QuickGoogleCloud(tmp_path / "cloud", everything_is_there=True)
    commands = all_commands(cloud, "cleanup", ["--yes"])
    text = (tmp_path / "cloud/programs/gcloud").read_text()
    (tmp_path / "cloud/programs/gcloud").write_text(text.replace("run sqladmin compute", "compute"))
    off = {
        words: answer
        for words, answer in failures_of(commands, "api-not-enabled").items()
        if words[1] in ("run", "sql") and "delete" in words
    }
    assert len(off) > 3
    result = cloud.run("cleanup", "--yes", failures=off)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("is switched off in my-cloud-project") == len(off)
    # The other scripts say which one has to be run first.
    result = cloud.run("deploy")
    assert result.returncode == 1
    assert result.stderr.endswith(
        "deploy: error: switched off in my-cloud-project: run.googleapis.com sqladmin.googleapis.com."
        " Run setup first (with these settings); nothing was done\n"
    )


@pytest.mark.parametrize("version", ["565.0.0", "528.0.0", ""])
def test_an_sdk_that_is_too_old_is_refused_before_anything_is_done(version: str, tmp_path: Path) -> None:
    cloud = QuickGoogleCloud(tmp_path / "cloud")
    program = tmp_path / "cloud/programs/gcloud"
    program.write_text(program.read_text().replace("echo 578.0.0", f"echo {version}"))
    for script in ("setup", "deploy", "verify", "cleanup"):
        result = cloud.run(script)
        assert result.returncode == 1 and result.stderr.count("\n") == 1
        assert version in result.stderr and result.stderr.endswith("nothing was done\n")
        assert {words[:2] for words in cloud.commands} == {("gcloud", "version")}
