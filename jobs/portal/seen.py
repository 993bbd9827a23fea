"""What runs, looked at: broker, groups, registry, Flink, tables, online store, side by side; one that is away holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import redis
from confluent_kafka import KafkaException

from infra.config import Settings
from infra.contracts.registry import RegistryUnreachable
from infra.errors import StreamhouseError
from infra.portal.catalogue import Catalogue
from infra.portal.live import OnlineStore, Seen, SeenGroup, SeenJob, SeenTable
from infra.stack import flink_rest, groups
from jobs.portal.seen_registry import held_subjects
from jobs.portal.seen_topics import Topics
from lakehouse.overview import held_tables

_SECONDS = 4.0
_EVERY = {"registry": 30_000, "tables": 10_000}
"""How long, in ms, what was seen of a part that is slow to ask and slow to change is shown again."""
_FAULTS = (KafkaException, TimeoutError, StreamhouseError, httpx.HTTPError, redis.RedisError, OSError, ValueError, KeyError)
_T = TypeVar("_T")


class Look:
    """Looks again and again, and keeps what need not be asked twice: the latest records of a topic that has no new ones, say."""

    def __init__(self, settings: Settings, catalogue: Catalogue, clock: Callable[[], int]) -> None:
        self._settings, self._catalogue, self._clock = settings, catalogue, clock
        self._topics = Topics(settings, catalogue)
        self._kept: dict[str, tuple[int, Any]] = {}

    def __call__(self) -> Seen:
        """One look at everything; takes as long as the slowest part, and no part longer than a few seconds."""
        silent: dict[str, str] = {}
        asked: Mapping[str, Callable[[], Any]] = {
            "broker": self._topics.look,
            "groups": self._groups,
            "registry": lambda: held_subjects(self._settings, self._catalogue),
            "flink": self._jobs,
            "tables": lambda: tuple(SeenTable(one.name, one.rows, one.snapshot_ms, one.by_pattern) for one in held_tables(self._settings)),
            "redis": self._online,
        }
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = {name: pool.submit(self._answer, name, look, silent) for name, look in asked.items()}
            said = {name: future.result() for name, future in answers.items()}
        topics, letters = said["broker"] or (None, None)
        jobs, missing = said["flink"] or (None, ())
        return Seen(
            at_ms=self._clock(),
            topics=topics,
            groups=said["groups"],
            subjects=said["registry"],
            jobs=jobs,
            missing_jobs=missing,
            tables=said["tables"],
            dead_letters=letters,
            online=said["redis"],
            silent=dict(sorted(silent.items())),
        )

    def _answer(self, name: str, look: Callable[[], _T], silent: dict[str, str]) -> _T | None:
        now = self._clock()
        if name in self._kept and now - self._kept[name][0] < _EVERY.get(name, 0):
            kept: _T = self._kept[name][1]
            return kept
        try:
            answer = look()
        except _FAULTS as error:
            self._kept.pop(name, None)
            silent[name] = _sentence(error)
            return None
        self._kept[name] = (now, answer)
        return answer

    def _groups(self) -> tuple[SeenGroup, ...]:
        found = []
        for group in groups.known(self._settings, _SECONDS):
            lags: dict[str, int] = {}
            for part in group.parts:
                lags[part.topic] = lags.get(part.topic, 0) + part.lag
            at_most = tuple(sorted({part.topic for part in group.parts if not part.is_counted}))
            found.append(SeenGroup(group.name, group.state, group.members, lags, tuple(t for t in group.gone if t not in lags), at_most))
        return tuple(found)

    def _jobs(self) -> tuple[tuple[SeenJob, ...], tuple[str, ...]]:
        known = flink_rest.jobs(self._settings, details=True)
        alive = tuple(
            SeenJob(job.name, job.state, job.running_for, job.restarts, job.checkpoint_age, job.trouble) for job in known if job.is_alive
        )
        return alive, tuple(flink_rest.missing(self._settings, known))

    def _online(self) -> OnlineStore:
        where = self._settings.redis
        with redis.Redis(where.host, where.port, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as client:
            held: Any = client.dbsize()
            memory: Any = client.info("memory")
        return OnlineStore(int(held), int(memory["used_memory"]))


def _sentence(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return f"The broker did not answer: {error.args[0].str()}."
    if isinstance(error, TimeoutError):
        return "It did not answer in time."
    if isinstance(error, RegistryUnreachable | StreamhouseError):
        return str(error)
    return f"It did not answer: {error}."
