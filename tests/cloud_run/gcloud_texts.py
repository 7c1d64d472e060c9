"""What gcloud prints when a command of deploy/cloud_run fails, for the stand-in and for the tests.

A text has two parts. Google's API answers with an error, of which the source is given beside it: a page of Google's
documentation, or a public issue with the answer in it. gcloud's own code makes its text of that: file and function are
those of the Google Cloud SDK 578.0.0 (google-cloud-sdk-unofficial/google-cloud-sdk, below lib/googlecloudsdk or
lib/surface). compare_gcloud_texts.py runs that code with those answers and compares.
"""

from __future__ import annotations

import os

# The stand-in imports this at most of its starts: nothing that takes long to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACCOUNT = "operator@example.com"
PROJECT_NUMBER = "123456789012"

MISSING = "missing"
API_OFF = "api-not-enabled"
DENIED = "permission-denied"
NOT_PROPAGATED = "iam-not-propagated"
POLICY = "organisation-policy"
CASES = (MISSING, API_OFF, DENIED, NOT_PROPAGATED, POLICY)
# What only a few commands can end with, after they have begun.
QUOTA = "quota-exhausted"
EXECUTION_FAILED = "execution-failed"


class Failure:
    def __init__(self, stderr: str, source: str, exit_code: int = 1) -> None:
        """All of these end gcloud with 1: calliope/exceptions.py, _Exit, and core/exceptions.py, Error."""
        self.stderr, self.source, self.exit_code = stderr, source, exit_code

    def __repr__(self) -> str:
        return f"Failure({self.stderr!r}, {self.source!r}, {self.exit_code})"


class ApiError:
    """An API's answer. Cloud SQL's has no `status`, only a number."""

    def __init__(
        self, code: int, status: str, message: str, source: str, details: list[dict[str, Any]] | None = None
    ) -> None:
        self.code, self.status, self.message, self.source = code, status, message, source
        self.details = details or []

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.status:
            error["status"] = self.status
        if self.details:
            error["details"] = self.details
        return {"error": error}


def failure(command: list[str], case: str) -> Failure | None:
    """What gcloud answers to the words of a command in that case; None if it cannot answer in that way."""
    call = Call(command)
    if case in (QUOTA, EXECUTION_FAILED):
        return begun_and_failed(call, case)
    if case not in CASES:
        raise ValueError(f"{case} is none of {', '.join(CASES)}")
    if case == MISSING and call.kind.missing_binding:
        return call.own("Policy binding with the specified principal, role, and condition not found!", _BINDING)
    if case == NOT_PROPAGATED and call.kind.reads_secrets:
        return permission_on_secret(call, "NAME", call.region, "SECRET", "ACCOUNT")
    error = api_error(call, case)
    return error and printed(call, error)


def cases(command: list[str]) -> list[str]:
    """The cases in which the command can fail."""
    return [case for case in CASES if failure(command, case)]


def commands() -> list[str]:
    """All that are known, without names and flags."""
    return list(_KINDS)


# The commands


class Kind:
    def __init__(
        self,
        api: str,
        permission: str = "",
        resource: str = "",
        what: str = "",
        missing: str = "",
        **rest: Any,
    ) -> None:
        """
        api         its host is API.googleapis.com
        permission  that the command needs first, and `resource`, on which, as the API names it
        what        of which kind the thing is
        missing     "describe": by its own 404 the API says that it is not there; "needs": something that the command
                    needs is not there; or gcloud's own text for it, with its source after a bar
        """
        self.api, self.permission, self.resource, self.what, self.missing = api, permission, resource, what, missing
        # For a URL of two or three parts gcloud says "projects instance [NAME]" and so on.
        self.url: str = rest.get("url", "")
        self.style: str = rest.get("style", "compute" if api == "compute" else "http")
        # What it prints before it fails.
        self.progress: str = rest.get("progress", "")
        self.needs: str = rest.get("needs", resource)
        self.binds: bool = rest.get("binds", False)
        self.missing_binding: bool = rest.get("missing_binding", False)
        self.reads_secrets: bool = rest.get("reads_secrets", False)
        self.policy: str = rest.get("policy", "")
        # gcloud's own text for a 403.
        self.forbidden: str = rest.get("forbidden", "")


