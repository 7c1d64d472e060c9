"""A `gcloud` for the tests of what the scripts do after a failure: some hundred runs, in which what a command does is
of no interest, and only what it prints. It is a script for bash, which starts ten times faster than the stand-in.

It answers every question, finds nothing that was not made before, and writes down every command. A command that is in
`failures` fails with that text, once or always.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gcloud_texts import Failure, failure
from google_cloud import PROJECT, run_script

_GCLOUD = r"""#!/bin/bash
folder=${0%/*}/..
words=${0##*/}
for word; do words+=" $word"; done
printf '%s\0' "${0##*/}" "$@" >>"$folder/commands"
printf '\n\0' >>"$folder/commands"
case " $words " in *' - '* | *=-\ *) read -rd '' input ;; esac
declare -A texts=() codes=()
[[ ! -e $folder/failures ]] || source "$folder/failures"
if [[ -v texts[$words] ]] && ! { [[ -e $folder/once && $(<"$folder/failed") == *"|$words|"* ]]; }; then
    printf '|%s|' "$words" >>"$folder/failed"
    printf '%s' "${texts[$words]}" >&2
    exit "${codes[$words]}"
fi
[[ ${0##*/} == gcloud ]] || exit 0
# What it is, without the verb, and its name.
path= verb= name=
for word; do
    if [[ -n $verb ]]; then name=$word; break; fi
    case $word in create | describe | delete | add) verb=$word ;; *) path+=" $word" ;; esac
done
if [[ $verb == add ]]; then name=latest; fi
case $verb in
    create | add) printf '|%s %s|' "$path" "$name" >>"$folder/made" ;;
    describe)
        case $path in
            ' run services' | ' projects' | ' artifacts docker images') ;;
            *)
                # What is asked of an instance of Redis is only asked when there has to be one.
                if ! [[ -n $EVERYTHING_IS_THERE || $words == *' redis '*--format=* || $(<"$folder/made") == *"|$path $name|"* ]]; then
                    echo 'ERROR: NOT_FOUND: it was not found' >&2
                    exit 1
                fi
                ;;
        esac
        ;;
esac
case $words in
    'gcloud version'*) echo 578.0.0 ;;
    *'services list'*)
        printf '%s.googleapis.com\n' run sqladmin compute artifactregistry servicenetworking iam \
            cloudresourcemanager secretmanager monitoring logging iap cloudbuild redis
        ;;
    *' redis '*'value(state)'*) echo READY ;;
    *'value(transitEncryptionMode)'*) echo SERVER_AUTHENTICATION ;;
    *'value(settings.tier)'*) echo db-custom-1-3840 ;;
    *'value(state)'*) echo RUNNABLE ;;
    *monitoring*list*) [[ -z $EVERYTHING_IS_THERE ]] || echo projects/1/things/1 ;;
    *--format=value*) echo an-answer ;;
esac
"""


class QuickGoogleCloud:
    def __init__(self, folder: Path, everything_is_there: bool = False, **settings: str) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir(parents=True)
        for name in ("gcloud", "docker"):
            (programs / name).write_text(_GCLOUD)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "PROJECT_ID": PROJECT,
            "RETRY_PAUSE": "0",
            "EVERYTHING_IS_THERE": "yes" if everything_is_there else "",
        } | settings

    def run(
        self,
        script: str,
        *options: str,
        failures: Mapping[tuple[str, ...], Failure] = {},
        once: bool = False,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        for name in ("commands", "made", "failed"):
            (self.folder / name).write_text("")
        (self.folder / "once").unlink(missing_ok=True)
        if once:
            (self.folder / "once").touch()
        lines = [
            f"texts[{shlex.quote(' '.join(words))}]={shlex.quote(each.stderr)}"
            f" codes[{shlex.quote(' '.join(words))}]={each.exit_code}\n"
            for words, each in failures.items()
        ]
        (self.folder / "failures").write_text("".join(lines))
        return run_script(script, *options, environment=self.environment | more)

    @property
    def commands(self) -> list[tuple[str, ...]]:
        records = (self.folder / "commands").read_text().split("\n\0")
        return [tuple(record.split("\0")[:-1]) for record in records if record]


def failures_of(commands: list[tuple[str, ...]], case: str) -> dict[tuple[str, ...], Failure]:
    """What each of them answers in that case, as far as it can be in it."""
    # The login of Docker is a matter of this machine alone.
    asking = [words for words in commands if words[0] == "gcloud" and words[1] != "auth"]
    answers = {words: failure(list(words), case) for words in asking}
    return {words: answer for words, answer in answers.items() if answer is not None}
