"""What the client program of a replay on Flink is asked, and how it answers: one JSON argument, and lines with markers."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass

from jobs.replay.chosen import Chosen
from jobs.replay.joined import Group

GROUP = "replayed: "
_BEGUN = "replaying as job "


@dataclass(frozen=True)
class Request:
    """`name`: the job's. `actions`, `predictions`: snapshots of both tables, None where one is empty. `what`: with the offsets of every
    partition that is read. `batch`: rows in one call of a model.
    """

    name: str
    actions: int | None
    predictions: int | None
    what: Chosen
    batch: int
    parallelism: int


def as_argument(request: Request) -> str:
    """The request as JSON without spaces."""
    return json.dumps(dataclasses.asdict(request), separators=(",", ":"))


def read_request(argument: str) -> Request:
    """The request that `as_argument` wrote."""
    said = json.loads(argument)
    what = said.pop("what")
    spans = {int(partition): (first, end) for partition, (first, end) in what["offsets"].items()}
    return Request(what=Chosen(what["from_ms"], what["to_ms"], spans), **said)


def begun(job_id: str) -> str:
    """The line that names the job."""
    return _BEGUN + job_id


def job_of(line: str) -> str | None:
    """The job that such a line names."""
    found = re.match(rf"{_BEGUN}([0-9a-f]{{32}})$", line)
    return found[1] if found else None


def group_of(line: str) -> Group | None:
    """The group that a line holds."""
    return Group(*json.loads(line.removeprefix(GROUP))) if line.startswith(GROUP) else None
