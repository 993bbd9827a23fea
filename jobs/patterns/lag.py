"""How far behind its topics each version of a read model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine

from infra.config import Settings
from jobs.committed_records import committed_ends
from jobs.patterns.database import reading
from jobs.patterns.read_models import Place, live_version, positions, unreadable, versions


@dataclass(frozen=True)
class Lag:
    """A version of a read model. `behind`: by place, the offsets up to the committed end that it has not passed.

    `live`: the version that readers see. `unreadable`: records that it has passed and nobody can read.
    """

    name: str
    version: int
    live: int | None
    behind: Mapping[Place, int]
    unreadable: int

    @property
    def is_live(self) -> bool:
        """Whether readers see it."""
        return self.version == self.live

    @property
    def records(self) -> int:
        """Of all places together."""
        return sum(self.behind.values())

    def __str__(self) -> str:
        seen = "live" if self.is_live else "not seen by readers yet"
        if self.live is not None and self.live > self.version:
            seen = f"replaced by {self.live}; `./streamhouse shop drop {self.name} {self.version}` forgets it"
        rest = f"; {self.unreadable:,} unreadable records passed" if self.unreadable else ""
        return f"{self.name} version {self.version} ({seen}): {self.records:,} records behind{rest}"


def lags(settings: Settings, database: Engine, name: str) -> list[Lag]:
    """Each version that is in the database, the oldest first.

    Raises:
        KafkaException, DBAPIError: broker or database do not answer.

    """
    with reading(database) as connection:
        live = live_version(connection, name)
        found = [(v, positions(connection, name, v), unreadable(connection, name, v)) for v in versions(connection, name)]
    ends = committed_ends(settings, {place for _, at, _ in found for place in at})
    return [
        Lag(name, version, live, {place: max(0, ends[place] - following) for place, following in sorted(at.items())}, unread)
        for version, at, unread in found
    ]
