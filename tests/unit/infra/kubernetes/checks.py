"""What the documents of an overlay must be, one function for each kind of rule; each answers sentences, none where all is well."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from infra.config import ROOT, SECRETS, Settings, load_settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError, environment_name
from infra.stack.services import flink_configuration, flink_home, write_files
from jobs.scoring_parts import SOURCE_TOPIC
from tests.unit.infra.kubernetes.rendering import FOLDER, Document

KUBERNETES = "1.34"
"""The release whose schemas the documents are held to."""
SCHEMAS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("schemas.yaml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

LEFT_TO_KUBERNETES: Mapping[str, str] = {
    **dict.fromkeys(("jobmanager.rpc.address", "rest.address", "taskmanager.host"), "the addresses of pods, which Flink sets itself"),
    **dict.fromkeys(("jobmanager.bind-host", "taskmanager.bind-host", "rest.bind-address"), "a pod listens on all of its own network"),
    **dict.fromkeys(
        ("jobmanager.memory.process.size", "taskmanager.memory.process.size"), "the operator makes them of resource.memory, compared there"
    ),
}
"""Options of the embedded stack that no manifest says, with the reason."""
OTHERWISE: Mapping[str, tuple[str, str]] = {"io.tmp.dirs": ("/tmp", "a pod is one process, and its folder goes with it")}
"""Options of another value than the embedded stack's, with the reason."""
ADDED: Mapping[str, str] = {
    "high-availability.type": "a JobManager that was cut off stops, since another leads; one that died comes back with its job",
    "high-availability.storageDir": "what a JobManager needs that takes over",
    "slotmanager.redundant-taskmanager-num": "the embedded stack's second TaskManager, where Flink starts them",
    "kubernetes.jobmanager.memory.limit-factor": "the job's own program runs beside its Java; the embedded stack sets no limit",
    "kubernetes.taskmanager.memory.limit-factor": "Python workers run beside the TaskManager's Java; the embedded stack sets no limit",
    "kubernetes.entry.path": "the image is not Flink's own, whose script this names by default",
    "slotmanager.number-of-slots.min": "the keeper waits for a TaskManager before it starts a job; by itself Flink starts one for a job",
    "kubernetes.operator.job.restart.failed": "the keeper's part: a start that was refused is tried again",
    "s3.endpoint": "an S3 that is not Amazon's",
    "s3.path.style.access": "an S3 that is not Amazon's",
}
"""Options that the embedded stack has not, with the reason."""
NOT_FLINKS = frozenset({"kubernetes.operator.job.restart.failed", "s3.endpoint", "s3.path.style.access"})
"""Those of the operator and of the S3 file system, whose classes are not here to be asked."""
NO_SETTINGS = frozenset({"AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
"""What S3's clients read from the environment."""


def problems(documents: list[Document]) -> list[str]:
    """Everything that is wrong with an overlay."""
    found = [*_schemas(documents), *_secrets(documents)]
    settings, said = _settings(documents)
    found += said
    for document in documents:
        found += [f"{document['kind']} {document['metadata']['name']}: {text}" for text in _of_one(document, settings, documents)]
    return found


def _of_one(document: Document, settings: Settings | None, documents: list[Document]) -> Iterator[str]:
    yield from _pods(document, documents)
    if document["kind"] == "FlinkDeployment" and settings is not None:
        yield from _options(document["spec"]["flinkConfiguration"], settings)
        yield from _sizes(document["spec"], settings)
        if "job" in document["spec"]:
            yield from _parallelism(document["spec"]["job"], document["metadata"]["name"], settings)
            yield from _job(document["spec"]["job"], document["metadata"]["name"], settings)
        else:
            yield from _session(document, settings, documents)
        yield from _versions(document["spec"])
        yield from _logging(document["spec"]["logConfiguration"])


def violations(schema: str, document: Document) -> list[str]:
    """What a schema of ours says of a document."""
    validator = Draft202012Validator({**SCHEMAS[schema], "$defs": SCHEMAS[schema].get("$defs", {})})
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


def _schemas(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        if document["kind"] == "FlinkDeployment":
            yield from violations("FlinkDeployment", document)
            template = document["spec"].get("podTemplate", {})
            yield from _core({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "template"}, **template})
        else:
            yield from _core(document)


def _core(document: Document) -> tuple[str, ...]:
    return _core_of(json.dumps(document))


@cache
def _core_of(text: str) -> tuple[str, ...]:
    """Asked once about each document: a slip leaves the others as they were."""
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{document['kind']}: {'/'.join(map(str, error.path))}: {error.message}",)
    except kubernetes_validate.SchemaNotFoundError:
        return (f"{document['kind']}: Kubernetes knows no such kind",)
    return ()


def _settings(documents: list[Document]) -> tuple[Settings | None, list[str]]:
    """The settings that a pod comes up with."""
    maps = [document["data"] for document in documents if document["kind"] == "ConfigMap"]
    if len(maps) != 1:
        return None, ["expected one ConfigMap, that of the settings"]
    ours = {name: value for name, value in maps[0].items() if name.startswith("STREAMHOUSE_") and isinstance(value, str)}
    said = [f"ConfigMap: {name} is no setting" for name in sorted(maps[0]) if name not in ours and name not in NO_SETTINGS]
    said += [f"ConfigMap: {name} is a secret" for name in ours if name in map(environment_name, SECRETS)]
    defaults = tomllib.loads((ROOT / "infra" / "settings.toml").read_text("utf-8"))
    for section, keys in defaults.items():
        for key, value in keys.items():
            if ours.get(environment_name(f"{section}.{key}")) == str(value):
                said.append(f"ConfigMap: {section}.{key} is {value} by default, and said there")
    try:
        settings = load_settings(ours)
    except StreamhouseError as error:
        return None, [*said, f"ConfigMap: {error}"]
    if not settings.stack.runs_elsewhere:
        said.append("ConfigMap: stack.start must be nothing, or a command starts an embedded stack in a pod")
    return settings, said


def _secrets(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        if document["kind"] == "Secret":
            yield "a Secret stands in a file"
    for place, value in _strings(documents):
        if re.search(r"(password|secret|token)[^/]*$", place, re.IGNORECASE) and not re.search(
            r"/(secretKeyRef|secret)/|/mountPath$", place
        ):
            yield f"{place}: {value!r} looks like a secret"
        if re.search(r"://[^/@\s]+:[^/@\s]+@", value):
            yield f"{place}: an address with a password"


def _strings(part: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _strings(value, f"{place}/{name}")
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from _strings(value, f"{place}/{index}")
    elif isinstance(part, str):
        yield place, part


def _pod(document: Document) -> Document | None:
    spec = document.get("spec", {})
    template = spec.get("podTemplate") or spec.get("template")
    return dict(template["spec"]) if template else None


def _pods(document: Document, documents: list[Document]) -> Iterator[str]:
    pod = _pod(document)
    if pod is None:
        return
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks must be false: a Service streamhouse-x would give its pods a variable that is no setting"
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "runs as root"
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    maps = {other["metadata"]["name"]: other["data"] for other in documents if other["kind"] == "ConfigMap"}
    for container in pod["containers"]:
        given: set[str] = set()
        for source in container.get("envFrom", []):
            name = source.get("configMapRef", {}).get("name")
            if name not in maps:
                yield f"no ConfigMap {name} is here"
            given |= set(maps.get(name, {}))
        for variable in container.get("env", []):
            given.add(variable["name"])
            if "value" in variable:
                yield f"{variable['name']} has its value here, and not in the ConfigMap or a Secret"
            if variable["name"] not in NO_SETTINGS | set(map(environment_name, SECRETS)):
                yield f"{variable['name']} is no secret of the settings or of S3"
        if environment_name("kafka.password") not in given:
            yield "gets no password of the broker"
        mounted = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"no volume {mount['name']} is here"
        file = next((data.get(environment_name("kafka.ca_file"), "") for data in maps.values()), "")
        if file and str(Path(file).parent) not in mounted:
            yield f"kafka.ca_file {file} lies in no volume"
    images = {part["image"] for part in (*pod["containers"], document["spec"]) if "image" in part}
    for image in images:
        name, _, tag = image.rpartition(":")
        if tag != PROJECT["version"] or name.split("/")[-1] != "streamhouse-flink":
            yield f"image {image}: expected streamhouse-flink:{PROJECT['version']}"


def wanted_options(settings: Settings) -> dict[str, str]:
    """The embedded stack's options as a pod has them."""
    embedded = {name: value for name, value in flink_configuration(settings).items() if name not in LEFT_TO_KUBERNETES}
    return {name: OTHERWISE[name][0] if name in OTHERWISE else as_in_a_pod(value) for name, value in embedded.items()}


def as_in_a_pod(value: object) -> str:
    """A value of the embedded stack as Flink reads it from text, where the project lies in /streamhouse."""
    return str(value).lower() if isinstance(value, bool) else str(value).replace(str(ROOT), "/streamhouse")


def _options(options: Mapping[str, str], settings: Settings) -> Iterator[str]:
    wanted = wanted_options(settings)
    for name, value in wanted.items():
        if name not in options:
            yield f"option {name} of the embedded stack is missing"
        elif options[name] != value:
            yield f"option {name}: expected {value}, got {options[name]}"
    for name in options:
        if name not in NOT_FLINKS and not known_to_flink(name):
            yield f"option {name}: Flink knows none of this name"
        if name not in wanted and name not in ADDED:
            yield f"option {name}: the embedded stack has none, and no reason is given"
    if options.get("high-availability.type") != "kubernetes":
        yield "a JobManager that dies would forget its job"
    if options.get("high-availability.storageDir") != f"{settings.flink.storage_uri}/ha":
        yield f"option high-availability.storageDir: expected {settings.flink.storage_uri}/ha"
    if not settings.flink.storage_uri.startswith("s3://"):
        yield "flink.storage_uri: expected s3://..., which all pods reach"


def _sizes(spec: Document, settings: Settings) -> Iterator[str]:
    sizes = {"jobManager": settings.flink.jobmanager_memory, "taskManager": settings.flink.taskmanager_memory}
    for part, memory in sizes.items():
        if spec[part]["resource"]["memory"] != memory:
            yield f"{part}: expected {memory} of memory, as the settings say, got {spec[part]['resource']['memory']}"
    if "replicas" in spec["taskManager"]:
        yield "taskManager.replicas takes the place of job.parallelism, which the settings say"


def _parallelism(job: Document, name: str, settings: Settings) -> Iterator[str]:
    section = getattr(settings, name.replace("-", "_"), None)
    parallelism = job["parallelism"]
    if section is None:
        yield f"no job {name} is in the settings"
    elif section.parallelism != parallelism:
        yield f"expected parallelism {section.parallelism}, as the settings say, got {parallelism}"
    partitions = load_contracts().topics[SOURCE_TOPIC].partitions
    if name == "score-events" and parallelism > partitions:
        yield f"parallelism {parallelism}: {SOURCE_TOPIC} has {partitions} partitions, and no shuffle lies behind"


def _job(job: Document, name: str, settings: Settings) -> Iterator[str]:
    python = as_in_a_pod(str(settings.installed / "env" / "bin" / "python"))
    file = f"/streamhouse/jobs/{name.replace('-', '_')}.py"
    if job["args"][:4] != ["-pyclientexec", python, "-py", file]:
        yield f"expected the arguments -pyclientexec {python} -py {file}, got {job['args']}"
    if not (ROOT / file.removeprefix("/streamhouse/")).is_file():
        yield f"{file} is no file of the image"
    if extra := set(job["args"][4:]) - {"--accept-loss", "--release-brake"}:
        yield f"the program takes no {', '.join(extra)}"
    if job["upgradeMode"] != "stateless":
        yield f"upgradeMode {job['upgradeMode']}: the job refuses to start from a savepoint"
    jar = job["jarURI"].removeprefix("local:///opt/flink/")
    if not (flink_home() / jar).is_file():
        yield f"{job['jarURI']}: Flink's package has no {jar}"
    elif f"{job['entryClass'].replace('.', '/')}.class" not in _names(flink_home() / jar):
        yield f"{job['jarURI']} has no class {job['entryClass']}"


def _session(document: Document, settings: Settings, documents: list[Document]) -> Iterator[str]:
    if settings.flink.host != f"{document['metadata']['name']}-rest":
        yield f"flink.host {settings.flink.host} is not the Service of this cluster"
    options = document["spec"]["flinkConfiguration"]
    if options.get("slotmanager.number-of-slots.min") != str(settings.flink.slots):
        yield "no TaskManager is there before a job runs, and the keeper waits for one"
    keepers = [other for other in documents if other["kind"] == "Deployment" and other["metadata"]["name"] == "keeper"]
    if [keeper["spec"].get("replicas") for keeper in keepers] != [1] or keepers[0]["spec"].get("strategy") != {"type": "Recreate"}:
        yield "expected one keeper, and never two at a time"
    else:
        (container,) = keepers[0]["spec"]["template"]["spec"]["containers"]
        if as_in_a_pod(str(settings.jobs_folder)) not in [mount["mountPath"] for mount in container["volumeMounts"]]:
            yield "what the keeper knows of jobs would go with its pod"


def flink_version() -> str:
    """The release of Flink, as requirements.txt pins it."""
    (pinned,) = [text.split("==")[1] for text in PROJECT["dependencies"] if text.startswith("apache-flink==")]
    assert f"\napache-flink=={pinned} " in (ROOT / "requirements.txt").read_text("utf-8")
    return str(pinned)


def _versions(spec: Document) -> Iterator[str]:
    major, minor, _ = flink_version().split(".")
    if spec["flinkVersion"] != f"v{major}_{minor}":
        yield f"flinkVersion {spec['flinkVersion']}: requirements.txt pins {flink_version()}"


def _logging(files: Mapping[str, str]) -> Iterator[str]:
    name = "log4j-console.properties"
    if set(files) != {name}:
        yield f"expected {name}, which keeps the workers' environment out of the log, and nothing else"
    elif _properties(files[name]) != _properties(embedded_logging(name)):
        yield f"{name} is not what the embedded stack logs by"


@cache
def embedded_logging(name: str) -> str:
    """A logging file as `up` writes it."""
    import tempfile

    with tempfile.TemporaryDirectory() as state:
        settings = load_settings({"STREAMHOUSE_STATE": state})
        write_files(settings)
        return (settings.state / "flink" / "conf" / name).read_text("utf-8")


def _properties(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name.strip(), value.strip()) for name, value in (line.split("=", 1) for line in lines)]


def known_to_flink(option: str) -> bool:
    """Whether a class of Flink's options holds this very name: a constant of the class file, with its length before it."""
    constant = b"\x01" + len(option).to_bytes(2, "big") + option.encode()
    return any(constant in code for code in _option_classes())


@cache
def _option_classes() -> tuple[bytes, ...]:
    jars = [
        *flink_home().glob("lib/flink-dist-*.jar"),
        *flink_home().glob("opt/flink-python-*.jar"),
        *flink_home().glob("lib/flink-table-api-*.jar"),
    ]
    found: list[bytes] = []
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            found += [archive.read(name) for name in archive.namelist() if re.match(r"org/apache/flink/.*Options(\$\w+)?\.class$", name)]
    return tuple(found)


@cache
def _names(jar: Path) -> frozenset[str]:
    with zipfile.ZipFile(jar) as archive:
        return frozenset(archive.namelist())


def dockerfile() -> str:
    """The image's description."""
    return (FOLDER / "Dockerfile").read_text("utf-8")
