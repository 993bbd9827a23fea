"""The runs of Flink jobs: told when one is submitted, and by whoever sees first that it ended. A run's id is the Flink job's."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

from infra.clock import Clock, system_clock
from infra.config import Settings
from infra.stack import flink_rest
from infra.whole_files import write_whole
from jobs.answered import DEAD_LETTERS, PREDICTIONS
from jobs.archive_columns import ARCHIVED
from jobs.as_started import as_started
from jobs.lineage.data import Data, model, table, topic
from jobs.lineage.emit import Emitter
from jobs.lineage.told import ABORT, COMPLETE, FAIL, START, Told
from jobs.scoring_parts import SOURCE_TOPIC, models_folder
from lakehouse.errors import LakehouseError

SCORER = "score_events"
_ENDS = {"FINISHED": COMPLETE, "CANCELED": ABORT, "FAILED": FAIL}


def started(settings: Settings, name: str, job_id: str, clock: Clock = system_clock) -> None:
    """Tell that the Flink job `job_id` of that name was submitted, and remember it until it has ended."""
    _end(settings, name, ABORT, clock)  # one before it that nobody saw end, as with a JobManager that died
    reads, writes = _data(settings, name)
    write_whole(_file(settings, name), job_id)
    _tell(settings, [_told(settings, START, name, job_id, clock(), reads, writes)])


def look(settings: Settings, clock: Clock = system_clock) -> None:
    """Tell of each run that was told to have begun, and is over now.

    Raises:
        StreamhouseError: the JobManager does not answer.

    """
    noted = {file.name: file.read_text("utf-8") for file in sorted(_folder(settings).glob("*")) if file.name in (SCORER, *ARCHIVED)}
    if not noted:
        return
    known = {job.id: job for job in flink_rest.jobs(settings)}
    for name, job_id in noted.items():
        job = known.get(job_id)
        if job is not None and not job.is_alive:
            _end(settings, name, _ENDS.get(job.state, ABORT), clock)


def stopped(settings: Settings, clock: Clock = system_clock, *, savepoints: bool) -> None:
    """Tell of all that still ran when the stack was stopped: with savepoints they came to their end, else they were cut off."""
    for name in (SCORER, *ARCHIVED):
        _end(settings, name, COMPLETE if savepoints else ABORT, clock)


def _end(settings: Settings, name: str, state: str, clock: Clock) -> None:
    file = _file(settings, name)
    claimed = file.with_name(f".{name}.{uuid.uuid4().hex}")
    try:
        file.rename(claimed)  # of several that see it, one tells
    except FileNotFoundError:
        return
    job_id = claimed.read_text("utf-8")
    claimed.unlink()
    reads, writes = _data(as_started(settings, [name]), name)
    made = tuple(_as_it_is(settings, data) for data in writes)
    error = f"Flink job {job_id} failed; see `./streamhouse logs jobmanager`" if state == FAIL else ""
    _tell(settings, [_told(settings, state, name, job_id, clock(), reads, made, error)])


def _told(
    settings: Settings, state: str, name: str, job_id: str, now: int, reads: tuple[Data, ...], writes: tuple[Data, ...], error: str = ""
) -> Told:
    run_id = str(uuid.UUID(job_id))  # both are 128 bits in hexadecimal
    return Told(state, now, run_id, settings.lineage.namespace, name, reads, writes, is_stream=True, error=error)


def _data(settings: Settings, name: str) -> tuple[tuple[Data, ...], tuple[Data, ...]]:
    if name == SCORER:
        scored_by, _, number = settings.score_events.model.partition("@")
        reads = (topic(settings, SOURCE_TOPIC), model(models_folder(settings), scored_by, number))
        return reads, tuple(topic(settings, written) for written in (PREDICTIONS, DEAD_LETTERS))
    topics = ARCHIVED[name]
    return tuple(topic(settings, read) for read in topics), tuple(table(settings, read.replace("-", "_")) for read in topics)


def _as_it_is(settings: Settings, data: Data) -> Data:
    """A table with its newest snapshot."""
    if data.also is None:
        return data
    from lakehouse.read import snapshot  # PyIceberg, which `down` and `submit` need for nothing else

    try:
        newest = snapshot(settings, data.also[1].rpartition(".")[2])
    except LakehouseError:
        return data
    return replace(data, version=None if newest is None else str(newest))


def _tell(settings: Settings, several: list[Told]) -> None:
    emitter = Emitter(settings)
    for told in several:
        emitter.emit(told)
    emitter.close()


def _folder(settings: Settings) -> Path:
    return settings.jobs_folder / "lineage"


def _file(settings: Settings, name: str) -> Path:
    return _folder(settings) / name
