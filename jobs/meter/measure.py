"""Predictions of some users against what the log gives, as both come: the meter without its services. Pure but for its own memory.

records of user-actions -> those of sampled users -> the same fold as the stream's -> waiting for their predictions
predictions             -> those of sampled users -> waiting for their actions   -> made again, compared to the byte

What waits is bounded; a prediction whose action was let go is counted as not measured. Which half comes first does not matter.
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.fold import FeatureRows
from features.memory_store import MemoryStore
from features.profile_history import ProfileHistory
from infra.contracts.events import UserAction
from infra.contracts.framing import payload
from infra.stack.measured import KEPT, Differs, Measured
from jobs.findings import Findings
from jobs.folded_archive import Folded, offline_enricher
from jobs.framed_records import plain_values
from jobs.published_models import Identity
from jobs.records import Records, Rules, offset_ranges
from jobs.replay.refolded import Said, compare_vectors
from jobs.replay.served import Difference
from jobs.scoring_path import Accepted, Model, accept

MOST = 50_000
"""How many actions, and how many predictions, wait for each other."""
MOST_BYTES = 64 << 20
"""Of the predictions that wait: others may write to their topic, too."""
Place = tuple[int, int]
"""Partition and offset of an action."""


class _WhoseData(msgspec.Struct, rename="camel"):
    user_id: str | msgspec.UnsetType = msgspec.UNSET


class _Whose(msgspec.Struct):
    data: _WhoseData


class _AnswerData(msgspec.Struct, rename="camel"):
    action_partition: int
    action_offset: int
    action_id: str
    user_id: str


class _Answer(msgspec.Struct):
    data: _AnswerData


_whose, _answer = msgspec.json.Decoder(_Whose), msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class _Action:
    """A folded action, with its features as of just before it: `values` (len(FEATURES),) float64."""

    event: UserAction
    place: Place
    time: int
    values: NDArray[np.float64]
    known_offset: int
    known_time: int
    late: bool


_Pair = tuple[_Action, bytes]


def is_sampled(user: str, every: int) -> bool:
    """Whether a user's predictions are measured: the same users in every process."""
    return zlib.crc32(user.encode("utf-8", "surrogatepass")) % every == 0