_BINDING = "command_lib/iam/iam_util.py, _RemoveBindingFromIamPolicyWithCondition"
_DELETING = "Deleting [{name}]...\nfailed.\n"
_NETWORK = "projects/{project}/global/networks/{name}"
_SUBNET = "projects/{project}/regions/{region}/subnetworks/{name}"
_ADDRESS = "projects/{project}/regions/{region}/addresses/{name}"
_RULE = "projects/{project}/regions/{region}/forwardingRules/{name}"
_SECRET = "projects/{project}/secrets/{name}"
_VERSION = "projects/{project}/secrets/{secret}/versions/{name}"
_REPOSITORY = "//artifactregistry.googleapis.com/projects/{project}/locations/{region}/repositories/{name}"
_IN_PROJECT = "projects instance [{project}]"

_KINDS: dict[str, Kind] = {
    "artifacts docker images delete": Kind(
        "artifactregistry",
        "artifactregistry.repositories.get",
        "//artifactregistry.googleapis.com/projects/{project}/locations/{region}/repositories/{repository}",
        missing="describe",
    ),
    "artifacts docker images describe": Kind(
        "artifactregistry",
        "artifactregistry.repositories.get",
        "//artifactregistry.googleapis.com/projects/{project}/locations/{region}/repositories/{repository}",
        missing="describe",
    ),
    "artifacts repositories create": Kind(
        "artifactregistry",
        "artifactregistry.repositories.create",
        "//artifactregistry.googleapis.com/projects/{project}/locations/{region}",
    ),
    "artifacts repositories delete": Kind(
        "artifactregistry", "artifactregistry.repositories.delete", _REPOSITORY, missing="describe"
    ),
    "artifacts repositories describe": Kind(
        "artifactregistry", "artifactregistry.repositories.get", _REPOSITORY, missing="describe"
    ),
    # Its first request is for the bucket of the sources.
    "builds submit": Kind(
        "cloudbuild",
        policy="bucket",
        forbidden="The user is forbidden from accessing the bucket [{project}_cloudbuild]. Please check your"
        ' organization\'s policy or if the user has the "serviceusage.services.use" permission. Giving the user a role'
        " with this permission such as Service Usage Admin may fix this issue. Alternatively, use the --no-source"
        " option and access your source code via a different method.|command_lib/builds/submit_util.py, SetSource",
    ),
    "compute addresses create": Kind(
        "compute", "compute.addresses.create", _ADDRESS, missing="needs", needs="{subnet}"
    ),
    "compute addresses delete": Kind("compute", "compute.addresses.delete", _ADDRESS, missing="describe"),
    "compute addresses describe": Kind("compute", "compute.addresses.get", _ADDRESS, missing="describe"),
    "compute forwarding-rules create": Kind(
        "compute", "compute.forwardingRules.create", _RULE, missing="needs", needs="{address}"
    ),
    "compute forwarding-rules delete": Kind("compute", "compute.forwardingRules.delete", _RULE, missing="describe"),
    "compute forwarding-rules describe": Kind("compute", "compute.forwardingRules.get", _RULE, missing="describe"),
    "compute networks create": Kind("compute", "compute.networks.create", _NETWORK),
    "compute networks delete": Kind("compute", "compute.networks.delete", _NETWORK, missing="describe"),
    "compute networks describe": Kind("compute", "compute.networks.get", _NETWORK, missing="describe"),
    "compute networks subnets create": Kind(
        "compute", "compute.subnetworks.create", _SUBNET, missing="needs", needs="{network}"
    ),
    "compute networks subnets delete": Kind("compute", "compute.subnetworks.delete", _SUBNET, missing="describe"),
    "compute networks subnets describe": Kind("compute", "compute.subnetworks.get", _SUBNET, missing="describe"),
    "iam service-accounts create": Kind("iam", "iam.serviceAccounts.create", url=_IN_PROJECT),
    "iam service-accounts delete": Kind("iam", "iam.serviceAccounts.delete", missing="describe"),
    "iam service-accounts describe": Kind("iam", "iam.serviceAccounts.get", missing="describe"),
    "monitoring channels create": Kind("monitoring", url=_IN_PROJECT),
    "monitoring channels delete": Kind("monitoring", missing="describe"),
    "monitoring channels list": Kind("monitoring", url=_IN_PROJECT),
    "monitoring policies create": Kind("monitoring", url=_IN_PROJECT),
    "monitoring policies delete": Kind("monitoring", missing="describe"),
    "monitoring policies list": Kind("monitoring", url=_IN_PROJECT),
    "projects add-iam-policy-binding": Kind(
        "cloudresourcemanager", url="projects instance [{project}:getIamPolicy]", binds=True, policy="domains"
    ),
    # A project that is not there is one that may not be seen: DENIED says "(or it may not exist)".
    "projects describe": Kind("cloudresourcemanager", url=_IN_PROJECT),
    "projects remove-iam-policy-binding": Kind(
        "cloudresourcemanager", url="projects instance [{project}:getIamPolicy]", missing_binding=True
    ),
    "redis instances create": Kind("redis"),
    "redis instances delete": Kind("redis", missing="describe"),
    "redis instances describe": Kind("redis", missing="describe"),
    "redis instances get-auth-string": Kind("redis", missing="describe"),
    "run jobs delete": Kind(
        "run",
        "run.jobs.delete",
        "namespaces/{project}/jobs/{name}",
        progress=_DELETING,
        missing="Job [{name}] could not be found.|command_lib/run/serverless_operations.py, DeleteJob",
    ),
    "run jobs execute": Kind(
        "run",
        "run.jobs.run",
        "namespaces/{project}/jobs/{name}",
        what="JOB",
        missing="describe",
        progress="Creating execution...\nfailed\nExecuting job failed\n",
    ),
    "run jobs replace": Kind(
        "run", "run.jobs.get", "namespaces/{project}/jobs/{yaml}", what="JOB", reads_secrets=True
    ),
    "run services add-iam-policy-binding": Kind(
        "run",
        "run.services.getIamPolicy",
        "projects/{project}/locations/{region}/services/{name}",
        what="SERVICE",
        missing="describe",
        binds=True,
        policy="domains",
    ),
    "run services delete": Kind(
        "run",
        "run.services.delete",
        "namespaces/{project}/services/{name}",
        progress=_DELETING,
        missing="Service [{name}] could not be found.|command_lib/run/serverless_operations.py, DeleteService",
    ),
    "run services describe": Kind(
        "run",
        "run.services.get",
        "namespaces/{project}/services/{name}",
        missing="Cannot find service [{name}]|surface/run/services/describe.py, Run",
    ),
    "run services remove-iam-policy-binding": Kind(
        "run",
        "run.services.getIamPolicy",
        "projects/{project}/locations/{region}/services/{name}",
        missing_binding=True,
    ),
    "run services replace": Kind(
        "run", "run.services.get", "namespaces/{project}/services/{yaml}", what="SERVICE", reads_secrets=True
    ),
    "run worker-pools delete": Kind(
        "run",
        "run.workerpools.delete",
        "projects/{project}/locations/{region}/workerPools/{name}",
        progress=_DELETING,
        missing="Cannot find worker pool [{name}]|surface/run/worker_pools/delete.py, Run",
        style="grpc",
    ),
    "run worker-pools replace": Kind(
        "run", "run.workerpools.get", "namespaces/{project}/workerpools/{yaml}", what="WORKER_POOL", reads_secrets=True
    ),
    "secrets add-iam-policy-binding": Kind(
        "secretmanager",
        "secretmanager.secrets.getIamPolicy",
        _SECRET,
        missing="describe",
        style="status code",
        binds=True,
        policy="domains",
    ),
    "secrets create": Kind(
        "secretmanager",
        "secretmanager.secrets.create",
        "projects/{project}",
        url=_IN_PROJECT,
        policy="locations",
    ),
    "secrets delete": Kind("secretmanager", "secretmanager.versions.list", _SECRET, missing="describe"),
    "secrets describe": Kind("secretmanager", "secretmanager.secrets.get", _SECRET, missing="describe"),
    "secrets remove-iam-policy-binding": Kind(
        "secretmanager",
        "secretmanager.secrets.getIamPolicy",
        _SECRET,
        style="status code",
        missing_binding=True,
    ),
    "secrets versions access": Kind("secretmanager", "secretmanager.versions.access", _VERSION, missing="describe"),
    "secrets versions add": Kind("secretmanager", "secretmanager.versions.add", _SECRET, missing="describe"),
    "secrets versions describe": Kind("secretmanager", "secretmanager.versions.get", _VERSION, missing="describe"),
    "services enable": Kind("serviceusage", "enable", url=_IN_PROJECT),
    "services list": Kind("serviceusage", url=_IN_PROJECT),
    "sql databases create": Kind("sqladmin", missing="describe"),
    "sql databases delete": Kind("sqladmin", missing="describe", what="database"),
    "sql databases describe": Kind("sqladmin", missing="describe", what="database"),
    "sql instances create": Kind("sqladmin", url=_IN_PROJECT),
    "sql instances delete": Kind("sqladmin", missing="describe"),
    "sql instances describe": Kind(
        "sqladmin",
        missing="describe",
        forbidden="There was no instance found at projects/{project}/instances/{name} or you are not authorized to"
        " access it.|surface/sql/instances/describe.py, Run",
    ),
    "sql users create": Kind("sqladmin", missing="describe"),
    "sql users delete": Kind("sqladmin", missing="describe", what="user"),
    "sql users describe": Kind("sqladmin", missing="describe", what="user"),
}

