"""What is told of a run at one moment. Plain."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.lineage.data import Data

START, COMPLETE, FAIL, ABORT = "START", "COMPLETE", "FAIL", "ABORT"


@dataclass(frozen=True)
class Told:
    """A state of OpenLineage that a run of a job came to; `error`: why it failed, empty otherwise. `run_id` is a UUID."""

    state: str
    at_ms: int
    run_id: str
    namespace: str
    job: str
    reads: tuple[Data, ...]
    writes: tuple[Data, ...]
    is_stream: bool = False
    error: str = ""
