"""Who takes predictions, and who of them has read past one: the contract, the broker's groups, the read models' database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.exc import DBAPIError

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.patterns.database import open_database, reading
from jobs.patterns.patience import why
from jobs.patterns.read_models import positions, versions
from jobs.shop.project import PROJECTIONS
from jobs.why.explanation import Consumers, GroupRead, ReadModel
from jobs.why.topics import Topics

TOPIC = "predictions"


@dataclass(frozen=True)
class _Position:
    name: str
    version: int
    following: dict[int, int]


class Readers:
    """Asked once for all places: how far each was then."""

    def __init__(self, settings: Settings, topics: Topics) -> None:
        self._settings, self._topics = settings, topics

    def of(self, partition: int, offset: int) -> Consumers:
        """Of the record at a place of the topic of predictions."""
        groups, models = self._topics.groups, self._models
        return Consumers(
            load_contracts().topics[TOPIC].consumers,
            groups
            if isinstance(groups, str)
            else tuple(
                GroupRead(part.group, part.committed, part.committed is not None and part.committed > offset)
                for part in groups
                if (part.topic, part.partition) == (TOPIC, partition)
            ),
            models
            if isinstance(models, str)
            else tuple(ReadModel(one.name, one.version, one.following[partition] > offset) for one in models if partition in one.following),
        )

    @cached_property
    def _models(self) -> list[_Position] | str:
        """How far each version of each read model is that follows predictions; or why that is not known."""
        if not self._settings.read_models.url and not self._settings.read_models.file.exists():
            return []  # nobody made one
        try:
            database = open_database(self._settings)
        except StreamhouseError as error:
            return str(error)
        try:
            with reading(database) as connection:
                found = [(p.name, v, positions(connection, p.name, v)) for p in PROJECTIONS for v in versions(connection, p.name)]
        except DBAPIError as error:
            return f"read models: {why(error)}"
        finally:
            database.dispose()
        return [
            _Position(name, version, {p: following for (topic, p), following in at.items() if topic == TOPIC})
            for name, version, at in found
        ]