_TITLES = {
    "artifactregistry": "Artifact Registry API",
    "cloudbuild": "Cloud Build API",
    "cloudresourcemanager": "Cloud Resource Manager API",
    "compute": "Compute Engine API",
    "iam": "Identity and Access Management (IAM) API",
    "monitoring": "Cloud Monitoring API",
    "redis": "Google Cloud Memorystore for Redis API",
    "run": "Cloud Run Admin API",
    "secretmanager": "Secret Manager API",
    "sqladmin": "Cloud SQL Admin API",
}


class Call:
    """A command with its names and flags."""

    def __init__(self, command: list[str]) -> None:
        words = command[1:] if command[:1] == ["gcloud"] else list(command)
        self.path: list[str] = []
        self.kind = None
        for length in range(min(4, len(words)), 0, -1):
            known = _KINDS.get(" ".join(words[:length]).removeprefix("beta "))
            if known:
                self.path, self.kind = words[:length], known
                break
        if not self.kind:
            raise KeyError(f"no texts for: gcloud {' '.join(words)}")
        flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
        names = [word for word in words[len(self.path) :] if not word.startswith("--")]
        self.project = flags.get("project") or os.environ.get("CLOUDSDK_CORE_PROJECT") or "my-cloud-project"
        self.region = flags.get("region") or flags.get("location") or ""
        self.name = names[0] if names else ""
        self.member = flags.get("member", "")
        self.names = {
            "project": self.project,
            "region": self.region,
            "name": self.name,
            # The name that stands in the YAML.
            "yaml": "NAME",
            "secret": flags.get("secret", ""),
            "network": self._path("global/networks", flags.get("network", "")),
            "subnet": self._path(f"regions/{self.region}/subnetworks", flags.get("subnet", "")),
            "address": self._path(f"regions/{self.region}/addresses", flags.get("address", "")),
        }
        if self.path[:2] == ["artifacts", "docker"]:
            # LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE
            host, _, repository, *_ = [*self.name.split("/"), "", "", ""]
            self.names |= {"region": host.partition("-docker")[0], "repository": repository}

    def _path(self, collection: str, name: str) -> str:
        return name if "/" in name else f"projects/{self.project}/{collection}/{name}"

    def fill(self, template: str) -> str:
        return template.format_map(self.names)

    def line(self, text: str) -> str:
        """calliope/exceptions.py, _LogKnownError; core/log.py puts the level before it."""
        return f"ERROR: (gcloud.{'.'.join(self.path)}) {text}\n"

    def own(self, text: str, source: str) -> Failure:
        return Failure(self.fill(self.kind.progress) + self.line(self.fill(text)), source)


