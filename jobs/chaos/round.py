"""One round of faults on a stack of its own: traffic goes on, faults strike one after the other, then everything is counted."""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import redis

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.stack.report import status
from jobs.audit.run import audit
from jobs.chaos import points, resources
from jobs.chaos.accounting import Count, count
from jobs.chaos.actions import Maker
from jobs.chaos.faults import FAULTS
from jobs.chaos.ground import Ground
from jobs.chaos.offsets import Groups
from jobs.chaos.place import PAYLOAD, Place
from jobs.chaos.reader import ACTIONS, Reader
from jobs.chaos.recovery import Blows
from jobs.chaos.schedule import Draw
from jobs.chaos.traffic import Sent, Traffic
from lakehouse.read import count_rows

_AWAY = (psutil.Error, redis.RedisError, sqlite3.Error, OSError)
_LOST_SECONDS = 180.0  # without a prediction for so long nobody waits any more
_SETTLE_SECONDS = 240.0
_WARM_SECONDS = 3.0
_MARGIN_SECONDS = 0.1  # that what was sent just before a blow may need to be known as taken
_AUDIT_SENTENCES = 10
_LAG_SECONDS = 3.0  # of traffic; a job that is no further behind has caught up


@dataclass(frozen=True)
class Strike:
    """A fault as it went: `said` by it, `reached` whether its named moment came, `at` seconds from the round's start."""

    draw: Draw
    at: float
    reached: bool
    said: str
    seconds: list[float | None] = field(default_factory=list)


class Round:
    """Begin with `start`, then `strike` as often as wanted, then `settle` and `findings`; `close` in any case."""

    def __init__(self, place: Place, seed: int, rate: float, *, poison: float = 0.02) -> None:
        self.settings, self.rate = place.settings, rate
        self.found: list[str] = []
        self.strikes: list[Strike] = []
        self.lost = False
        topic = load_contracts().topics[ACTIONS]
        self.traffic = Traffic(place.settings, topic, Maker(topic, seed, PAYLOAD), rate, poison=poison)
        self.reader, self.groups = Reader(place.settings), Groups(place.settings)
        self.ground = Ground(place.settings, place.proxy, self.traffic, lambda: self.blows.struck(*self._now), self.caught_up)
        self._now: tuple[str, list[float | None]] = "", []  # the fault that strikes, and what it took to recover from its blows
        self.blows = Blows(self._expect, self.reader.came, time.monotonic)
        self._began = time.monotonic()
        self.before: dict[str, resources.Used] = {}

    def start(self) -> None:
        """Traffic flows, is answered, and what all this takes is measured."""
        self.traffic.start()
        _wait(lambda: self.reader.answers.distinct > 0, _LOST_SECONDS, "the first prediction")
        self.caught_up()
        self.ground.workers(scoring=False)  # they may start later than the scoring job's, and are part of what is there
        time.sleep(_WARM_SECONDS)
        self.before = resources.used(self.settings)

    def strike(self, draw: Draw) -> Strike:
        """Let one fault strike and wait until the job has recovered and caught up, unless it is hurried: the next may meet the recovery."""
        at, seconds = time.monotonic() - self._began, list[float | None]()
        self._now = draw.fault, seconds
        time.sleep(draw.pause)
        reached = points.wait(self.settings, draw.point)
        try:
            said = FAULTS[draw.fault].harm(self.ground, random.Random(draw.seed))
            if not draw.hurried:
                self._recovered()
                self.caught_up()
        except StreamhouseError as error:
            said = f"finding: {error}"
            self.found.append(f"{draw.fault} {draw.point} after {at:.0f} s: {error}")
            self._recovered()
        except _AWAY as error:  # what it needs is away since the last fault, which hurried on to this one
            said, reached = f"could not strike: {error}", False
        strike = Strike(draw, at, reached, said, seconds)
        self.strikes.append(strike)
        return strike

    def caught_up(self) -> None:
        """Wait until nearly all of the traffic is answered.

        Raises:
            StreamhouseError: it was not for three minutes.

        """
        if self.lost:
            message = "the job does not answer"
            raise StreamhouseError(message)
        most = max(_LAG_SECONDS * self.rate, 100)
        _wait(lambda: self.traffic.taken - self.reader.answers.distinct < most, _LOST_SECONDS, "the job to catch up with the traffic")

    def _expect(self) -> None:
        margin = math.ceil(_MARGIN_SECONDS * self.rate / len(self.traffic.sent.codes))
        self.reader.expect([end + margin for end in self.traffic.sent.ends()])

    def _recovered(self) -> None:
        recovery = self.blows.recovered(_LOST_SECONDS)
        if recovery is not None and recovery.seconds is None:
            self.lost = True
            self.found.append(f"{recovery.fault}: no prediction for {_LOST_SECONDS:.0f} s")

    def settle(self) -> Count:
        """Wait for the last recovery, send no more, wait until all is answered and in the tables, and count."""
        self._recovered()
        try:
            self.traffic.stop()
        except StreamhouseError as error:
            self.found.append(str(error))
        self._calm(lambda: self.reader.answers.distinct >= self.traffic.taken, "every action to be answered")
        counted = count(self.settings, self.traffic.sent)
        rows = counted.rows()
        self._calm(
            lambda: all(count_rows(self.settings, table) >= n for table, n in rows.items()), "the tables to hold what the topics hold"
        )
        return counted

    def _calm(self, what: Callable[[], bool], name: str) -> None:
        try:
            _wait(what, 1.0 if self.lost else _SETTLE_SECONDS, name)
        except StreamhouseError as error:
            self.found.append(str(error))

    def findings(self, counted: Count) -> list[str]:
        """Everything that is not as it must be, now that all is quiet, a sentence each."""
        found = [*self.found, *audited(self.settings, self.traffic.sent), *counted.findings()]
        found += counted.compared(self.reader.answers) + counted.tables(self.settings)
        if self.reader.error is not None:
            found.append(f"the consumer that read all the time ended: {self.reader.error}")
        found += self.groups.falls.backwards(time.monotonic())
        found += resources.left_behind(self.settings) + resources.grown(self.before, resources.used(self.settings))
        return found + resources.told(self.settings) + troubles(self.settings)

    def close(self) -> None:
        """End the consumers."""
        self.reader.close()
        self.groups.close()


def audited(settings: Settings, sent: Sent) -> list[str]:
    """What the audit finds now that all is quiet, a sentence each."""
    report = audit(settings, settled=True)
    said = [f"audit: {finding.sentence}" for finding in report.findings.kept[:_AUDIT_SENTENCES]]
    if (rest := report.findings.total - len(said)) > 0:
        said.append(f"audit: {rest} more findings")
    said += [f"audit: not proven: {one.sentence}" for one in report.unproven]
    repeated = sent.by_kind().get("again", 0)
    if report.counts.repeated_event_ids < repeated:
        said.append(f"audit: {repeated} events were sent again at least, it counts {report.counts.repeated_event_ids} repeated event ids")
    return said


def troubles(settings: Settings) -> list[str]:
    """What does not come back to be well; a killed TaskManager waits for the other before it starts, and may have been the last fault's."""
    deadline = time.monotonic() + _LOST_SECONDS
    while (said := status(settings).troubles) and time.monotonic() < deadline:
        time.sleep(1)
    return said


def _wait(what: Callable[[], bool], seconds: float, name: str) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            message = f"waited {seconds:.0f} s for {name}; see the logs in the state folder"
            raise StreamhouseError(message)
        time.sleep(0.1)
