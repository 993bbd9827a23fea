"""Flink's REST interface: which jobs run, how they do, and how to stop one so that it can go on later."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from infra.config import Settings
from infra.errors import StreamhouseError
from infra.plain_http import NO_AUTHORITIES
from infra.whole_files import write_whole

ALIVE = frozenset({"INITIALIZING", "CREATED", "RUNNING", "FAILING", "CANCELLING", "RESTARTING", "RECONCILING", "SUSPENDED"})
_ENDED = frozenset({"CANCELED", "FINISHED"})
_HINDERED = frozenset({"FAILING", "RESTARTING", "RECONCILING", "SUSPENDED"})
_TIMEOUT = 10.0
_PATIENCE = 60.0  # seconds; checkpoints come every few, and a job that hangs completes none


@dataclass(frozen=True)
class Job:
    """One job as the JobManager knows it. `running_for` in seconds; `checkpoint_age` seconds since the last one, None: none yet.

    `failed_checkpoints` are those after the last complete one. Flink's own count holds also those that it asked for before every
    task ran, which each start has. A job that reads tables to their end takes none, and is not missed when it has ended.
    """

    id: str
    name: str
    state: str
    running_for: float
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    checkpoint_age: float | None = None
    checkpoint_patience: float = _PATIENCE
    takes_checkpoints: bool = True

    @property
    def is_alive(self) -> bool:
        """Whether it still holds or asks for slots."""
        return self.state in ALIVE

    @property
    def trouble(self) -> str:
        """What keeps it from doing its work; empty: nothing."""
        if self.state in _HINDERED:
            return f"is {self.state} (restart {self.restarts})"
        if not self.takes_checkpoints:
            return ""
        if self.failed_checkpoints:
            return f"fails its checkpoints, {self.failed_checkpoints} since the last complete one"
        waited = self.running_for if self.checkpoint_age is None else self.checkpoint_age
        if self.state == "RUNNING" and waited > self.checkpoint_patience:
            return f"completed no checkpoint for {waited:.0f} s"
        return ""


class NoSavepointError(StreamhouseError):
    """A job was asked for a savepoint and made none."""


def jobs(settings: Settings, *, details: bool = False) -> list[Job]:
    """Every job that the JobManager remembers, newest first.

    Raises:
        StreamhouseError: it does not answer.

    """
    listed = [
        Job(job["jid"], job["name"], job["state"], job["duration"] / 1000)
        for job in sorted(_get(settings, "/jobs/overview")["jobs"], key=lambda job: -job["start-time"])
    ]
    return [_detailed(settings, job) if details and job.is_alive else job for job in listed]


def alive(settings: Settings, name: str) -> Job | None:
    """The running job of this name."""
    return next((job for job in jobs(settings) if job.name == name and job.is_alive), None)


def running(settings: Settings, name: str) -> str | None:
    """The id of the job of this name that runs, also of one that was started this moment: the list of jobs is seconds old."""
    if listed := alive(settings, name):
        return listed.id
    started = expected(settings).get(name)
    if not started:
        return None
    path = f"/jobs/{started}/status"
    try:
        with _client(settings) as client:
            answer = client.get(path)
    except httpx.HTTPError as error:
        raise StreamhouseError(_silent(settings, path, error)) from error
    return started if answer.is_success and answer.json()["status"] in ALIVE else None


def _detailed(settings: Settings, job: Job) -> Job:
    try:
        numbers = _get(settings, f"/jobs/{job.id}/checkpoints")
    except StreamhouseError as error:
        if _says_initializing(error.__cause__):
            return job
        if _says_missing(error.__cause__):
            return dataclasses.replace(job, takes_checkpoints=False)
        raise
    latest = (numbers.get("latest") or {}).get("completed")
    failed = sum(one["status"] == "FAILED" and one["id"] > (latest or {"id": 0})["id"] for one in numbers["history"])
    metric = _get(settings, f"/jobs/{job.id}/metrics?get=numRestarts")
    interval = _get(settings, f"/jobs/{job.id}/checkpoints/config")["interval"] / 1000
    return dataclasses.replace(
        job,
        restarts=int(metric[0]["value"]) if metric else 0,
        checkpoints=numbers["counts"]["completed"],
        failed_checkpoints=failed,
        checkpoint_age=None if latest is None else max(0.0, time.time() - latest["latest_ack_timestamp"] / 1000),
        checkpoint_patience=max(_PATIENCE, 3 * interval),
    )


def _says_initializing(error: BaseException | None) -> bool:
    """Whether a job was submitted this moment: Flink has no checkpoints of it yet, and says so by "internal server error"."""
    return isinstance(error, httpx.HTTPStatusError) and "for initializing job" in error.response.text


def _says_missing(error: BaseException | None) -> bool:
    """What Flink answers when it is asked for the checkpoints of a job that takes none."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.NOT_FOUND


