"""Records what the tests know of Google's command line, gcloud, and of Cloud Run's YAML, from an installed SDK.

    python3 tests/cloud_run/record_gcloud.py "$(gcloud info --format='value(installation.sdk_root)')"

It writes gcloud_commands.json and cloud_run_schema.json beside itself: names, types and choices, nothing else.
It is run by hand, for a new command or a newer SDK (by the Python that the SDK has in
platform/bundledpythonunix/bin); the tests need no SDK.

The SDK's source, as it is published on GitHub (google-cloud-sdk-unofficial/google-cloud-sdk), will do. It lacks
surface/beta/__init__.py, which is part of the component `beta`, and here the file compute_v1_messages.py, for its
size: both were taken from SDK 528. Of the recorded commands, that file can only change which values a few flags of
`gcloud compute` take.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

_COMMANDS = """
artifacts docker images delete
artifacts docker images describe
artifacts repositories create
artifacts repositories delete
artifacts repositories describe
auth application-default login
auth configure-docker
auth login
auth print-identity-token
beta monitoring channels create
beta monitoring channels delete
beta monitoring channels list
beta run domain-mappings create
beta run worker-pools delete
beta run worker-pools replace
beta sql instances create
builds submit
compute addresses create
compute addresses delete
compute addresses describe
compute forwarding-rules create
compute forwarding-rules delete
compute forwarding-rules describe
compute networks create
compute networks delete
compute networks describe
compute networks subnets create
compute networks subnets delete
compute networks subnets describe
compute routers create
compute routers nats create
config get-value
config set
iam service-accounts add-iam-policy-binding
iam service-accounts create
iam service-accounts delete
iam service-accounts describe
iam service-accounts keys create
iam workload-identity-pools create
iam workload-identity-pools create-cred-config
iam workload-identity-pools providers create-oidc
iap web add-iam-policy-binding
logging read
monitoring policies create
monitoring policies delete
monitoring policies list
projects add-iam-policy-binding
projects describe
projects remove-iam-policy-binding
redis instances create
redis instances delete
redis instances describe
redis instances failover
redis instances get-auth-string
redis instances update
run deploy
run jobs create
run jobs delete
run jobs execute
run jobs executions describe
run jobs executions list
run jobs replace
run revisions describe
run revisions list
run services add-iam-policy-binding
run services delete
run services describe
run services logs read
run services remove-iam-policy-binding
run services replace
run services update
run services update-traffic
run worker-pools delete
run worker-pools describe
run worker-pools replace
run worker-pools revisions list
run worker-pools update
run worker-pools update-instance-split
secrets add-iam-policy-binding
secrets create
secrets delete
secrets describe
secrets remove-iam-policy-binding
secrets versions access
secrets versions add
secrets versions describe
secrets versions destroy
secrets versions list
services enable
services list
sql backups create
sql backups list
sql backups restore
sql databases create
sql databases delete
sql databases describe
sql generate-login-token
sql instances clone
sql instances create
sql instances delete
sql instances describe
sql instances patch
sql ssl server-ca-certs list
sql users create
sql users delete
sql users describe
sql users set-password
version
"""

_KINDS = {
    "Service": "serving.knative.dev/v1",
    "WorkerPool": "run.googleapis.com/v1",
    "Job": "run.googleapis.com/v1",
}
# Answers of Cloud Run, and messages in which everything is left to the user.
_NOT_WRITTEN = {"ServiceStatus", "WorkerPoolStatus", "JobStatus", "OwnerReference"}


def record_commands() -> dict[str, Any]:
    from googlecloudsdk import gcloud_main

    top = gcloud_main.CreateCLI([])._TopElement()
    return {
        command: record_command(top.LoadSubElementByPath(command.split()))
        for command in _COMMANDS.strip().splitlines()
    }


def record_command(element: Any) -> dict[str, Any]:
    """A flag is false when it takes no value, true when it takes any, or the list of what it takes."""
    flags: dict[str, Any] = {}
    positionals, any_case = [], []
    # A flag that is required within a group is required only when the group is used.
    required = [
        argument.option_strings
        for argument in element.ai.arguments
        if not argument.is_group and argument.is_required and getattr(argument, "option_strings", None)
    ]
    for action in element._parser._actions:
        if not action.option_strings and action.nargs != 0:
            positionals.append(
                {"name": action.dest, "required": bool(action.required), "many": action.nargs in ("*", "+")}
            )
        for name in action.option_strings:
            if name.startswith("---"):
                continue
            flags[name] = action.nargs != 0
            if action.choices:
                flags[name] = [str(choice) for choice in action.choices]
                if ignores_case(action):
                    any_case.append(name)
    return {"positionals": positionals, "flags": flags, "required": required, "any_case": any_case}


def ignores_case(action: Any) -> bool:
    choice = next(iter(action.choices))
    try:
        return bool(action.type) and action.type(choice.swapcase()) == choice
    except Exception:
        return False


def record_schema() -> dict[str, Any]:
    from apitools.base.protorpclite import messages as protorpc
    from googlecloudsdk.generated_clients.apis.run.v1 import run_v1_messages

    types: dict[str, Any] = {}

    def record(message: Any) -> str:
        name = message.definition_name().rpartition(".")[2]
        if name not in types:
            types[name] = fields = {}
            for field in message.all_fields():
                if isinstance(field, protorpc.MessageField):
                    if field.type.__name__ in _NOT_WRITTEN:
                        continue
                    if is_map(field.type):
                        fields[field.name] = "map"
                        continue
                    kind = record(field.type)
                else:
                    kind = type(field).__name__.removesuffix("Field").lower()
                fields[field.name.rstrip("_")] = f"[{kind}]" if field.repeated else kind
        return str(name)

    for kind in _KINDS:
        record(getattr(run_v1_messages, kind))
    # An integer or a text, which a generator of Python code cannot say.
    types["IntOrString"] = "any"
    text = " ".join((run_v1_messages.ObjectMeta.AnnotationsValue.__doc__ or "").split()).replace("- ", "-")
    annotations = {
        name: sorted(set(re.findall(r"Service|Revision|Job|Execution", places)))
        for name, places in re.findall(r"`([a-z.]+/[\w-]+)`: ([^*`]+)", text)
    }
    return {"kinds": _KINDS, "types": types, "annotations": annotations}


def is_map(message: Any) -> bool:
    """A map is a message of no fields but one list of keys and values."""
    return [field.name for field in message.all_fields()] == ["additionalProperties"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sdk", type=Path, help="the folder of an installed Google Cloud SDK")
    sdk = parser.parse_args().sdk
    sys.path[:0] = [str(sdk / "lib"), str(sdk / "lib/third_party")]
    source = f"Google Cloud SDK {(sdk / 'VERSION').read_text().strip()}"
    schema = record_schema()
    # The pool's annotations and that of IAP are not in that list; the SDK writes them all the same.
    from googlecloudsdk.api_lib.run import service, worker_pool

    schema["annotations"]["run.googleapis.com/launch-stage"].append("WorkerPool")
    schema["annotations"][service.IAP_ANNOTATION] = ["Service"]
    for name in (
        worker_pool.WORKER_POOL_SCALING_MODE_ANNOTATION,
        worker_pool.MANUAL_INSTANCE_COUNT_ANNOTATION,
    ):
        schema["annotations"][name] = ["WorkerPool"]
    commands = record_commands()
    every_command = set.intersection(*({*command["flags"]} for command in commands.values()))
    shared = {name: next(iter(commands.values()))["flags"][name] for name in sorted(every_command)}
    for command in commands.values():
        command["flags"] = {
            name: flag for name, flag in sorted(command["flags"].items()) if name not in shared
        }
    write("gcloud_commands.json", {"source": source, "every_command": shared, "commands": commands})
    write("cloud_run_schema.json", {"source": f"{source}, run v1 messages"} | schema)


def write(name: str, value: dict[str, Any]) -> None:
    """One line for each command, type or annotation, so that a newer SDK's differences can be read."""
    parts = []
    for key, part in value.items():
        text = json.dumps(part)
        if isinstance(part, dict):
            text = (
                "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(part[k])}" for k in sorted(part)) + "\n }"
            )
        parts.append(f" {json.dumps(key)}: {text}")
    Path(__file__).with_name(name).write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
