"""What gcloud prints when a command of deploy/cloud_run fails. (First entries; being completed.)"""

from __future__ import annotations

from typing import NamedTuple

CASES = ("missing", "api-not-enabled", "permission-denied", "iam-not-propagated", "organisation-policy")


class Failure(NamedTuple):
    stderr: str
    exit_code: int
    source: str


def failure(command: list[str], case: str) -> Failure | None:
    """What gcloud answers to the words of a command in that case, or None if it cannot answer in that way."""
    words = command[1:] if command[0] == "gcloud" else command
    path = words_of_command(words)
    where = f"(gcloud.{'.'.join(path)})"
    if case == "missing":
        name = words[len(path)]
        if path == ["run", "services", "delete"]:
            text = f"Service [{name}] could not be found."
            return Failure(f"ERROR: {where} {text}\n", 1, "command_lib/run/serverless_operations.py, DeleteService")
        if path == ["run", "jobs", "delete"]:
            text = f"Job [{name}] could not be found."
            return Failure(f"ERROR: {where} {text}\n", 1, "command_lib/run/serverless_operations.py, DeleteJob")
        return None
    if case == "permission-denied":
        return Failure(f"ERROR: {where} PERMISSION_DENIED: The caller does not have permission\n", 1, "provisional")
    return None


def cases(command: list[str]) -> list[str]:
    return [case for case in CASES if failure(command, case)]


def words_of_command(words: list[str]) -> list[str]:
    path = []
    for word in words:
        if word.startswith("-"):
            break
        path.append(word)
        if word in ("create", "delete", "describe", "replace", "execute", "enable", "list", "add", "access") or (
            word.endswith("-iam-policy-binding")
        ):
            break
    return path