def last_checkpoint(settings: Settings, job_id: str) -> int:
    """The number of the newest checkpoint that a job completed or was restored from; 0: none yet. It grows while the job lives.

    Raises:
        StreamhouseError: the JobManager does not answer, or knows no checkpoints of this job yet.

    """
    latest = _get(settings, f"/jobs/{job_id}/checkpoints").get("latest") or {}
    return max((latest[kind]["id"] for kind in ("completed", "restored") if latest.get(kind)), default=0)


def slots(settings: Settings) -> tuple[int, int]:
    """How many slots are free, and how many there are.

    Raises:
        StreamhouseError: the JobManager does not answer.

    """
    overview = _get(settings, "/overview")
    return overview["slots-available"], overview["slots-total"]


def rows(settings: Settings, job_id: str) -> int:
    """How many rows the sources of a job have sent, and its Python steps have been given; it grows while a bounded job comes to its end.

    Raises:
        StreamhouseError: the JobManager does not answer.

    """
    vertices = _get(settings, f"/jobs/{job_id}")["vertices"]
    sent = sum(one["metrics"]["write-records"] for one in vertices if one["name"].startswith("Source"))
    return int(sent + sum(one["metrics"]["read-records"] for one in vertices if "PythonCalc" in one["name"]))


def failure(settings: Settings, job_id: str) -> str:
    """The stack trace of what made a job fail; empty where Flink has none.

    Raises:
        StreamhouseError: the JobManager does not answer.

    """
    entries = _get(settings, f"/jobs/{job_id}/exceptions?maxExceptions=1").get("exceptionHistory", {}).get("entries", [])
    return str(entries[0]["stacktrace"]) if entries else ""


def stop_with_savepoint(settings: Settings, job: Job, timeout: float = 60.0) -> Path:
    """Stop a job after a savepoint, with which all its answers are committed; answers the savepoint's folder.

    Raises:
        NoSavepointError: none within `timeout` seconds, or Flink says that it failed.
        StreamhouseError: the JobManager does not answer, or refuses.

    """
    asked = _post(settings, f"/jobs/{job.id}/stop", {"drain": False})
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = _get(settings, f"/jobs/{job.id}/savepoints/{asked['request-id']}")
        if status["status"]["id"] == "COMPLETED":
            operation = status["operation"]
            if "location" in operation:
                forget(settings, job.name)
                return Path(operation["location"].removeprefix("file://").removeprefix("file:"))
            message = f"job {job.name} made no savepoint ({_root_cause(operation)}); see `./streamhouse logs taskmanager`"
            raise NoSavepointError(message)
        time.sleep(0.2)
    message = f"job {job.name} made no savepoint within {timeout:.0f} s; the next start answers what is missing"
    raise NoSavepointError(message)


def _root_cause(operation: dict[str, Any]) -> str:
    """What Flink gives as the innermost reason of a failed operation: its classes wrap each other, and the outermost says nothing."""
    cause = operation.get("failure-cause", {})
    said = [line.removeprefix("Caused by: ").strip() for line in cause.get("stack-trace", "").splitlines() if not line.startswith("\t")]
    return str(next((line for line in reversed(said) if line), cause.get("class", "unknown")))


