"""Google Cloud for the tests of deploy/cloud_run: the commands `gcloud` and `docker`, which google_cloud.py
puts first on the PATH.

It takes the commands and flags that gcloud_commands.json records of the real one and refuses all others, keeps
what was made in a folder, refuses what the real one refuses (to make a thing twice, to describe or delete what
is not there, to delete what is in use), and writes down every command. A grants job is really run: its command,
with its environment and its secret, against a real PostgreSQL.

STAND_IN_HOME             the folder: state.json, commands.jsonl, logs as gcloud keeps them, yaml/, secrets/
STAND_IN_POSTGRES         the folder of PostgreSQL's socket; without it a job changes the state alone
STAND_IN_FAIL             "before N", "after N": the Nth command fails without or with its effect; "each COMMAND":
                          all that begin like it fail; "kept COMMAND": they delete nothing of what there is
STAND_IN_JOB_HANGS        a pipe: a job writes its process id to it and then hangs
STAND_IN_INSTANCE_STATE   of the Cloud SQL instance, instead of RUNNABLE
STAND_IN_REGION           the only region that has anything, instead of us-central1
STAND_IN_SERVICE_URL      of the Cloud Run service, instead of one on run.app
STAND_IN_KEEP_SECRET      a file for the text of a secret that is made
STAND_IN_WATCH_PROCESSES  write down the arguments of every process of the session, at each command
"""

from __future__ import annotations

# This runs some thousand times in the tests, so a module that takes long to import is imported only where it is needed.
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HOME = os.environ["STAND_IN_HOME"]
POSTGRES = os.environ.get("STAND_IN_POSTGRES")
REGION = os.environ.get("STAND_IN_REGION", "us-central1")
PROJECT_NUMBER = "123456789012"


def main() -> None:
    program, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    number = write_down([program, *arguments])
    if os.environ.get("STAND_IN_WATCH_PROCESSES"):
        write_down_processes()
    when, _, which = os.environ.get("STAND_IN_FAIL", "").partition(" ")
    is_it = (
        which == str(number)
        if when in ("before", "after")
        else bool(which) and is_start(which, program, arguments)
    )
    if is_it and when in ("before", "each"):
        refuse("the stand-in was told to fail here")
    cloud = Cloud(keep_all=is_it and when == "kept")
    if program == "docker":
        cloud.docker(arguments)
    else:
        command, names, flags = parse(arguments)
        log(command, names, flags)
        cloud.run(command, names, flags)
    cloud.save()
    if is_it and when == "after":
        refuse("the stand-in was told to fail here, after the fact")


def is_start(start: str, program: str, arguments: list[str]) -> bool:
    return " ".join([program, *arguments]).startswith(start)


def refuse(why: str, code: int = 1) -> NoReturn:
    print(f"ERROR: {why}", file=sys.stderr)
    sys.exit(code)


def write_down(command: list[str]) -> int:
    with open(f"{HOME}/commands.jsonl", "a+") as file:
        file.write(json.dumps(command) + "\n")
        file.seek(0)
        return len(file.readlines())


def write_down_processes() -> None:
    """The arguments of the script that runs us and of all its children."""
    session = os.getsid(0)
    with open(f"{HOME}/processes", "a") as file:
        for process in os.listdir("/proc"):
            try:
                if process.isdigit() and os.getsid(int(process)) == session:
                    file.write(read(f"/proc/{process}/cmdline").replace("\0", " ") + "\n")
            except OSError:
                pass


# The command line


def parse(arguments: list[str]) -> tuple[str, list[str], dict[str, Any]]:
    recorded = json.loads(
        read(os.path.join(os.path.dirname(os.path.realpath(__file__)), "gcloud_commands.json"))
    )
    commands, every_command = recorded["commands"], recorded["every_command"]
    for length in range(len(arguments), 0, -1):
        if (command := " ".join(arguments[:length])) in commands:
            break
    else:
        refuse(f"Invalid choice: '{' '.join(arguments)}'", 2)
    known = every_command | commands[command]["flags"]
    names: list[str] = []
    flags: dict[str, Any] = {}
    rest = arguments[length:]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            names.append(word)
            continue
        name, equals, value = word.partition("=")
        if name == "--flags-file":
            given = json.loads(sys.stdin.read() if value == "-" else read(value))
            rest = [f"{key}={text}" for key, text in given.items()] + rest
            continue
        if name not in known:
            refuse(f"unrecognized arguments: {word}", 2)
        if known[name] is False:
            if equals:
                refuse(f"argument {name}: ignored explicit argument '{value}'", 2)
            flags[name] = True
            continue
        if not equals:
            if not rest:
                refuse(f"argument {name}: expected one argument", 2)
            value = rest.pop(0)
        if isinstance(known[name], list):
            folded = name in commands[command]["any_case"]
            choices = [choice.lower() if folded else choice for choice in known[name]]
            if (value.lower() if folded else value) not in choices:
                refuse(f"argument {name}: Invalid choice: '{value}'", 2)
        flags[name] = value
    for alternatives in commands[command]["required"]:
        if not any(name in flags for name in alternatives):
            refuse(f"argument {alternatives[0]}: Must be specified.", 2)
    positionals = commands[command]["positionals"]
    if len(names) < sum(positional["required"] for positional in positionals):
        refuse(f"argument {positionals[len(names)]['name']}: Must be specified.", 2)
    if len(names) > len(positionals) and not any(positional["many"] for positional in positionals):
        refuse(f"unrecognized arguments: {names[len(positionals)]}", 2)
    return command, names, flags


