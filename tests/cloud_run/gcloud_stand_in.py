"""Google Cloud for the tests of deploy/cloud_run: the commands `gcloud` and `docker`, which google_cloud.py
puts first on the PATH.

It takes the commands and flags that gcloud_commands.json records of the real one and refuses all others, keeps
what was made in a folder, refuses what the real one refuses (to make a thing twice, to use, describe or delete what
is not there, to delete what is in use, to read a secret without the right to it, to call an API that is off), and
writes down every command. What it prints then is gcloud's own text where gcloud_texts.py has it; a text of its own says
that it is the stand-in's. A grants job is really run: its command, with its environment and its secret, against a
real PostgreSQL.

STAND_IN_HOME             the folder: state, commands, apis, since, revisions, recorded as google_cloud.py wrote it, logs as
                          gcloud keeps them, yaml/, secrets/
STAND_IN_POSTGRES         the folder of PostgreSQL's socket; without it a job changes nothing
STAND_IN_FAIL             "before N", "after N": the Nth command fails without or with its effect; "CASE N": it fails in
                          that case of gcloud_texts.py, without effect. By how a command begins, for all that begin so:
                          "each COMMAND" fails, "each-CASE COMMAND" fails in that case, "lost COMMAND" fails with its
                          effect, "kept COMMAND" deletes nothing of what there is. "once-CASE": every command fails the
                          first time that it is run, if it can be in that case
STAND_IN_IAM_DELAY        a new account or right is known everywhere only after so many more commands
STAND_IN_API_DELAY        an API that is switched on can be used only after so many more commands
STAND_IN_JOB_HANGS        a pipe: a job writes its process id to it and then hangs
STAND_IN_INSTANCE_STATE   of the Cloud SQL instance, instead of RUNNABLE
STAND_IN_REDIS_STATE      of the instance of Redis, instead of READY
STAND_IN_REGION           the only region that has anything, instead of us-central1
STAND_IN_SERVICE_URL      of the Cloud Run service, instead of one on run.app
STAND_IN_KEEP_SECRET      a file for the text of a secret that is made
STAND_IN_SDK              gcloud's version, instead of 578.0.0
STAND_IN_WATCH_PROCESSES  write down the arguments of every process of the session, at each command
"""

from __future__ import annotations

# This runs some ten thousand times in the tests, so a module that takes long to import is imported only where it is needed.
import os
import sys

import kept_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from gcloud_texts import Failure

HOME = os.environ["STAND_IN_HOME"]
POSTGRES = os.environ.get("STAND_IN_POSTGRES")
REGION = os.environ.get("STAND_IN_REGION", "us-central1")
PROJECT_NUMBER = "123456789012"
# With a user's login gcloud calls this one as itself, not as the project.
ALWAYS_ON = ("cloudresourcemanager",)
# Of a new project (docs.cloud.google.com/service-usage/docs/enabled-service), as far as they are of interest here.
ON_AT_FIRST = ("logging", "monitoring", "serviceusage", "storage")


def main() -> None:
    program, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    words = [program, *arguments]
    history = write_down(words)
    if os.environ.get("STAND_IN_WATCH_PROCESSES"):
        write_down_processes()
    order = Order(os.environ.get("STAND_IN_FAIL", ""), words, history)
    if order.fails:
        refuse("it was told to fail here")
    if order.case:
        fail(words, order.case)
    cloud = Cloud(words, len(history), keep_all=order.keeps)
    if program == "docker":
        cloud.docker(arguments)
    else:
        command, names, flags = parse(arguments)
        log(command, names, flags)
        cloud.run(command, names, flags)
    cloud.save()
    if order.loses:
        refuse("it was told to fail here, after the fact")


class Order:
    """What STAND_IN_FAIL says of this command."""

    def __init__(self, order: str, words: list[str], history: list[list[str]]) -> None:
        how, _, which = order.partition(" ")
        is_it = bool(which) and (which == str(len(history)) if which.isdigit() else " ".join(words).startswith(which))
        self.fails = is_it and how in ("before", "each")
        self.loses = is_it and how in ("after", "lost")
        self.keeps = is_it and how == "kept"
        self.case = ""
        if words[0] != "gcloud" or how in ("", "before", "after", "each", "lost", "kept"):
            return
        if how.startswith("once-"):
            is_it = history.count(words) == 1
        if is_it:
            self.case = how.removeprefix("once-").removeprefix("each-")
            import gcloud_texts

            try:
                possible = gcloud_texts.failure(words, self.case) is not None
            except KeyError:
                # These ask no API: version, config, auth.
                possible = False
            if not possible:
                if not how.startswith("once-"):
                    refuse(f"gcloud cannot answer {' '.join(words)} in the case {self.case}")
                self.case = ""


