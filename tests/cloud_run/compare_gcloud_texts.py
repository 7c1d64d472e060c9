"""Compares gcloud_texts.py with what gcloud's own code prints: it is run with the APIs' answers that stand there, each
in place of the network. By hand, like record_gcloud.py, with the Python and the folder of an SDK:

    python3 tests/cloud_run/compare_gcloud_texts.py SDK

It prints each text that differs, and ends with 1 if there is one. More arguments say how the commands begin that are
compared. Not compared is Cloud Run's answer about a secret, which is none to a request.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gcloud_texts
from gcloud_texts import API_OFF, CASES, EXECUTION_FAILED, QUOTA, Call, api_error, failure

PROJECT = "my-cloud-project"
_MEMBER = f"--member=serviceAccount:prefect-sa@{PROJECT}.iam.gserviceaccount.com"
_IMAGE = f"us-central1-docker.pkg.dev/{PROJECT}/r/i"
_COMMANDS = f"""
artifacts docker images delete {_IMAGE}
artifacts docker images describe {_IMAGE}:v1
artifacts repositories create r --location=us-central1 --repository-format=docker
artifacts repositories delete r --location=us-central1
artifacts repositories describe r --location=us-central1
beta monitoring channels create --display-name=x --type=email --channel-labels=email_address=a@b.c
beta monitoring channels delete projects/{PROJECT}/notificationChannels/1
beta monitoring channels list
builds submit SOURCE --config=CONFIG
compute addresses create a --region=us-central1 --subnet=s --addresses=10.0.0.5
compute addresses delete a --region=us-central1
compute addresses describe a --region=us-central1
compute forwarding-rules create f --region=us-central1 --network=n --address=a --target-service-attachment=ATTACHMENT
compute forwarding-rules delete f --region=us-central1
compute forwarding-rules describe f --region=us-central1
compute networks create n --subnet-mode=custom
compute networks delete n
compute networks describe n
compute networks subnets create s --region=us-central1 --network=n --range=10.0.0.0/24
compute networks subnets delete s --region=us-central1
compute networks subnets describe s --region=us-central1
iam service-accounts create prefect-sa --display-name=x
iam service-accounts delete prefect-sa@{PROJECT}.iam.gserviceaccount.com
iam service-accounts describe prefect-sa@{PROJECT}.iam.gserviceaccount.com
monitoring policies create --policy-from-file=-
monitoring policies delete projects/{PROJECT}/alertPolicies/1
monitoring policies list
projects add-iam-policy-binding {PROJECT} {_MEMBER} --role=roles/cloudsql.instanceUser --condition=None --format=none
projects describe {PROJECT}
projects remove-iam-policy-binding {PROJECT} {_MEMBER} --role=roles/cloudsql.instanceUser --condition=None --format=none
redis instances create r --region=us-central1 --network=n --enable-auth --transit-encryption-mode=server-authentication
redis instances delete r --region=us-central1
redis instances describe r --region=us-central1
redis instances get-auth-string r --region=us-central1
run jobs delete j --region=us-central1
run jobs execute j --region=us-central1 --wait
run jobs replace - --region=us-central1
run services add-iam-policy-binding s --region=us-central1 {_MEMBER} --role=roles/run.invoker --format=none
run services delete s --region=us-central1
run services describe s --region=us-central1
run services remove-iam-policy-binding s --region=us-central1 {_MEMBER} --role=roles/run.invoker --format=none
run services replace - --region=us-central1
run worker-pools delete w --region=us-central1
run worker-pools replace -
secrets add-iam-policy-binding s {_MEMBER} --role=roles/secretmanager.secretAccessor --format=none
secrets create s --replication-policy=user-managed --locations=us-central1
secrets delete s
secrets describe s
secrets remove-iam-policy-binding s {_MEMBER} --role=roles/secretmanager.secretAccessor --condition=None --format=none
secrets versions access latest --secret=s
secrets versions add s --data-file=-
secrets versions describe latest --secret=s
services enable run.googleapis.com sqladmin.googleapis.com
services list --enabled
sql databases create d --instance=i
sql databases delete d --instance=i
sql databases describe d --instance=i
sql instances create i --database-version=POSTGRES_18 --tier=db-f1-micro --region=us-central1 --edition=ENTERPRISE
sql instances delete i
sql instances describe i
sql users create u --instance=i --type=cloud_iam_service_account
sql users delete u --instance=i
sql users describe u --instance=i
"""
_YAML = """
apiVersion: {version}
kind: {kind}
metadata: {{name: NAME, labels: {{cloud.googleapis.com/location: us-central1}}}}
spec: {{template: {template}}}
"""
_CONTAINERS = "{spec: {containers: [{image: postgres}]}}"
_INPUTS = {
    "run jobs replace": _YAML.format(
        version="run.googleapis.com/v1", kind="Job", template=f"{{spec: {{template: {_CONTAINERS}}}}}"
    ),
    "run services replace": _YAML.format(version="serving.knative.dev/v1", kind="Service", template=_CONTAINERS),
    "run worker-pools replace": _YAML.format(version="run.googleapis.com/v1", kind="WorkerPool", template=_CONTAINERS),
    "monitoring policies create": '{"displayName": "x"}',
    "secrets versions add": "text",
}


def answers(call: Call, case: str) -> list[tuple[str, int, dict[str, Any]]]:
    """(a part of the request, code, body) in the order in which they are looked for."""
    token = {"access_token": "ya29.x", "expires_in": 36000, "token_type": "Bearer"}
    always = [("/token", 200, token), ("allowedLocations", 404, {})]
    policy = [("getIamPolicy", 200, {})]
    if case == "missing" and call.kind.missing_binding:
        return [*always, *policy]
    if case == QUOTA:
        name = f"projects/{PROJECT}/locations/us-central1/operations/operation-1"
        text = gcloud_texts.begun_and_failed(call, case)
        assert text
        operation = {"name": name, "done": True, "error": json.loads(text.stderr.partition("create) ")[2])}
        return [*always, ("GET", 200, operation), ("POST", 200, {"name": name, "done": False})]
    if case == EXECUTION_FAILED:
        states = {"ResourcesAvailable": "True", "Started": "True", "Completed": "False"}
        conditions = [{"type": kind, "status": status} for kind, status in states.items()]
        execution = {
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Execution",
            "metadata": {
                "name": f"{call.name}-abcde",
                "namespace": PROJECT,
                "generation": 1,
                "labels": {"cloud.googleapis.com/location": "us-central1"},
            },
            "status": {"observedGeneration": 1, "conditions": conditions, "logUri": "https://console.cloud.google.com"},
        }
        return [*always, ("", 200, execution)]
    error = api_error(call, case)
    assert error
    mine = [("", error.code, error.body())]
    if error.code in (400, 412):
        mine = [*policy, ("GET https://storage", 404, {"error": {"code": 404, "message": "Not Found"}}), *mine]
    return [*always, *mine]


def refuse_over_grpc(body: dict[str, Any]) -> None:
    """worker-pools delete is the one command that uses it."""
    from google.api_core.exceptions import from_grpc_status
    from google.rpc import error_details_pb2
    from googlecloudsdk.generated_clients.gapic_clients.run_v2.services.worker_pools.client import WorkerPoolsClient

    details = []
    for detail in body["error"].get("details", []):
        kind = detail["@type"].rpartition(".")[2]
        details.append(getattr(error_details_pb2, kind)(**{key: detail[key] for key in detail if key != "@type"}))
    status = {403: 7, 404: 5}[body["error"]["code"]]

    def refuse(*_: Any, **__: Any) -> None:
        raise from_grpc_status(status, body["error"]["message"], errors=(), details=details)

    WorkerPoolsClient.delete_worker_pool = refuse


def run(argv: list[str], text: str, rules: list[tuple[str, int, dict[str, Any]]], folder: Path) -> tuple[int, str]:
    """In a process of its own: gcloud ends it."""
    import requests.adapters
    from googlecloudsdk import gcloud_main
    from requests.models import Response

    def send(_: Any, request: Any, **__: Any) -> Response:
        code, body = next((c, b) for part, c, b in rules if part in f"{request.method} {request.url}")
        response = Response()
        response.status_code = code
        response.headers["Content-Type"] = "application/json"
        response._content = json.dumps(body).encode()
        response.headers["Content-Length"] = str(len(response._content))
        response.raw, response.url, response.request = io.BytesIO(response._content), request.url, request
        return response

    (folder / "input").write_text(text)
    process = os.fork()
    if process == 0:
        os.dup2(os.open(folder / "input", os.O_RDONLY), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(folder / "errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        requests.adapters.HTTPAdapter.send = send
        sleep = time.sleep
        time.sleep = lambda seconds: sleep(min(seconds, 0.1))
        if argv[:3] == ["run", "worker-pools", "delete"]:
            refuse_over_grpc(rules[-1][2])
        sys.argv = ["gcloud", *argv]
        try:
            gcloud_main.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), (folder / "errors").read_text()


def main() -> None:
    sdk = Path(sys.argv[1])
    sys.path[:0] = [str(sdk / "lib"), str(sdk / "lib/third_party")]
    only = sys.argv[2:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sources").mkdir()
        (folder / "sources/Dockerfile").write_text("FROM scratch\n")
        (folder / "config.yaml").write_text("steps: [{name: x}]\n")
        for key in [key for key in os.environ if key.startswith("CLOUDSDK_")]:
            del os.environ[key]
        os.environ |= {
            "TERM": "dumb",
            "CLOUDSDK_CONFIG": str(folder / "gcloud"),
            "CLOUDSDK_CORE_ACCOUNT": gcloud_texts.ACCOUNT,
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        }
        activate(folder)
        wrong = compared = 0
        for line in _COMMANDS.strip().splitlines():
            if only and not any(line.startswith(start) for start in only):
                continue
            words = line.split()
            call = Call(words)
            path = " ".join(call.path)
            for case in (*CASES, QUOTA, EXECUTION_FAILED):
                # With an API that is off it would upload the sources first.
                sources = str(folder / "sources") if case != API_OFF else "--no-source"
                argv = [
                    word.replace("SOURCE", sources)
                    .replace("=CONFIG", f"={folder}/config.yaml")
                    .replace("=ATTACHMENT", "=projects/t/regions/us-central1/serviceAttachments/x")
                    for word in words
                ]
                expected = failure(words, case)
                if not expected or (case == "iam-not-propagated" and call.kind.reads_secrets):
                    continue
                code, text = run(argv, _INPUTS.get(path, ""), answers(call, case), folder)
                compared += 1
                # A dot for each second that it took.
                text = re.sub(r"^\.+(?=failed)", "", text, flags=re.MULTILINE)
                text = re.sub(r"(?<=\w)\.{3,}(?=done|failed)", "...", text)
                if (code, text.strip()) != (expected.exit_code, expected.stderr.strip()):
                    wrong += 1
                    print(f"{line}, {case}: gcloud ended with {code} and said\n{text}\nnot\n{expected.stderr}")
        print(f"{compared} texts compared, {wrong} different")
    sys.exit(wrong > 0)


def activate(folder: Path) -> None:
    import subprocess

    key = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True).stdout
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": key,
        "client_email": gcloud_texts.ACCOUNT,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    (folder / "key.json").write_text(json.dumps(account))
    token = {"access_token": "ya29.x", "expires_in": 36000, "token_type": "Bearer"}
    code, text = run(
        ["auth", "activate-service-account", f"--key-file={folder}/key.json"], "", [("", 200, token)], folder
    )
    assert code == 0, text


if __name__ == "__main__":
    main()