# What the APIs answer


def api_error(call: Call, case: str) -> ApiError | None:
    kind = call.kind
    if case == API_OFF:
        return api_off(kind.api)
    if case == DENIED:
        return denied(call)
    if case == MISSING:
        return missing(call) if kind.missing else None
    if case == NOT_PROPAGATED:
        return unknown_account(call.member) if kind.binds else None
    return refused_by_policy(call)


def api_off(api: str) -> ApiError | None:
    """Also for some minutes after it was switched on."""
    if api not in _TITLES:
        # Service Usage answers whether it is on or not: one of the APIs that gcloud itself brings along.
        return None
    host, title = f"{api}.googleapis.com", _TITLES[api]
    url = f"https://console.developers.google.com/apis/api/{host}/overview?project={PROJECT_NUMBER}"
    message = (
        f"{title} has not been used in project {PROJECT_NUMBER} before or it is disabled. Enable it by visiting {url}"
        " then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems"
        " and retry."
    )
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": {
                "activationUrl": url,
                "consumer": f"projects/{PROJECT_NUMBER}",
                "containerInfo": PROJECT_NUMBER,
                "service": host,
                "serviceTitle": title,
            },
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
        {
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Google developers console API activation", "url": url}],
        },
    ]
    source = (
        "developers.google.com/data-manager/api, Understand API errors (the answer with its details);"
        " api_lib/util/api_enablement.py, API_ENABLEMENT_REGEX (the sentence)"
    )
    return ApiError(403, "PERMISSION_DENIED", message, source, details)


