"""The meter: makes some users' predictions again from the log while the job makes them, and raises an alarm that names what differs.

A service like the others. It begins anew at each start: the archive folded up to its end, then the topic behind it, and predictions from
the end that their topic had then. It commits no offsets and holds nothing that others need; while a service is away it waits.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaException

from infra.clock import system_clock
from infra.config import Settings, load_settings
from infra.contracts.changes import Changes, Followed
from infra.stack import health, measured
from infra.stack.measured import Doing, Measured
from jobs.answered import PREDICTIONS
from jobs.duty import FAULTS, Duty
from jobs.folded_archive import archived_profiles
from jobs.followed_decisions import FollowedDecisions
from jobs.meter import source
from jobs.meter.measure import Meter, is_sampled
from jobs.published_models import PublishedModels
from jobs.scoring_parts import SOURCE_TOPIC, Topic, as_records, models_folder, rules
from lakehouse.read import snapshot

log = logging.getLogger("meter")

_LOOK = 0.5  # seconds between two looks at the topics
_TELL = 2.0  # seconds between two writes of what was measured
_PROFILES = 10.0  # seconds between two reads of the profiles, at least
_AGAIN = 5.0  # seconds before a start that failed is tried again
_BATCHES = 25  # of one topic, before the other has its turn
_DECIDED_WITHIN = 60.0  # seconds that a framed record waits for the scorer to decide about its schema id
_NICE = 10  # where processors are short, scoring goes first
_FOLDS = "the archive is being folded"


@dataclass
class _Begun:
    """A fold that has caught up with the archive, and where it goes on."""

    meter: Meter
    schemas: FollowedDecisions
    actions: source.Followed
    predictions: source.Followed


class Following:
    """What a meter remembers between two looks. `profiles_seconds`: between two reads of the profiles, at least."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic, profiles_seconds: float = _PROFILES) -> None:
        self._settings, self._clock, self._profiles_seconds = settings, clock, profiles_seconds
        self._models = PublishedModels(models_folder(settings))
        self._begun: _Begun | None = None
        self._profiles = archived_profiles(settings, None)
        self._due, self._profiles_due, self._told = 0.0, 0.0, -_TELL
        self._found = Measured()
        self._behind_since: int | None = None
        self._fault: Exception | None = None
        self._said = ""  # of the profiles that could not be read

    def look(self) -> None:
        """Take what came since the last look, compare, and tell.

        Raises:
            StreamhouseError: a table or a part of the log is not there.
            KafkaException: the broker does not answer, or a topic no longer holds what is read next.
            OSError: a file cannot be read or written.

        """
        if self._begun is None:
            if self._fault is not None and self._clock() < self._due:
                raise self._fault.with_traceback(None)  # the same, which is said once
            self._due = self._clock() + _AGAIN
            try:
                self._begun, self._fault = self._begin(), None
            except Exception as error:
                self._fault = error
                self._tell(_why(error), now=True)
                raise
            log.info("the archive is folded; every prediction of 1 user of %d is measured from now on", self._settings.meter.every)
        begun = self._begun
        try:
            self._take(begun)
            self._found.merge(begun.meter.measure(self._profiles, newest=False))
        except BaseException:
            self.close()  # what was taken in part cannot be gone on with
            raise
        if begun.meter.in_doubt and self._clock() >= self._profiles_due:
            self._settle(begun)
        self._tell("", now=bool(self._found.differ))

    def _settle(self, begun: _Begun) -> None:
        """Compare what differed with the profiles as they are now; while those cannot be read it stays in doubt, and the rest goes on."""
        try:
            self._read_profiles()
        except FAULTS as error:
            if str(error) != self._said:
                log.warning("%s", error)
            self._said = str(error)
            return
        self._said = ""
        self._found.merge(begun.meter.measure(self._profiles, newest=True))

    def close(self) -> None:
        """Leave the topics; the next look begins anew."""
        if self._begun is not None:
            self._begun.actions.close()
            self._begun.predictions.close()
            self._begun = None

    def _begin(self) -> _Begun:
        settings = self._settings
        self._behind_since = system_clock()
        self._tell(_FOLDS, now=True)
        ends = source.ends_of_predictions(settings)
        self._read_profiles()
        schemas = FollowedDecisions(settings, SOURCE_TOPIC, _DECIDED_WITHIN, Topic(settings, SOURCE_TOPIC).committed)
        meter, start = Meter(settings.meter.every, rules(Followed(Changes(settings)), schemas), self._models.find), dict[int, int]()
        for partition, records, end in source.past(settings):
            meter.begin(partition)
            for some in records:
                schemas.expect(some)
                meter.fold(some)
                self._tell(_FOLDS)
            start[partition] = end
        actions = source.Followed(settings, SOURCE_TOPIC, start)
        try:
            return _Begun(meter, schemas, actions, source.Followed(settings, PREDICTIONS, ends))
        except BaseException:
            actions.close()
            raise

    def _take(self, begun: _Begun) -> None:
        """Actions first, so that few predictions wait for theirs."""
        taken = 0
        for messages in begun.actions.batches(_BATCHES):
            some = as_records(messages)
            begun.schemas.expect(some)
            begun.meter.fold(some)
            taken, self._behind_since = taken + 1, messages[-1].timestamp()[1]
        if taken == _BATCHES:
            return
        taken = 0
        for messages in begun.predictions.batches(_BATCHES):
            begun.meter.hear(message.value() for message in messages)
            taken += 1
        if taken < _BATCHES:
            self._behind_since = None

    def _read_profiles(self) -> None:
        every = self._settings.meter.every
        self._profiles_due = self._clock() + self._profiles_seconds
        pinned = snapshot(self._settings, "user_profiles")
        self._profiles = archived_profiles(self._settings, pinned, lambda user: is_sampled(user, every))

    def _tell(self, waits: str, *, now: bool = False) -> None:
        if not now and self._clock() - self._told < _TELL:
            return
        self._told = self._clock()
        ms = system_clock()
        behind = 0.0 if self._behind_since is None else max(0.0, (ms - self._behind_since) / 1000)
        for one in measured.add(self._settings, self._found, Doing(ms, behind, waits)):
            log.error("%s", one.sentence)
        self._found = Measured()


def _why(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return f"the broker says: {error.args[0].str()}; see `./streamhouse status`, and run `./streamhouse apply` where topics are missing"
    return str(error).partition("\n")[0]


def main() -> None:
    """Measure until the supervisor ends this."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(_NICE)
    settings = load_settings()
    health.beat(settings, "meter")
    with ThreadPoolExecutor(1) as pool:
        duty = Duty(_LOOK, Following(settings).look)
        while True:
            if settings.meter.every:  # a container starts it also where it has nothing to do
                duty.look(pool, time.monotonic())
            health.beat(settings, "meter")
            time.sleep(_LOOK / 2)


if __name__ == "__main__":
    main()
