"""What is told of one prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.contracts.events import UserAction
from jobs.replay.served import Difference
from jobs.why.named import Place
from lakehouse.whereabouts import Held


@dataclass(frozen=True)
class Action:
    """The action that was answered. `event` None: it is refused now. `held` None: it lies in the topic and is not archived yet.

    `plain`: its JSON, which the value itself is unless a registry client framed it.
    """

    place: Place
    value: bytes
    plain: bytes
    kafka_ms: int
    event: UserAction | None
    held: Held | None


@dataclass(frozen=True)
class Said:
    """The prediction as it was published, its record's own place in the topic `predictions`. `held` as of Action."""

    event_id: str
    partition: int
    offset: int
    user_id: str
    score: float
    bits: str
    decision: bool
    flags: tuple[str, ...]
    kafka_ms: int
    held: Held | None


@dataclass(frozen=True)
class Feature:
    """One value that the model was given. `means`: the word that a category's number stands for."""

    name: str
    view: str
    field: str
    value: float | None
    means: str | None


@dataclass(frozen=True)
class Earlier:
    """One of the user's earlier actions, and the windows in which it was counted."""

    place: Place
    time_ms: int
    what: str
    windows: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A window as it lay for the action, `end_ms` not included, and how many earlier actions it holds."""

    first_ms: int
    end_ms: int
    actions: int


@dataclass(frozen=True)
class ActivityRow:
    """What the row of user_activity was made of. `earlier`: how many actions the user had before; `counted`: those inside any window.

    `said_offset`, `said_time`: what the prediction names. `previous` made the row known; `latest` and `purchase` are what
    `seconds_since_...` count from.
    """

    said_offset: int | None
    said_time: str | None
    earlier: int
    previous: Earlier | None
    latest: Earlier | None
    purchase: Earlier | None
    windows: Mapping[str, Span]
    counted: tuple[Earlier, ...]


@dataclass(frozen=True)
class ProfileRow:
    """The row of user_profile that the prediction names, by when it became known; `values` None: the table does not hold it."""

    known_from: str | None
    values: Mapping[str, str | None] | None


@dataclass(frozen=True)
class ModelFile:
    """The model that the prediction names. `sha256_on_disk` None: there is no such file; `fault`: why it cannot score, empty if it can."""

    name: str
    version: str
    path: Path
    sha256: str
    sha256_on_disk: str | None
    threshold: float | None
    fault: str


@dataclass(frozen=True)
class GroupRead:
    """A consumer group, where it reads next (None: it committed nothing yet), and whether it has passed the prediction."""

    group: str
    committed: int | None
    has_read: bool


@dataclass(frozen=True)
class ReadModel:
    """A version of a read model that follows predictions, and whether it has passed this one."""

    name: str
    version: int
    has_read: bool


@dataclass(frozen=True)
class Consumers:
    """Who takes predictions: as the contract says, as the broker and the read models' database know. A text: why it is not known."""

    declared: tuple[str, ...]
    groups: tuple[GroupRead, ...] | str
    read_models: tuple[ReadModel, ...] | str


@dataclass(frozen=True)
class Again:
    """What came out when it was made again. `as_served`, `folded`: whether it was the same, None where it could not be made.

    `differences`: whatever was not the same, typed columns of the archive too.
    """

    as_served: bool | None
    folded: bool | None
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both ways came out and nothing differed."""
        return self.as_served is True and self.folded is True and not self.differences


@dataclass(frozen=True)
class Explanation:
    """All of it."""

    action: Action
    said: Said
    model: ModelFile
    features: tuple[Feature, ...]
    activity: ActivityRow
    profile: ProfileRow
    consumers: Consumers
    again: Again