def cancel(settings: Settings, job: Job) -> None:
    """End a job at once. Whether it should run again is the caller's to say.

    Raises:
        StreamhouseError: the JobManager does not answer, or refuses.

    """
    path = f"/jobs/{job.id}?mode=cancel"
    try:
        with _client(settings) as client:
            client.patch(path).raise_for_status()
    except httpx.HTTPError as error:
        raise StreamhouseError(_refused(path, error)) from error


def note_started(settings: Settings, name: str, job_id: str) -> None:
    """Remember that a job should run from now on."""
    _expect(settings, expected(settings) | {name: job_id})


def expected(settings: Settings) -> dict[str, str]:
    """The jobs that were submitted and not stopped here, name -> id: a JobManager that was killed knows nothing of them."""
    file = _expected_file(settings)
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def forget(settings: Settings, *names: str) -> None:
    """These jobs need not run any more; without names, none need."""
    _expect(settings, {name: job_id for name, job_id in expected(settings).items() if names and name not in names})


def forget_ended(settings: Settings, known: list[Job]) -> None:
    """Those that a person ended by id, as in Flink's pages, need not run any more; also when the JobManager has forgotten them."""
    ended = {job.id for job in known if job.state in _ENDED}
    if names := [name for name, job_id in expected(settings).items() if job_id in ended]:
        forget(settings, *names)


def _expect(settings: Settings, ids: dict[str, str]) -> None:
    file = _expected_file(settings)
    if ids or file.exists():
        write_whole(file, json.dumps(ids))


def _expected_file(settings: Settings) -> Path:
    return settings.jobs_folder / "expected.json"


def missing(settings: Settings, known: list[Job]) -> list[str]:
    """Expected jobs that do not run, by name. One that was ended by its id elsewhere, as in Flink's pages, is not expected any more."""
    here = {job.name for job in known if job.is_alive}
    ended = {job.id for job in known if job.state in _ENDED}
    return [name for name, job_id in expected(settings).items() if name not in here and job_id not in ended]


def checkpoint_folder(settings: Settings, name: str) -> Path:
    """Where every job of this name keeps its checkpoints, however it was started; Flink adds a folder per job id."""
    # as the cluster itself reads it: in Docker a volume that all its containers share
    file = settings.state / "flink" / "conf" / "config.yaml"
    named = yaml.safe_load(file.read_text("utf-8")).get("execution.checkpointing.dir") if file.exists() else None
    folder = Path(str(named).removeprefix("file://")) if named else settings.state / "flink" / "checkpoints"
    return folder / name


def checkpoint_address(settings: Settings, name: str) -> str:
    """The same as Flink is told it; where the settings name a storage that all machines of a cluster reach, it lies there."""
    if settings.flink.storage_uri:
        return f"{settings.flink.storage_uri}/checkpoints/{name}"
    return f"file://{checkpoint_folder(settings, name)}"


def clear_checkpoints(settings: Settings, name: str) -> None:
    """Delete what earlier runs of a job left: a new run never begins from it. Savepoints stay, they are a person's.

    In a storage that the settings name they stay too: its own rules say for how long.
    """
    if settings.flink.storage_uri:
        return
    for left in checkpoint_folder(settings, name).glob("*"):
        shutil.rmtree(left, ignore_errors=True)


def _client(settings: Settings) -> httpx.Client:
    return httpx.Client(base_url=settings.flink.rest_url, timeout=_TIMEOUT, verify=NO_AUTHORITIES)


def _get(settings: Settings, path: str) -> Any:  # noqa: ANN401 - JSON
    try:
        with _client(settings) as client:
            return client.get(path).raise_for_status().json()
    except httpx.HTTPError as error:
        raise StreamhouseError(_silent(settings, path, error)) from error


def _post(settings: Settings, path: str, body: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
    try:
        with _client(settings) as client:
            return client.post(path, json=body).raise_for_status().json()
    except httpx.HTTPError as error:
        raise StreamhouseError(_refused(path, error)) from error


def _silent(settings: Settings, path: str, error: httpx.HTTPError) -> str:
    return f"Flink's JobManager does not answer at {settings.flink.rest_url}{path} ({error}); run `./streamhouse up`"


def _refused(path: str, error: httpx.HTTPError) -> str:
    return f"Flink's JobManager refused {path} ({error}); see `./streamhouse logs jobmanager`"