def denied(call: Call) -> ApiError:
    kind, status = call.kind, "PERMISSION_DENIED"
    resource = call.fill(kind.resource)
    match kind.api:
        case "compute":
            message = f"Required '{kind.permission}' permission for '{resource}'"
            source = "hashicorp/terraform issue 18873"
        case "run" if kind.style == "grpc" or kind.binds or kind.missing_binding:
            message = f"Permission '{kind.permission}' denied on resource '{resource}' (or resource may not exist)."
            source = "google-github-actions/deploy-cloudrun issue 182, with this API's name of the resource"
        case "run":
            message = f"Permission '{kind.permission}' denied on resource '{resource}' (or resource may not exist)."
            source = "google-github-actions/deploy-cloudrun issue 182"
        case "secretmanager":
            message = f"Permission '{kind.permission}' denied for resource '{resource}' (or it may not exist)."
            source = "googleapis/python-secret-manager issue 389"
        case "artifactregistry":
            message = f"Permission '{kind.permission}' denied on resource '{resource}' (or it may not exist)."
            source = "google-github-actions/deploy-cloudrun issue 370"
        case "iam":
            message = f"Permission '{kind.permission}' denied on resource (or it may not exist)."
            source = "hashicorp/terraform-provider-google issues 11208 and 15042"
        case "sqladmin":
            # Cloud SQL's answers have no status: gcloud says "HTTPError 403".
            message, status = "The client is not authorized to make this request.", ""
            source = "GoogleCloudPlatform/fda-mystudies issue 4452"
        case "serviceusage" if kind.permission:
            # The help token is different each time.
            message = f"Permission denied to enable service [{call.name}]\nHelp Token: AcxmRmJde"
            source = "su-kaka/gcli2api issue 283"
            precondition = {
                "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                "violations": [{"subject": "110002", "type": "googleapis.com"}],
            }
            information = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "domain": "serviceusage.googleapis.com",
                "reason": "AUTH_PERMISSION_DENIED",
            }
            return ApiError(403, status, message, source, [precondition, information])
        case _:
            message = "The caller does not have permission"
            source = "googleapis/google-api-go-client issue 566; hashicorp/terraform-provider-google issue 14598"
    return ApiError(403, status, message, source)


def missing(call: Call) -> ApiError:
    kind = call.kind
    match kind.api:
        case "compute":
            message = f"The resource '{call.fill(kind.needs)}' was not found"
            source = "broadinstitute/sparklespray issue 12"
        case "iam":
            message = "Unknown service account"
            source = "in many scripts that read gcloud's answer; no page of Google's has it"
        case "sqladmin":
            # The API says no more of a user or a database: its answers for them are not published.
            message = "The Cloud SQL instance does not exist." if not kind.what else "Not Found"
            source = "GoogleCloudPlatform/cloud-sql-proxy issue 2244; of the instance, with gcloud's HTTPError 404"
            return ApiError(404, "", message, source)
        case "secretmanager" if "versions" in call.path and "add" not in call.path:
            secret = call.names["secret"]
            message = f"Secret [projects/{PROJECT_NUMBER}/secrets/{secret}] not found or has no versions."
            source = "in emulators of the API; no page of Google's has it"
        case "secretmanager":
            message = f"Secret [projects/{PROJECT_NUMBER}/secrets/{call.name}] not found."
            source = "in emulators of the API; no page of Google's has it"
        case "run":
            message = (
                f"Resource '{call.name}' of kind '{kind.what}' in region '{call.region}' in project '{call.project}'"
                " does not exist."
            )
            source = "PrefectHQ/prefect, the pattern in prefect_gcp's Cloud Run worker (kind JOB)"
        case _:
            message = "Requested entity was not found."
            source = "googlecodelabs/feedback issue 1960: the standard message of google.rpc's NOT_FOUND"
    return ApiError(404, "NOT_FOUND", message, source)


