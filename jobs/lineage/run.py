"""A run of a job, told from its start to its end: what it reads, what it writes, and how it ended."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from infra.clock import Clock, system_clock
from infra.config import Settings
from jobs.lineage.data import Data
from jobs.lineage.emit import Emitter
from jobs.lineage.told import ABORT, COMPLETE, FAIL, START, Told

_LONGEST = 2000  # letters of an error


class Run:
    """What a job may still say while it runs; a dataset that is named again is known better by then, as by its snapshot."""

    def __init__(self, reads: Sequence[Data], writes: Sequence[Data]) -> None:
        self.inputs, self.outputs = list(reads), list(writes)

    def reads(self, *data: Data) -> None:
        """It read these, too."""
        self.inputs += data

    def writes(self, *data: Data) -> None:
        """It wrote these, too."""
        self.outputs += data


def new_run_id() -> str:
    """Of a run that nobody else names."""
    return str(uuid.uuid4())


@contextmanager
def running(
    settings: Settings,
    job: str,
    reads: Sequence[Data] = (),
    writes: Sequence[Data] = (),
    *,
    clock: Clock = system_clock,
    new_id: Callable[[], str] = new_run_id,
) -> Iterator[Run]:
    """Tell that the job began, and how it ended: COMPLETE, FAIL with what was raised, or ABORT where a person stopped it.

    Nothing is raised but what the block raises.
    """
    run, emitter = Run(reads, writes), Emitter(settings)
    told = Told(START, clock(), new_id(), settings.lineage.namespace, job, tuple(reads), tuple(writes))
    emitter.emit(told)
    state, error = COMPLETE, ""
    try:
        yield run
    except Exception as raised:
        state, error = FAIL, f"{type(raised).__name__}: {raised}"[:_LONGEST]
        raise
    except BaseException:
        state = ABORT
        raise
    finally:
        emitter.emit(replace(told, state=state, at_ms=clock(), reads=tuple(run.inputs), writes=tuple(run.outputs), error=error))
        emitter.close()