class Meter:
    """The fold of every nth user, and what waits. `find`: the model that a prediction names, or why there is none."""

    def __init__(self, every: int, rules: Rules, find: Callable[[Identity], Model | str], most: int = MOST) -> None:
        self._every, self._rules, self._find, self._most = every, rules, find, most
        self._enrich = offline_enricher(MemoryStore())
        self._reached: dict[int, int] = {}  # partition -> up to which offset it is folded
        self._actions: OrderedDict[Place, _Action] = OrderedDict()
        self._early: OrderedDict[Place, bytes] = OrderedDict()
        self._early_bytes = 0
        self._ready: list[_Pair] = []
        self._doubted: list[_Pair] = []
        self._not_measured = 0

    @property
    def in_doubt(self) -> bool:
        """Whether a prediction differs from what the profiles that were known gave; with newer ones it may be equal."""
        return bool(self._doubted)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many actions and predictions wait for each other."""
        return len(self._actions), len(self._early)

    def begin(self, partition: int) -> None:
        """Expect the records of a partition from its first on."""
        self._enrich.start_over(partition)
        self._reached[partition] = 0

    def fold(self, records: Records) -> None:
        """Take the next records, of partitions that were begun, in log order per partition."""
        _, last = offset_ranges(records)
        values, _ = plain_values(records, self._rules)
        mine = [i for i, value in enumerate(values) if self._is_of_mine(value)]
        if mine:
            at = np.array(mine, np.int64)
            some = _chosen(records, values, at)
            accepted, _ = accept(some, self._rules)
            users = [is_sampled(event.data.user_id, self._every) for event in accepted.events]
            if not all(users):
                some = _chosen(records, values, at[accepted.position[np.array(users, np.bool_)]])
                accepted, _ = accept(some, self._rules)
            if accepted.events:
                self._keep(accepted, self._enrich(accepted.batch, *offset_ranges(some)).rows)
        self._reached.update({partition: offset + 1 for partition, offset in last.items()})

    def hear(self, values: Iterable[bytes | None]) -> None:
        """Take predictions as they lie in their topic, in any order; what is none of a sampled user is passed over."""
        for value in map(payload, values):
            try:
                said = _answer.decode(value or b"").data
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue  # whose it is cannot be told; the audit names it
            if not is_sampled(said.user_id, self._every):
                continue
            assert value is not None
            place = said.action_partition, said.action_offset
            if (action := self._actions.pop(place, None)) is not None:
                self._pair(action, value)
            elif place[1] < self._reached.get(place[0], 0) or place in self._early:
                self._not_measured += 1  # its action was let go, is none of his, or has an answer already
            else:
                self._early[place] = value
                self._early_bytes += len(value)
                while len(self._early) > self._most or self._early_bytes > MOST_BYTES:
                    self._early_bytes -= len(self._early.popitem(last=False)[1])
                    self._not_measured += 1

    def measure(self, profiles: ProfileHistory, *, newest: bool) -> Measured:
        """Compare what found each other. `newest`: `profiles` were read after all of it was heard, so a difference is one."""
        for place in [place for place in self._early if place[1] < self._reached.get(place[0], 0)]:
            self._early_bytes -= len(self._early.pop(place))  # no such action of this user was accepted
            self._not_measured += 1
        pairs = self._ready + (self._doubted if newest else [])
        self._ready = []
        if newest:
            self._doubted = []
        found = Measured(not_measured=self._not_measured)
        self._not_measured = 0
        by_partition: dict[int, list[_Pair]] = {}
        for pair in pairs:
            by_partition.setdefault(pair[0].place[0], []).append(pair)
        for some in by_partition.values():
            found.merge(self._compare(some, profiles, newest=newest))
        if (dropped := len(self._doubted) - self._most) > 0:
            del self._doubted[:dropped]
            found.not_measured += dropped
        return found

    def _is_of_mine(self, value: bytes | None) -> bool:
        """Perhaps, where a newer version calls the field otherwise: whose such an action is, its contract says."""
        if value is None:
            return False
        try:
            user = _whose.decode(value).data.user_id
            return user is msgspec.UNSET or is_sampled(user, self._every)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False  # what has no user is refused by the stream, too

    def _keep(self, accepted: Accepted, rows: FeatureRows) -> None:
        batch = accepted.batch
        columns = (batch.partition, batch.offset, batch.time, rows.known_offset, rows.known_time, rows.late)
        for event, values, partition, offset, time, known_offset, known_time, late in zip(
            accepted.events, rows.values, *(column.tolist() for column in columns), strict=True
        ):
            place = partition, offset
            action = _Action(event, place, time, values.copy(), known_offset, known_time, late)
            if (value := self._early.pop(place, None)) is not None:
                self._early_bytes -= len(value)
                self._pair(action, value)
            else:
                self._actions[place] = action
        while len(self._actions) > self._most:
            self._actions.popitem(last=False)

    def _pair(self, action: _Action, value: bytes) -> None:
        said = _answer.decode(value).data
        if said.user_id == action.event.data.user_id and said.action_id == str(action.event.event_id):
            self._ready.append((action, value))
        else:
            self._not_measured += 1  # an answer to another action than its place: the audit names it

    def _compare(self, pairs: list[_Pair], profiles: ProfileHistory, *, newest: bool) -> Measured:
        part, said = _folded([action for action, _ in pairs]), np.array([action.place[1] for action, _ in pairs], np.int64)
        equal: dict[int, bool] = {}
        outcome = compare_vectors(
            part,
            np.ones(len(pairs), np.bool_),
            Said(said, [value for _, value in pairs]),
            profiles,
            self._rules,
            self._find,
            equal.__setitem__,
        )
        found = Measured(measured=len(equal), equal=sum(equal.values()), not_measured=len(pairs) - len(equal))
        if newest:
            found.counts, found.first = _differences(outcome.findings)
        else:
            doubted = [i for i, is_equal in equal.items() if not is_equal]
            found.measured -= len(doubted)
            self._doubted += [pairs[i] for i in doubted]
        return found


def _chosen(records: Records, values: Sequence[bytes | None], at: NDArray[np.int64]) -> Records:
    partition, offset, kafka_ms = (column[at] for column in (records.partition, records.offset, records.kafka_ms))
    return Records([None] * len(at), [values[i] for i in at.tolist()], partition, offset, kafka_ms)


def _folded(actions: Sequence[_Action]) -> Folded:
    """Actions of one partition as a part of the folded log."""
    n = len(actions)
    nothing = np.zeros(0, np.int64)
    time = np.array([action.time for action in actions], np.int64)
    places = np.array([action.place for action in actions], np.int64).reshape(n, 2)
    rows = FeatureRows(
        np.stack([action.values for action in actions]),
        np.array([action.known_offset for action in actions], np.int64),
        np.array([action.known_time for action in actions], np.int64),
        np.array([action.late for action in actions], np.bool_),
    )
    accepted = Accepted(np.arange(n), [action.event for action in actions], places[:, 0], places[:, 1], time)
    return Folded(Records([], [], nothing, nothing, nothing), accepted, {}, rows, time)


def _differences(findings: Findings) -> tuple[Counter[str], list[Differs]]:
    counts: Counter[str] = Counter()
    for (_, kind), count in findings.counts.items():
        counts[kind] += count
    first, told = [], Counter[str]()
    for one in findings.kept:
        if isinstance(one, Difference) and told[one.kind] < KEPT:
            told[one.kind] += 1
            first.append(Differs(one.kind, one.user_id, one.partition, one.offset or 0, one.published, one.replayed, one.cause))
    return counts, first