def unknown_account(member: str) -> ApiError:
    """Of an account that has just been made, as long as not all of Google's servers know it."""
    email = member.partition(":")[2]
    source = "GoogleCloudPlatform/solutions-modern-cicd-anthos issue 18; googleapis/google-cloud-go issue 11482"
    return ApiError(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.", source)


def refused_by_policy(call: Call) -> ApiError | None:
    kind = call.kind
    if kind.policy == "domains":
        member = call.member.partition(":")[2] or call.member
        message = "One or more users named in the policy do not belong to a permitted customer"
        if kind.api == "run":
            # The two spaces are Google's.
            source = "GoogleCloudPlatform/genai-for-marketing issue 153"
            return ApiError(400, "FAILED_PRECONDITION", f"{message},  perhaps due to an organization policy.", source)
        details = [
            {
                "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                "violations": [
                    {
                        "description": f"User {member} is not in permitted organization.",
                        "subject": f"orgpolicy:projects/{call.project}?configvalue={member.replace('@', '%40')}",
                        "type": "constraints/iam.allowedPolicyMemberDomains",
                    }
                ],
            }
        ]
        source = (
            "MicrosoftDocs/azure-docs issue 117449; terraform-google-modules/terraform-example-foundation issue 1454"
        )
        return ApiError(400, "FAILED_PRECONDITION", f"{message}.", source, details)
    if kind.policy == "locations":
        message = (
            f"Constraint constraints/gcp.resourceLocations violated for [orgpolicy:projects/{PROJECT_NUMBER}]"
            " attempting to create a secret in [us-central1]. For more information, see"
            " https://cloud.google.com/resource-manager/docs/organization-policy/defining-locations."
        )
        details = [
            {
                "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                "violations": [
                    {
                        "description": message,
                        "subject": f"orgpolicy:projects/{PROJECT_NUMBER}",
                        "type": "constraints/gcp.resourceLocations",
                    }
                ],
            }
        ]
        source = "HariSekhon/DevOps-Bash-tools, gcp/gcp_secret_add.sh"
        return ApiError(400, "FAILED_PRECONDITION", message, source, details)
    if kind.policy == "bucket":
        message = "'us' violates constraint 'constraints/gcp.resourceLocations'"
        return ApiError(412, "", message, "GoogleCloudPlatform/esp-v2 issue 148")
    if kind.api in ("artifactregistry", "compute", "redis", "run", "secretmanager", "sqladmin"):
        message = (
            "Request is disallowed by organization's constraints/gcp.restrictServiceUsage constraint for"
            f" 'projects/{PROJECT_NUMBER}' attempting to use service '{kind.api}.googleapis.com'."
        )
        source = (
            "docs.cloud.google.com/resource-manager/docs/organization-policy/restricting-resources, and the services"
            " that it is for: .../restricting-resources-supported-services"
        )
        return ApiError(403, "" if kind.api == "sqladmin" else "PERMISSION_DENIED", message, source)
    return None


# What gcloud makes of it


def printed(call: Call, error: ApiError) -> Failure:
    kind = call.kind
    is_off = any(detail.get("reason") == "SERVICE_DISABLED" for detail in error.details)
    before = call.fill(kind.progress)
    if error.code == 404 and "|" in kind.missing:
        text, source = kind.missing.split("|")
        return call.own(text, source)
    if error.code == 403 and kind.forbidden and not is_off:
        text, source = kind.forbidden.split("|")
        return call.own(text, source)
    if kind.style == "grpc":
        source = "command_lib/run/v2/worker_pools_operations.py, _CatchGoogleAPICallError"
        return Failure(before + call.line(google_api_call_error(error)), f"{source}; {error.source}")
    if kind.style == "compute" and not is_off:
        source = "api_lib/compute/utils.py, RaiseToolException and ConstructList"
        text = f"Could not fetch resource:\n - {error.message}\n"
        return Failure(before + call.line(text), f"{source}; {error.source}")
    if kind.style == "status code" and not is_off:
        source = "surface/secrets/add_iam_policy_binding.py and remove_iam_policy_binding.py, Run's decorator"
        text = f"Status code: {error.code}. {message_with_account(error)}."
        return Failure(before + call.line(text), f"{source}; {error.source}")
    if error.code == 400 and kind.binds:
        # command_lib/util/apis/yaml_command_translator.py, AddIamPolicyBindingCommandGenerator.
        before += (
            'ERROR: Policy modification failed. For a binding with condition, run "gcloud alpha iam policies'
            ' lint-condition" to identify issues in condition.\n'
        )
    source = "api_lib/util/exceptions.py, HttpErrorPayload and HttpException"
    return Failure(before + call.line(http_exception(error, call.fill(kind.url))), f"{source}; {error.source}")