def log(command: str, names: list[str], flags: dict[str, Any]) -> None:
    """gcloud logs every flag, including those of a flags file."""
    if os.environ.get("CLOUDSDK_CORE_DISABLE_FILE_LOGGING") != "true":
        with open(f"{HOME}/logs", "a") as file:
            file.write(f"{command} {names} {flags}\n")


# What there is


class Cloud:
    def __init__(self, keep_all: bool) -> None:
        self._keep_all = keep_all
        self._path = f"{HOME}/state.json"
        self.things: dict[str, Any] = json.loads(read(self._path)) if os.path.exists(self._path) else {}
        self.project = os.environ.get("CLOUDSDK_CORE_PROJECT", "")

    def save(self) -> None:
        write(self._path, json.dumps(self.things, indent=1, sort_keys=True))

    def make(self, thing: str, value: Any, *needs: str) -> None:
        if thing in self.things:
            refuse(f"{thing} already exists")
        self.replace(thing, value, *needs)

    def replace(self, thing: str, value: Any, *needs: str) -> None:
        for need in needs:
            self.get(need)
        self.things[thing] = value

    def get(self, thing: str) -> Any:
        if thing not in self.things:
            refuse(f"NOT_FOUND: {thing} was not found")
        return self.things[thing]

    def remove(self, thing: str, *used_by: str) -> None:
        """`used_by` are the starts of the names of what keeps it from being removed."""
        self.get(thing)
        if self._keep_all:
            refuse("the stand-in was told to keep it")
        for user in self.things:
            if user.startswith(used_by) and used_by:
                refuse(f"{thing} is in use by {user}")
        for part in [name for name in self.things if name == thing or name.startswith(f"{thing}/")]:
            del self.things[part]

    def run(self, command: str, names: list[str], flags: dict[str, Any]) -> None:
        name = names[0] if names else ""
        if command == "config get-value":
            print("my-configured-project")
            return
        if command == "auth configure-docker":
            write(f"{HOME}/docker-configuration", name)
            return
        if command == "auth print-identity-token":
            print("an-identity-token")
            return
        if not self.project:
            refuse("The required property [project] is not currently set.")
        if os.environ.get("CLOUDSDK_CORE_DISABLE_PROMPTS") != "1" and "delete" in command:
            refuse("This prompt could not be answered because you are not in an interactive session.")
        for flag in ("--region", "--location", "--locations"):
            if flags.get(flag, REGION) != REGION:
                refuse(f"there is nothing in {flags[flag]}")
        account = f"account {self.account(flags)}" if "--member" in flags else ""
        instance = f"instance {flags.get('--instance', name)}"
        match command.removeprefix("beta "):
            case "services enable":
                # They stay enabled after a clean-up, so they are no part of the state.
                return
            case "projects describe":
                self.answer(flags, {"value(projectNumber)": PROJECT_NUMBER})
            case "projects add-iam-policy-binding":
                self.replace(f"binding {flags['--member']} {flags['--role']}", {}, account)
            case "projects remove-iam-policy-binding":
                self.remove(f"binding {flags['--member']} {flags['--role']}")

            case "compute networks create":
                self.make(f"network {name}", {})
            case "compute networks delete":
                self.remove(f"network {name}", "subnet ")
            case "compute networks subnets create":
                self.make(f"subnet {name}", {"range": flags["--range"]}, f"network {flags['--network']}")
            case "compute networks subnets delete":
                self.remove(f"subnet {name}", "address ", "service ", "pool ", "job ")
            case "compute addresses create":
                self.make(f"address {name}", {"ip": flags["--addresses"]}, f"subnet {flags['--subnet']}")
            case "compute addresses delete":
                self.remove(f"address {name}", "endpoint ")
            case "compute forwarding-rules create":
                needs = [f"address {flags['--address']}", f"network {flags['--network']}"]
                self.make(f"endpoint {name}", {"to": flags["--target-service-attachment"]}, *needs)
            case "compute forwarding-rules delete":
                self.remove(f"endpoint {name}")

            case "iam service-accounts create":
                self.make(f"account {name}@{self.project}.iam.gserviceaccount.com", {})
            case "iam service-accounts delete":
                self.remove(f"account {name}")

            case "sql instances create":
                self.make(instance, {"version": flags["--database-version"], "edition": flags["--edition"]})
            case "sql instances delete":
                self.remove(instance)
            case "sql databases create":
                self.make(f"{instance}/database {name}", {}, instance)
                as_superuser(f'CREATE DATABASE "{name}" OWNER cloudsqlsuperuser')
            case "sql users create":
                if flags.get("--type") != "cloud_iam_service_account":
                    refuse("only IAM users are made here")
                self.make(f"{instance}/user {name}", {}, instance)
                as_superuser(f'CREATE ROLE "{name}" LOGIN IN ROLE cloudsqliamserviceaccount')
            case "sql users set-password":
                self.replace(f"{instance}/password of {name}", hashed(flags["--password"]), instance)
                as_superuser(f"ALTER ROLE \"{name}\" PASSWORD '{flags['--password']}'")

            case "secrets create":
                self.make(f"secret {name}", {})
                os.makedirs(f"{HOME}/secrets", exist_ok=True)
                secret = sys.stdin.read()
                write(f"{HOME}/secrets/{name}", secret)
                write(f"{HOME}/last-secret", hashed(secret))
                if keep := os.environ.get("STAND_IN_KEEP_SECRET"):
                    write(keep, secret)
            case "secrets add-iam-policy-binding":
                self.replace(
                    f"secret {name}/{flags['--member']} {flags['--role']}", {}, f"secret {name}", account
                )
            case "secrets delete":
                self.remove(f"secret {name}")
                os.unlink(f"{HOME}/secrets/{name}")

            case "artifacts repositories create":
                self.make(f"repository {name}", {"format": flags["--repository-format"]})
            case "artifacts repositories delete":
                self.remove(f"repository {name}")
            case "artifacts docker images describe":
                digest = self.get(self.image(name))["digest"]
                self.answer(flags, {"value(image_summary.digest)": digest})
            case "artifacts docker images delete":
                self.remove(self.image(name))

            case "run services replace":
                self.replace_from_yaml("Service", "service")
            case "run services delete":
                self.remove(f"service {name}")
            case "run services add-iam-policy-binding":
                needs = [f"service {name}", *([account] if flags["--member"] != "allUsers" else [])]
                self.replace(f"service {name}/{flags['--member']} {flags['--role']}", {}, *needs)
            case "run services remove-iam-policy-binding":
                self.remove(f"service {name}/{flags['--member']} {flags['--role']}")
            case "run services describe":
                self.get(f"service {name}")
                url = os.environ.get("STAND_IN_SERVICE_URL", f"https://{name}-abcdefghij-uc.a.run.app")
                self.answer(flags, {"value(status.url)": url})
            case "run worker-pools replace":
                self.replace_from_yaml("WorkerPool", "pool")
            case "run worker-pools delete":
                self.remove(f"pool {name}")
            case "run jobs replace":
                self.replace_from_yaml("Job", "job")
            case "run jobs delete":
                self.remove(f"job {name}")
            case "run jobs execute":
                self.execute(self.get(f"job {name}"))

            case "compute networks describe":
                self.get(f"network {name}")
            case "compute networks subnets describe":
                self.get(f"subnet {name}")
            case "compute addresses describe":
                self.get(f"address {name}")
            case "compute forwarding-rules describe":
                self.get(f"endpoint {name}")
            case "iam service-accounts describe":
                self.get(f"account {name}")
            case "artifacts repositories describe":
                self.get(f"repository {name}")
            case "sql databases describe":
                self.get(f"{instance}/database {name}")
            case "sql users describe":
                self.get(f"{instance}/user {name}")
            case "sql instances describe":
                self.get(instance)
                state = os.environ.get("STAND_IN_INSTANCE_STATE", "RUNNABLE")
                link = f"projects/tenant/regions/{REGION}/serviceAttachments/{name}"
                self.answer(flags, {"value(state)": state, "value(pscServiceAttachmentLink)": link})
            case _:
                refuse(f"the stand-in does not know what {command} does")

    def answer(self, flags: dict[str, Any], answers: dict[str, str]) -> None:
        if flags.get("--format") not in answers:
            refuse(f"the stand-in cannot answer {flags.get('--format')}")
        print(answers[flags["--format"]])

    @staticmethod
    def account(flags: dict[str, Any]) -> str:
        return str(flags["--member"]).removeprefix("serviceAccount:")

    # Images

    def image(self, reference: str) -> str:
        """us-central1-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"""
        host, project, repository, name = reference.split("/")
        if host != f"{REGION}-docker.pkg.dev" or project != self.project:
            refuse(f"{reference} is not in this project and region")
        return f"repository {repository}/{name.replace(':', '/')}"

    def docker(self, arguments: list[str]) -> None:
        match arguments:
            case ["build", "--platform", "linux/amd64", "-f", dockerfile, "-t", tag, "--build-arg", _, "."]:
                if not os.path.exists("deploy/cloud_run/deploy"):
                    refuse("this is not the repository's root")
                with open(f"{HOME}/docker-images", "a") as file:
                    file.write(f"{tag} {dockerfile}\n")
            case ["push", tag]:
                if f"{tag} " not in read(f"{HOME}/docker-images"):
                    refuse(f"An image does not exist locally with the tag: {tag}")
                if read(f"{HOME}/docker-configuration") != tag.partition("/")[0]:
                    refuse("denied: no login")
                image = self.image(tag)
                digest = f"sha256:{hashed(tag)}"
                self.replace(image, {"digest": digest}, image.partition("/")[0])
                self.replace(image.rpartition("/")[0], {"digest": digest})
            case _:
                refuse(f"unknown docker command: {arguments}")

    # What YAML describes

    def replace_from_yaml(self, kind: str, prefix: str) -> None:
        import site

        # The interpreter was started without it, to be quick.
        site.main()
        import yaml

        text = sys.stdin.read()
        resource = yaml.safe_load(text)
        os.makedirs(f"{HOME}/yaml", exist_ok=True)
        write(f"{HOME}/yaml/{kind}", text)
        if resource["kind"] != kind:
            refuse(f"this is no {kind}")
        if resource["metadata"]["labels"]["cloud.googleapis.com/location"] != REGION:
            refuse("You must specify a region.")
        spec = task_or_revision(resource)["spec"]
        self.get(f"account {spec['serviceAccountName']}")
        for container in spec["containers"]:
            image, _, digest = container["image"].partition("@")
            if digest and self.get(self.image(image))["digest"] != digest:
                refuse(f"Image '{container['image']}' not found.")
            for secret in secrets_of(container):
                self.get(f"secret {secret}")
                reader = f"secret {secret}/serviceAccount:{spec['serviceAccountName']}"
                if f"{reader} roles/secretmanager.secretAccessor" not in self.things:
                    refuse(f"Permission denied on secret: {secret}")
        self.replace(f"{prefix} {resource['metadata']['name']}", resource)

    def execute(self, job: Any) -> None:
        if ready := os.environ.get("STAND_IN_JOB_HANGS"):
            import time

            write(ready, str(os.getpid()))
            time.sleep(600)
        (container,) = task_or_revision(job)["spec"]["containers"]
        sql = container["args"][-1]
        instance = next(thing for thing in self.things if thing.startswith("instance ") and "/" not in thing)
        if POSTGRES:
            values = {
                variable["name"]: (
                    variable["value"]
                    if "value" in variable
                    else read(f"{HOME}/secrets/{variable['valueFrom']['secretKeyRef']['name']}")
                )
                for variable in container["env"]
            }
            environment = values | {"PATH": os.environ["PATH"], "PGHOST": POSTGRES, "PGPORT": "5432"}
            import subprocess

            if subprocess.run([*container["command"], *container["args"]], env=environment).returncode != 0:
                refuse("The execution failed.")
        if "PASSWORD NULL" in sql:
            self.things.pop(f"{instance}/password of postgres", None)


def task_or_revision(resource: Any) -> Any:
    template = resource["spec"]["template"]
    return template["spec"]["template"] if resource["kind"] == "Job" else template


def secrets_of(container: Any) -> list[str]:
    sources = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in container.get("env", [])]
    return [source["name"] for source in sources if source]


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def hashed(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def as_superuser(statement: str) -> None:
    if POSTGRES:
        import subprocess

        command = [
            "psql",
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            POSTGRES,
            "-U",
            "cloudsqladmin",
            "-d",
            "postgres",
        ]
        result = subprocess.run(command, input=statement, text=True, capture_output=True)
        if result.returncode != 0:
            refuse(result.stderr)