def fail(words: list[str], case: str) -> NoReturn:
    """As gcloud does in that case."""
    import gcloud_texts

    failure = gcloud_texts.failure(words, case)
    if failure is None:
        refuse(f"{' '.join(words)}: {case}, for which there is no text")
    end(failure)


def end(failure: Failure) -> NoReturn:
    print(failure.stderr, end="", file=sys.stderr)
    sys.exit(failure.exit_code)


def refuse(why: str, code: int = 1) -> NoReturn:
    print(f"ERROR: the stand-in for gcloud: {why}", file=sys.stderr)
    sys.exit(code)


def write_down(command: list[str]) -> list[list[str]]:
    """Returns all of them, this one included."""
    kept_files.append(f"{HOME}/commands", command)
    return kept_files.records(f"{HOME}/commands")


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
    """gcloud ends with 2 when it does not understand its command line (calliope/parser_errors.py)."""
    recorded = load("recorded")
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
            import json

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
    def __init__(self, words: list[str], number: int, keep_all: bool) -> None:
        self._words = words
        self._number = number
        self._keep_all = keep_all
        self.things: dict[str, Any] = load("state")
        self._before = dict(self.things)
        # At which command a thing was made, and how many revisions were made of a service or a pool. They are no part
        # of the state: two that are equal may have different ones.
        self._since: dict[str, int] = load("since")
        self._revisions: dict[str, int] = load("revisions")
        self.project = os.environ.get("CLOUDSDK_CORE_PROJECT", "")

    def save(self) -> None:
        for thing in self.things.keys() - self._before.keys():
            self._since[thing] = self._number
        for name, value in (("state", self.things), ("since", self._since), ("revisions", self._revisions)):
            save(name, value)

    def fail(self, case: str) -> NoReturn:
        fail(self._words, case)

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
            self.fail("missing")
        return self.things[thing]

    def remove(self, thing: str, *used_by: str) -> None:
        """`used_by` are the starts of the names of what keeps it from being removed."""
        self.get(thing)
        if self._keep_all:
            refuse("it was told to keep it")
        for user in self.things:
            if user.startswith(used_by) and used_by:
                refuse(f"{thing} is in use by {user}")
        for part in [name for name in self.things if name == thing or name.startswith(f"{thing}/")]:
            del self.things[part]

    def is_new(self, thing: str, delay: str) -> bool:
        """Whether that is so recent that not all of Google's servers know it."""
        wait = int(os.environ.get(delay, "0"))
        return wait > 0 and thing in self._since and self._number <= self._since[thing] + wait

    def need_api(self) -> None:
        import gcloud_texts

        api = gcloud_texts.Call(self._words).kind.api
        if api in ALWAYS_ON + ON_AT_FIRST:
            return
        if f"{api}.googleapis.com" not in load("apis") or self.is_new(f"api {api}", "STAND_IN_API_DELAY"):
            self.fail("api-not-enabled")

    def bind(self, thing: str, flags: dict[str, Any], *needs: str) -> None:
        """Gives a member a role on a thing."""
        for need in needs:
            self.get(need)
        member = str(flags["--member"])
        kind, _, email = member.partition(":")
        # Accounts of other projects, such as Google's own, are there.
        if kind == "serviceAccount" and email.endswith(f"@{self.project}.iam.gserviceaccount.com"):
            account = f"account {email}"
            if account not in self.things or self.is_new(account, "STAND_IN_IAM_DELAY"):
                self.fail("iam-not-propagated")
        condition = flags.get("--condition")
        value = {"condition": condition} if condition and condition != "None" else {}
        self.things[f"{thing}{member} {flags['--role']}"] = value

    def unbind(self, thing: str, flags: dict[str, Any]) -> None:
        binding = f"{thing}{flags['--member']} {flags['--role']}"
        condition = flags.get("--condition")
        given = {"condition": condition} if condition and condition != "None" else {}
        if self.things.get(binding) != given:
            self.fail("missing")
        self.remove(binding)

    def run(self, command: str, names: list[str], flags: dict[str, Any]) -> None:
        name = names[0] if names else ""
        if command == "version":
            self.answer(flags, {'value("Google Cloud SDK")': os.environ.get("STAND_IN_SDK", "578.0.0")})
            return
        if command == "config get-value":
            print("my-configured-project")
            return
        if command == "auth configure-docker":
            write(f"{HOME}/docker-configuration", name)
            return
        if not self.project:
            # core/properties.py, RequiredPropertyError.
            refuse("The required property [project] is not currently set.")
        asks = "delete" in command or "--enable-auth" in flags
        if os.environ.get("CLOUDSDK_CORE_DISABLE_PROMPTS") != "1" and asks:
            # core/console/console_io.py, UnattendedPromptError.
            refuse("This prompt could not be answered because you are not in an interactive session.")
        for flag in ("--region", "--location", "--locations"):
            if flags.get(flag, REGION) != REGION:
                refuse(f"there is nothing in {flags[flag]}")
        self.need_api()
        project = flags.get("--project", self.project)
        instance = f"instance {flags.get('--instance', name)}"
        match command.removeprefix("beta "):
            case "services enable":
                apis = load("apis")
                for api in names:
                    if api not in apis:
                        apis[api] = True
                        self._since[f"api {api.partition('.')[0]}"] = self._number
                save("apis", apis)
            case "services list":
                enabled = {f"{api}.googleapis.com" for api in ON_AT_FIRST} | set(load("apis"))
                self.answer(flags, {"value(config.name)": "\n".join(sorted(enabled))})
            case "projects describe":
                self.answer(flags, {"value(projectNumber)": PROJECT_NUMBER})
            case "projects add-iam-policy-binding":
                self.bind("binding ", flags)
            case "projects remove-iam-policy-binding":
                self.unbind("binding ", flags)

            case "compute networks create":
                self.make(self.path("network", name, project), {})
            case "compute networks delete":
                # A peering is the network's as long as there is an instance of Redis.
                self.remove(self.path("network", name, project), "subnet ", "redis ")
            case "compute networks subnets create":
                network = self.path("network", flags["--network"], project)
                google_access = flags.get("--enable-private-ip-google-access", False)
                value = {"range": flags["--range"], "privateIpGoogleAccess": google_access}
                self.make(self.path("subnet", name, project), value, network)
            case "compute networks subnets delete":
                subnet = self.path("subnet", name, project)
                self.remove(subnet, "address ", "service ", "pool ", "job ")
            case "compute networks subnets describe":
                subnet = self.get(self.path("subnet", name, project))
                if "--format" in flags:
                    self.answer(flags, {"value(privateIpGoogleAccess)": str(subnet["privateIpGoogleAccess"])})
            case "compute addresses create":
                subnet = self.path("subnet", flags["--subnet"], project)
                self.make(f"address {name}", {"ip": flags["--addresses"]}, subnet)
            case "compute addresses delete":
                self.remove(f"address {name}", "endpoint ")
            case "compute forwarding-rules create":
                needs = [f"address {flags['--address']}", self.path("network", flags["--network"], project)]
                self.make(f"endpoint {name}", {"to": flags["--target-service-attachment"]}, *needs)
            case "compute forwarding-rules delete":
                self.remove(f"endpoint {name}")

            case "iam service-accounts create":
                self.make(f"account {name}@{self.project}.iam.gserviceaccount.com", {})
            case "iam service-accounts delete":
                self.remove(f"account {name}")

            case "sql instances create":
                self.make(instance, {flag.removeprefix("--"): flags[flag] for flag in sorted(flags)})
            case "sql instances delete":
                if self.get(instance).get("deletion-protection"):
                    refuse(f"{instance} is protected against deletion")
                self.remove(instance)
            case "sql databases create":
                self.make(f"{instance}/database {name}", {}, instance)
                as_superuser(f'CREATE DATABASE "{name}" OWNER cloudsqlsuperuser')
            case "sql databases delete":
                self.remove(f"{instance}/database {name}")
                as_superuser(f'DROP DATABASE "{name}" (FORCE)')
            case "sql users create":
                self.make_user(instance, name, flags)
            case "sql users delete":
                user = f"{instance}/user {name}"
                self.get(user)
                if not self._keep_all:
                    # It fails for a role that owns something.
                    as_superuser(f'DROP ROLE "{name}"')
                self.remove(user)

            case "redis instances create":
                self.make_redis(name, flags)
            case "redis instances describe":
                self.describe_redis(name, flags)
            case "redis instances get-auth-string":
                self.get(f"redis {name}")
                if "private" not in flags["--format"]:
                    # gcloud logs what it prints, too (core/resource/resource_printer_base.py, ResourcePrinter.__init__).
                    log(read(f"{HOME}/secrets/AUTH of {name}"), [], {})
                flags["--format"] = flags["--format"].replace("[private]", "")
                self.answer(flags, {"value(authString)": read(f"{HOME}/secrets/AUTH of {name}")})
            case "redis instances delete":
                self.remove(f"redis {name}")
                if not self._keep_all:
                    os.unlink(f"{HOME}/secrets/AUTH of {name}")

            case "secrets create":
                self.make(f"secret {name}", {"versions": 0})
                if "--data-file" in flags:
                    self.add_version(name)
            case "secrets versions add":
                self.get(f"secret {name}")
                self.add_version(name)
            case "secrets versions describe":
                self.version(flags["--secret"], name)
            case "secrets versions access":
                self.version(flags["--secret"], name)
                sys.stdout.write(read(f"{HOME}/secrets/{flags['--secret']}"))
            case "secrets add-iam-policy-binding":
                self.bind(f"secret {name}/", flags, f"secret {name}")
            case "secrets remove-iam-policy-binding":
                self.unbind(f"secret {name}/", flags)
            case "secrets delete":
                self.remove(f"secret {name}")
                if os.path.exists(f"{HOME}/secrets/{name}"):
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
            case "builds submit":
                self.build(name, flags)

            case "run services replace":
                self.replace_from_yaml("Service", "service")
            case "run services delete":
                self.remove(f"service {name}")
                self._revisions.pop(f"service {name}", None)
            case "run services add-iam-policy-binding":
                self.bind(f"service {name}/", flags, f"service {name}")
            case "run services remove-iam-policy-binding":
                self.unbind(f"service {name}/", flags)
            case "run services describe":
                annotations = self.get(f"service {name}")["metadata"]["annotations"]
                url = os.environ.get("STAND_IN_SERVICE_URL", f"https://{name}-abcdefghij-uc.a.run.app")
                scale = "value(metadata.annotations.'prefect-supervisor/scale')"
                self.answer(flags, {"value(status.url)": url, scale: annotations.get("prefect-supervisor/scale", "")})
            case "run worker-pools replace":
                self.replace_from_yaml("WorkerPool", "pool")
            case "run worker-pools delete":
                self.remove(f"pool {name}")
                self._revisions.pop(f"pool {name}", None)
            case "run jobs replace":
                self.replace_from_yaml("Job", "job")
            case "run jobs delete":
                self.remove(f"job {name}")
            case "run jobs execute":
                self.execute(self.get(f"job {name}"))

            case "monitoring policies create":
                policy = from_yaml(sys.stdin.read())
                for channel in policy.get("notificationChannels", []):
                    if f"channel {channel}" not in self.things:
                        refuse(f"there is no channel {channel}")
                self.number("policy", "alertPolicies", policy)
            case "monitoring policies list":
                self.list_by_name("policy", flags)
            case "monitoring policies delete":
                self.remove(f"policy {name}")
            case "monitoring channels create":
                value = {"displayName": flags["--display-name"], "labels": flags["--channel-labels"]}
                self.answer(flags, {"value(name)": self.number("channel", "notificationChannels", value)})
            case "monitoring channels list":
                self.list_by_name("channel", flags)
            case "monitoring channels delete":
                self.get(f"channel {name}")
                for thing, policy in self.things.items():
                    if thing.startswith("policy ") and name in policy.get("notificationChannels", []):
                        refuse(f"channel {name} is in use by {thing}")
                self.remove(f"channel {name}")

            case "compute networks describe":
                self.get(self.path("network", name, project))
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
            case "secrets describe":
                self.get(f"secret {name}")
            case "sql instances describe":
                self.describe_instance(name, flags)
            case _:
                refuse(f"what {command} does is not known here")

    def answer(self, flags: dict[str, Any], answers: dict[str, str]) -> None:
        if flags.get("--format") not in answers:
            refuse(f"there is no answer here for {flags.get('--format')}")
        if answers[flags["--format"]]:
            print(answers[flags["--format"]])

    def path(self, kind: str, name: str, project: str) -> str:
        """NAME or projects/PROJECT/.../NAME; what is in another project has the project in its name here."""
        if "/" in name:
            _, project, *_ = name.split("/")
            name = name.rpartition("/")[2]
        return f"{kind} {name}" if project == self.project else f"{kind} {name} in {project}"

    # Cloud SQL

    def make_user(self, instance: str, name: str, flags: dict[str, Any]) -> None:
        kind = flags.get("--type", "BUILT_IN").upper()
        self.make(f"{instance}/user {name}", {"type": kind}, instance)
        if kind == "CLOUD_IAM_SERVICE_ACCOUNT":
            as_superuser(f'CREATE ROLE "{name}" LOGIN IN ROLE cloudsqliamserviceaccount')
        elif kind == "BUILT_IN":
            # docs.cloud.google.com/sql/docs/postgres/users: the rights of a user who is made so.
            rights = f"LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser PASSWORD '{flags['--password']}'"
            as_superuser(f'CREATE ROLE "{name}" {rights}')
        else:
            refuse(f"users of the type {kind} are not made here")

    def describe_instance(self, name: str, flags: dict[str, Any]) -> None:
        instance = self.get(f"instance {name}")
        if "--format" not in flags:
            return
        self.answer(
            flags,
            {
                "value(state)": os.environ.get("STAND_IN_INSTANCE_STATE", "RUNNABLE"),
                "value(settings.tier)": instance["tier"],
                "value(pscServiceAttachmentLink)": f"projects/tenant/regions/{REGION}/serviceAttachments/{name}",
                "value(serverCaCert.cert)": f"-----BEGIN CERTIFICATE-----\nof {name}\n-----END CERTIFICATE-----",
                "value(region)": REGION,
                'value(settings.databaseFlags.map().format("{0}={1}",name,value).list())': instance.get(
                    "database-flags", ""
                ),
            },
        )

    # Memorystore for Redis

    def make_redis(self, name: str, flags: dict[str, Any]) -> None:
        """docs.cloud.google.com/memorystore/docs/redis/networking: a network of another project is reached by private
        services access alone. terraform-google-modules/terraform-google-memorystore issue 107 has this text."""
        network = self.path("network", flags.get("--network", "default"), self.project)
        if " in " in network and flags.get("--connect-mode") != "private-service-access":
            refuse("INVALID_ARGUMENT: authorized_network must exist in the same project as redis instance")
        self.make(f"redis {name}", {flag.removeprefix("--"): flags[flag] for flag in sorted(flags)}, network)
        import uuid

        # "a randomly generated string of 36 characters", new for each instance
        # (cloud.google.com/memorystore/docs/redis/auth-overview).
        os.makedirs(f"{HOME}/secrets", exist_ok=True)
        write(f"{HOME}/secrets/AUTH of {name}", str(uuid.uuid4()) if "--enable-auth" in flags else "")

    def describe_redis(self, name: str, flags: dict[str, Any]) -> None:
        instance = self.get(f"redis {name}")
        if "--format" not in flags:
            return
        encrypted = instance.get("transit-encryption-mode", "").lower() == "server-authentication"
        certificate = f"-----BEGIN CERTIFICATE-----\nof {name}\n-----END CERTIFICATE-----"
        answers = {
            "value(state)": os.environ.get("STAND_IN_REDIS_STATE", "READY"),
            "value(transitEncryptionMode)": "SERVER_AUTHENTICATION" if encrypted else "DISABLED",
            "value(host)": "10.37.64.3",
            # 6378 is the port with encryption (cloud.google.com/memorystore/docs/redis/about-in-transit-encryption).
            "value(port)": "6378" if encrypted else "6379",
        }
        if flags.get("--flatten") == "serverCaCerts[]":
            answers["value(serverCaCerts.cert)"] = certificate if encrypted else ""
        self.answer(flags, answers)

    # Secrets

    def add_version(self, name: str) -> None:
        os.makedirs(f"{HOME}/secrets", exist_ok=True)
        text = sys.stdin.read()
        write(f"{HOME}/secrets/{name}", text)
        self.things[f"secret {name}"] = {"versions": self.things[f"secret {name}"]["versions"] + 1}
        if keep := os.environ.get("STAND_IN_KEEP_SECRET"):
            write(keep, text)

    def version(self, secret: str, version: str) -> None:
        count = self.get(f"secret {secret}")["versions"]
        if count == 0 or (version != "latest" and int(version) > count):
            self.fail("missing")

    # Alerts

    def number(self, kind: str, collection: str, value: dict[str, Any]) -> str:
        """Google gives names that are numbers."""
        number = 1
        while (name := f"projects/{self.project}/{collection}/{number}") and f"{kind} {name}" in self.things:
            number += 1
        self.things[f"{kind} {name}"] = value
        return name

    def list_by_name(self, kind: str, flags: dict[str, Any]) -> None:
        import re

        expression = re.fullmatch(r'displayName~"(.*)"', flags["--filter"])
        if not expression:
            refuse(f"there is no answer here for --filter={flags['--filter']}")
        names = [
            thing.removeprefix(f"{kind} ")
            for thing, value in self.things.items()
            if thing.startswith(f"{kind} ") and re.search(expression[1], value["displayName"])
        ]
        self.answer(flags, {"value(name)": "\n".join(names)})

    # Images

    def image(self, reference: str) -> str:
        """us-central1-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"""
        host, project, repository, name = reference.split("/")
        if host != f"{REGION}-docker.pkg.dev" or project != self.project:
            refuse(f"{reference} is not in this project and region")
        return f"repository {repository}/{name.replace(':', '/')}"

    def push(self, tag: str) -> None:
        image = self.image(tag)
        digest = f"sha256:{hashed(tag)}"
        if image.partition("/")[0] not in self.things:
            refuse(f"there is no {image.partition('/')[0]}")
        self.things[image] = {"digest": digest}
        self.things[image.rpartition("/")[0]] = {"digest": digest}

    def docker(self, arguments: list[str]) -> None:
        match arguments:
            case ["build", "--platform", "linux/amd64", "--pull", "-f", dockerfile, "-t", tag, *options, "."]:
                if not os.path.exists("deploy/cloud_run/deploy") or not os.path.exists(dockerfile):
                    refuse("this is not the repository's root")
                if [option.partition("=")[0] for option in options] != [
                    *("--build-arg", "COMMIT"),
                    *("--build-arg", "PREFECT_VERSION"),
                ]:
                    refuse(f"unknown options of docker build: {options}")
                with open(f"{HOME}/docker-images", "a") as file:
                    file.write(f"{tag} {dockerfile}\n")
            case ["push", tag]:
                if not os.path.exists(f"{HOME}/docker-images") or f"{tag} " not in read(f"{HOME}/docker-images"):
                    refuse(f"An image does not exist locally with the tag: {tag}")
                if read(f"{HOME}/docker-configuration") != tag.partition("/")[0]:
                    refuse("denied: no login")
                self.push(tag)
            case _:
                refuse(f"unknown docker command: {arguments}")

    def build(self, source: str, flags: dict[str, Any]) -> None:
        """Cloud Build refuses a substitution that the configuration does not use, and one that it misses."""
        import re

        config = read(flags["--config"])
        given = dict(each.partition("=")[::2] for each in flags["--substitutions"].split(","))
        used = set(re.findall(r"\$\{?(_[A-Z_]+)", config))
        if used != set(given):
            refuse(f"the substitutions are {sorted(given)}, and the configuration has {sorted(used)}")
        if not os.path.exists(os.path.join(source, given["_DOCKERFILE"])):
            refuse(f"there is no {given['_DOCKERFILE']} in {source}")
        self.push(given["_IMAGE"])

    # What YAML describes

    def replace_from_yaml(self, kind: str, prefix: str) -> None:
        text = sys.stdin.read()
        resource = from_yaml(text)
        os.makedirs(f"{HOME}/yaml", exist_ok=True)
        write(f"{HOME}/yaml/{kind}", text)
        if resource["kind"] != kind:
            refuse(f"this is no {kind}")
        if resource["metadata"]["labels"]["cloud.googleapis.com/location"] != REGION:
            refuse("You must specify a region.")
        thing = f"{prefix} {resource['metadata']['name']}"
        spec = task_or_revision(resource)["spec"]
        account = spec["serviceAccountName"]
        if f"account {account}" not in self.things or self.is_new(f"account {account}", "STAND_IN_IAM_DELAY"):
            self.no_act_as(resource, account)
        self.check_network(task_or_revision(resource), resource)
        for container in spec["containers"]:
            image, _, digest = container["image"].partition("@")
            if digest and self.things.get(self.image(image), {}).get("digest") != digest:
                refuse(f"Image '{container['image']}' not found.")
        for secret, version in secrets_of(spec):
            reader = f"secret {secret}/serviceAccount:{account} roles/secretmanager.secretAccessor"
            if reader not in self.things or self.is_new(reader, "STAND_IN_IAM_DELAY"):
                self.may_not_read(resource, secret, account)
            count = self.things[f"secret {secret}"]["versions"]
            if count == 0 or (version != "latest" and int(version) > count):
                refuse(f"the secret {secret} has no version {version}")
        self.keep_revision(thing, resource)
        self.things[thing] = resource

    def keep_revision(self, thing: str, resource: Any) -> None:
        """Of the old annotations gcloud keeps those of Knative Serving alone (command_lib/run/config_changes.py,
        ReplaceServiceChange); and Cloud Run makes a new revision only of a template that is another one
        (google-github-actions/deploy-cloudrun issue 491)."""
        old = self.things.get(thing)
        if old and resource["kind"] == "Service":
            for name, value in old["metadata"].get("annotations", {}).items():
                if name.startswith("serving.knative.dev"):
                    resource["metadata"].setdefault("annotations", {})[name] = value
        if resource["kind"] != "Job" and (not old or old["spec"]["template"] != resource["spec"]["template"]):
            self._revisions[thing] = self._revisions.get(thing, 0) + 1

    def check_network(self, revision: Any, resource: Any) -> None:
        holder = resource["spec"]["template"] if resource["kind"] == "Job" else revision
        interfaces = holder["metadata"]["annotations"]["run.googleapis.com/network-interfaces"]
        import json

        for interface in json.loads(interfaces):
            for kind, name in (("network", interface["network"]), ("subnet", interface["subnetwork"])):
                if self.path(kind, name, self.project) not in self.things:
                    refuse(f"there is no {kind} {name}")

    def no_act_as(self, resource: Any, account: str) -> NoReturn:
        import gcloud_texts

        call = gcloud_texts.Call(self._words)
        end(gcloud_texts.act_as(call, resource["metadata"]["name"], REGION, account))

    def may_not_read(self, resource: Any, secret: str, account: str) -> NoReturn:
        import gcloud_texts

        call = gcloud_texts.Call(self._words)
        end(gcloud_texts.permission_on_secret(call, resource["metadata"]["name"], REGION, secret, account))

    def execute(self, job: Any) -> None:
        if ready := os.environ.get("STAND_IN_JOB_HANGS"):
            import time

            write(ready, str(os.getpid()))
            time.sleep(600)
        (container,) = task_or_revision(job)["spec"]["containers"]
        if POSTGRES and container["image"].startswith("postgres:"):
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


def task_or_revision(resource: Any) -> Any:
    template = resource["spec"]["template"]
    return template["spec"]["template"] if resource["kind"] == "Job" else template


def secrets_of(spec: Any) -> list[tuple[str, str]]:
    """Each with its version."""
    variables = [variable for container in spec["containers"] for variable in container.get("env", [])]
    references = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in variables]
    secrets = [(each["name"], str(each["key"])) for each in references if each]
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            secrets += [(volume["secret"]["secretName"], str(item["key"])) for item in volume["secret"]["items"]]
    return secrets


def from_yaml(text: str) -> Any:
    import site

    # The interpreter was started without it, to be quick.
    site.main()
    import yaml

    return yaml.safe_load(text)


def load(name: str) -> dict[str, Any]:
    return kept_files.load(f"{HOME}/{name}")


def save(name: str, value: dict[str, Any]) -> None:
    kept_files.save(f"{HOME}/{name}", value)


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

        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", POSTGRES, "-U", "cloudsqladmin", "-d", "postgres"]
        result = subprocess.run(["psql", *options], input=statement, text=True, capture_output=True)
        if result.returncode != 0:
            refuse(result.stderr)