def http_exception(error: ApiError, resource: str) -> str:
    """api_lib/util/exceptions.py: _MakeDescription, _MakeGenericMessage and HttpException.__str__."""
    if resource and error.code == 403:
        description = f"[{ACCOUNT}] does not have permission to access {resource} (or it may not exist)"
    elif resource and error.code == 404:
        description = f"{resource[0].upper()}{resource[1:]} not found"
    else:
        description = error.status or f"HTTPError {error.code}"
    text = f"{description}: {message_with_account(error)}"
    rest = []
    for detail in error.details:
        match detail["@type"].rpartition(".")[2]:
            case "LocalizedMessage":
                text += "\n" + detail["message"]
            case "Help":
                text += "".join(f"\n{link['description']}\n{link['url']}" for link in detail["links"])
            case _:
                rest.append(detail)
    return text + "".join("\n" + line for detail in rest for line in as_yaml(detail))


def google_api_call_error(error: ApiError) -> str:
    """third_party/google/api_core/exceptions.py, GoogleAPICallError.__str__, with the details as protocol buffers."""
    text = f"{error.code} {error.message}"
    details = []
    for detail in error.details:
        match detail["@type"].rpartition(".")[2]:
            case "ErrorInfo":
                lines = [f'reason: "{detail["reason"]}"', f'domain: "{detail["domain"]}"']
                for key, value in sorted(detail["metadata"].items()):
                    lines += ["metadata {", f'  key: "{key}"', f'  value: "{value}"', "}"]
            case "LocalizedMessage":
                lines = [f'locale: "{detail["locale"]}"', f'message: "{detail["message"]}"']
            case "Help":
                lines = []
                for link in detail["links"]:
                    lines += ["links {", f'  description: "{link["description"]}"', f'  url: "{link["url"]}"', "}"]
            case kind:
                raise ValueError(kind)
        details.append("".join(f"{line}\n" for line in lines))
    return f"{text} [{', '.join(details)}]" if details else text


def message_with_account(error: ApiError) -> str:
    """api_lib/util/exceptions.py, _AppendCredentialInfoToErrorMessage; core/credentials/store.py, GetInfoString."""
    if error.code not in (401, 403, 404):
        return error.message
    account = (
        f"This command is authenticated as {ACCOUNT} which is the active account specified by the [core/account]"
        " property"
    )
    return f"{error.message} {account}." if error.message.endswith(".") else f"{error.message}. {account}"


def as_yaml(detail: dict[str, Any]) -> list[str]:
    """core/resource/yaml_printer.py, for what the answers here contain: texts, a map of texts, a list of maps."""
    lines = []
    for key in sorted(detail):
        value = detail[key]
        name = f"'{key}'" if key.startswith("@") else key
        if isinstance(value, str):
            lines += folded(f"{name}: {scalar(value)}", "    ")
        elif isinstance(value, dict):
            lines.append(f"  {name}:")
            for inner in sorted(value):
                lines += folded(f"    {inner}: {scalar(value[inner])}", "      ")
        else:
            lines.append(f"  {name}:")
            for item in value:
                for number, inner in enumerate(sorted(item)):
                    lines += folded(f"{'    ' if number else '  - '}{inner}: {scalar(item[inner])}", "      ")
    top = [line if line.startswith("  ") else f"  {line}" for line in lines]
    return ["- " + top[0][2:], *top[1:]]


def scalar(text: str) -> str:
    return f"'{text}'" if text.isdigit() else text


def folded(line: str, indent: str) -> list[str]:
    """A line goes on until the first blank after its 80th character."""
    lines = []
    column = 0
    words = line.split(" ")
    current = ""
    for number, word in enumerate(words):
        if number and len(current) > 80:
            lines.append(current)
            current, column = indent + word, len(indent)
        else:
            current = f"{current} {word}" if number else word
    return [*lines, current]


# What comes after the first requests: gcloud has said what it does


def begun_and_failed(call: Call, case: str) -> Failure | None:
    path = " ".join(call.path)
    if case == QUOTA and path == "redis instances create":
        operation = f"projects/{call.project}/locations/{call.region}/operations/operation-1"
        message = (
            "Unable to create instance. System limit for internal resources has been reached. Please request higher limit"
            " here: https://forms.gle/zY66qAosE75F6SNi7"
        )
        before = f"Create request issued for: [{call.name}]\nWaiting for operation [{operation}] to complete...\nfailed.\n"
        text = f'{{\n  "code": 8,\n  "message": "{message}"\n}}'
        source = "command_lib/util/apis/yaml_command_translator.py, AsyncOperationPoller.IsDone"
        return Failure(before + call.line(text), f"{source}; GoogleCloudPlatform/python-docs-samples issue 4481")
    if case == EXECUTION_FAILED and path == "run jobs execute":
        # The last five characters of an execution's name are different each time.
        execution = f"{call.name}-abcde"
        page = f"https://console.cloud.google.com/run/jobs/executions/details/{call.region}/{execution}"
        text = (
            "The execution failed.\nView details about this execution by running:\n"
            f"gcloud run jobs executions describe {execution}\n\nOr visit {page}?project={call.project}"
        )
        before = (
            "Creating execution...\nProvisioning resources...done\nStarting execution...done\nRunning execution...failed\n"
            "Executing job failed\n"
        )
        source = "command_lib/run/serverless_operations.py, RunJob, and messages_util.py, GetExecutionCreatedMessage"
        return Failure(before + call.line(text), source)
    return None


def deploying(call: Call, name: str, region: str) -> str:
    """surface/run/{jobs,services,worker_pools}/replace.py, Run, for a resource that was not there before."""
    what, header = {
        "JOB": ("job", "Creating Cloud Run job"),
        "SERVICE": ("service", "Applying new configuration to Cloud Run service"),
        "WORKER_POOL": ("worker pool", "Applying new configuration to Cloud Run workerpool"),
    }[call.kind.what]
    doing = "Creating job..." if what == "job" else f"Deploying new {what}..."
    return f"{header} [{name}] in project [{call.project}] region [{region}]\n{doing}\n"


def permission_on_secret(call: Call, name: str, region: str, secret: str, account: str) -> Failure:
    """As long as the right to read the secret has not reached Cloud Run. It is no error of a request, but the condition
    Ready of what was deployed."""
    message = (
        f"Permission denied on secret: projects/{PROJECT_NUMBER}/secrets/{secret}/versions/latest for Revision service"
        f" account {account}. The service account used must be granted the 'Secret Manager Secret Accessor' role"
        " (roles/secretmanager.secretAccessor) at the secret, project or higher level."
    )
    message = f"spec.template.spec.containers[0].env[0].value_from.secret_key_ref.name: {message}"
    if call.kind.what == "JOB":
        failed = "failed\nJob failed to deploy\n"
    else:
        failed = "Creating Revision...failed\nDeployment failed\n"
        message = f"Revision '{name}-00001-abc' is not ready and cannot serve traffic. {message}"
    text = deploying(call, name, region) + failed + call.line(message)
    source = "terraform-google-modules/terraform-docs-samples pull request 168; sourcegraph pull request 59045"
    return Failure(text, f"command_lib/run/serverless_operations.py, ConditionPoller and its stages; {source}")


def act_as(call: Call, name: str, region: str, account: str) -> Failure:
    """An account that is not there, or that has just been made: then Cloud Run does not know it yet."""
    message = f"Permission 'iam.serviceaccounts.actAs' denied on service account {account} (or it may not exist)."
    source = "alphagov/govuk-knowledge-graph-gcp pull request 806; googlecodelabs/feedback issue 751"
    error = ApiError(403, "PERMISSION_DENIED", message, source)
    failed = "failed\nJob failed to deploy\n" if call.kind.what == "JOB" else "failed\nDeployment failed\n"
    line = call.line(http_exception(error, f"namespaces instance [{call.project}]"))
    text = deploying(call, name, region) + failed + line
    return Failure(text, f"api_lib/util/exceptions.py, HttpErrorPayload and HttpException; {source}")
