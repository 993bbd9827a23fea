"""What the archive gives when it is folded again, against what was served: whole predictions byte by byte, and the feature log. Pure.

folded features, the profile row that the prediction names, its model -> the same bytes, or the first field that differs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from features.enrich import Enriched
from features.online import Profiles
from features.online_keys import ACTIVITY, PROFILE, PROFILE_FEATURES
from features.profile import profiles_at
from features.profile_history import ProfileHistory
from infra.contracts.codec import event_milliseconds
from infra.contracts.framing import payload
from jobs.differing import differing
from jobs.findings import Findings
from jobs.folded_archive import Folded
from jobs.log_rows import log_rows
from jobs.published_models import Identity
from jobs.records import Rules
from jobs.replay.served import Difference, Place, difference
from jobs.scoring_path import Accepted, Model, encode, look_up, score

_REBUILD = "table feature_log holds other than the archive gives; run `./streamhouse rebuild`"
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _ProfileRow(msgspec.Struct):
    time: _Moment | None


class _Rows(msgspec.Struct):
    user_profile: _ProfileRow


class _Named(msgspec.Struct):
    name: str
    version: str
    sha256: str


class _Data(msgspec.Struct):
    model: _Named
    rows: _Rows
    features: list[float | None]
    score: float
    flags: list[str]


class _Prediction(msgspec.Struct):
    data: _Data


_decoder = msgspec.json.Decoder(_Prediction)


@dataclass
class Refolded:
    """What a part of the history came to. `profiles_later`: predictions scored without a profile that user_profiles holds now, and
    that counted then: it was not in the online store yet.
    """

    vectors: int = 0
    equal: int = 0
    log_rows: int = 0
    log_equal: int = 0
    profiles_later: int = 0
    findings: Findings = field(default_factory=Findings)

    def merge(self, others: Sequence[Refolded]) -> None:
        """Take over other parts."""
        for other in others:
            self.vectors += other.vectors
            self.equal += other.equal
            self.log_rows += other.log_rows
            self.log_equal += other.log_equal
            self.profiles_later += other.profiles_later
            self.findings.merge([other.findings])


@dataclass(frozen=True)
class Said:
    """Published predictions: `offset` (m,) of the actions that they answer, ascending, and their `values`."""

    offset: NDArray[np.int64]
    values: list[bytes]


def compare_vectors(
    part: Folded,
    chosen: NDArray[np.bool_],
    said: Said,
    profiles: ProfileHistory,
    rules: Rules,
    find: Callable[[Identity], Model | str],
    told: Callable[[int, bool], None] = lambda _, __: None,
) -> Refolded:
    """Make the predictions for the chosen (m,) of a part's actions again from the fold, and hold them against those published.

    A prediction that cannot be read, or whose model is not there, is left to the replay as served. `told`: is told of each that was
    compared, by its action's place among the m, whether it is equal.
    """
    outcome = Refolded()
    batch, n = part.accepted.batch, len(part.accepted.events)
    by_offset = dict(zip(said.offset.tolist(), map(payload, said.values), strict=True))
    served, said_stale = np.full(n, -1, np.int64), np.zeros(n, np.bool_)
    models: dict[Identity, list[int]] = {}
    values: dict[int, bytes] = {}
    for i in np.flatnonzero(chosen).tolist():
        value = by_offset.get(int(batch.offset[i]))
        try:
            data = None if value is None else _decoder.decode(value).data
        except msgspec.MsgspecError:
            data = None
        if data is not None and value is not None:
            served[i] = -1 if data.rows.user_profile.time is None else event_milliseconds(data.rows.user_profile.time)
            said_stale[i] = "profile_stale" in data.flags
            models.setdefault((data.model.name, data.model.version, data.model.sha256), []).append(i)
            values[i] = value
    given, unknown, later = profiles_served(profiles, part.accepted, served, said_stale)
    enriched = Enriched(part.rows, np.arange(n), given)
    outcome.profiles_later = sum(bool(later[i]) for i in values)
    for identity, members in models.items():
        model = find(identity)
        if isinstance(model, str):
            continue
        known = look_up(part.accepted, enriched, model)
        scores, decisions = score(known.x, model)
        again = encode(part.accepted, rules, known, model, scores, decisions)
        outcome.vectors += len(members)
        for i in members:
            is_equal = not unknown[i] and again[i] == values[i]
            told(i, is_equal)
            if not is_equal:
                outcome.findings.extend(_fields(part.accepted, i, values[i], again[i], model, unknown=bool(unknown[i])))
            else:
                outcome.equal += 1
    return outcome


def profiles_served(
    history: ProfileHistory, accepted: Accepted, served: NDArray[np.int64], said_stale: NDArray[np.bool_]
) -> tuple[Profiles, NDArray[np.bool_], NDArray[np.bool_]]:
    """The profile row of each action (m,) that its prediction names by the moment from which it was known, `served` (m,) ms, -1: none.

    `said_stale` (m,): whether the prediction says of none that there was a stale one.
    Beside it (m,): whether the table lacks that row; and, where none was served, whether the table holds one that counted then.
    """
    users, time = accepted.batch.users, accepted.batch.time
    exact, there = history.known_from(users, served)
    then = history.known_then(users, time)
    at = profiles_at(then.known, then.columns, np.arange(len(users)), time)
    none = served < 0
    counted = none & ~at.missing & ~at.stale
    # a stale row is recorded as none; one that was not in the store yet, or made room for a newer one there, is none, too
    stale = none & at.stale & said_stale
    known = np.where(none, np.where(stale, then.known, -1), exact.known)
    columns = {
        name: [old if is_stale else new for old, new, is_stale in zip(then.columns[name], exact.columns[name], stale.tolist(), strict=True)]
        for name in PROFILE_FEATURES
    }
    return Profiles(known, columns), ~none & ~there, counted


def _fields(accepted: Accepted, i: int, said: bytes, again: bytes, model: Model, *, unknown: bool) -> Iterator[Difference]:
    """Each field in which two predictions differ, the features by their names."""
    event, place = accepted.events[i], _place_of(accepted, i)
    published, replayed = orjson.loads(said), orjson.loads(again)
    if unknown:
        moment = published["data"]["rows"][PROFILE]["time"]
        cause = f"table user_profiles holds no row of user {place.user_id} that was known from {moment}"
        yield difference(place, f"rows.{PROFILE}", moment, None, cause)
        return
    if event.data.user_id != published["data"].get("userId") or str(event.event_id) != published["data"].get("actionId"):
        return  # an answer to another action: the replay as served names it
    features = published["data"]["features"]
    x = np.array([features], np.float32) if len(features) == model.width and None not in features else None
    served_score = None if x is None else float(model.score(x)[0])
    differing = list(_differing(published, replayed, ""))
    if not differing:  # spaces, or a field twice
        cause = "the same fields stand in other bytes: they were written anew"
        yield difference(place, "value", f"{len(said)} bytes", f"{len(again)} bytes", cause)
    for path, old, new in differing:
        name = path.removeprefix("data.")
        if name.startswith("features."):
            name = model.sources[int(name.removeprefix("features."))]
        yield difference(place, name, old, new, _cause(name, published["data"], replayed["data"], served_score, model))


def _cause(name: str, published: dict[str, Any], replayed: dict[str, Any], served_score: float | None, model: Model) -> str:
    """Why a field may differ, as far as the two predictions tell."""
    said = np.float32(published["score"])
    belongs = served_score is not None and np.float32(served_score) == said
    if name in model.sources:
        where = "the online store served another than the log gives" if name.startswith(ACTIVITY) else "action or profile was another"
        if np.float32(replayed["score"]) == said and belongs:
            return f"both values give the published score: it was changed after scoring, or {where}"
        if np.float32(replayed["score"]) == said:
            return "the published score belongs to the replayed value: the published one was changed after scoring"
        if belongs:
            return f"the model was given the published value: {where}"
        return "neither value gives the published score"
    if name in ("score", "decision"):
        if published["features"] == replayed["features"]:
            return f"the same features and model {model.name}@{model.version} give another: it was changed after scoring"
        return "it follows from features that differ"
    return "the archive folded up to this action tells otherwise"


def _differing(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - parsed JSON
    """Paths at which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differing(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differing(a, b, f"{path}.{i}")
    elif old != new or repr(old) != repr(new):  # 0.0 equals -0.0, and 1 equals 1.0
        yield path, old, new


def compare_log(part: Folded, chosen: NDArray[np.bool_], log: pa.Table, end: int) -> Refolded:
    """Hold rows of feature_log, ascending by offset, against the rows that the fold makes, in every column.

    `end`: the offset after the last that the table holds of the partition; later actions are not in it yet and are not counted.
    """
    outcome = Refolded()
    batch = part.accepted.batch
    offset = log["topic_offset"].to_numpy()
    at = np.searchsorted(batch.offset, offset)
    known = at < len(batch.offset)
    known[known] = batch.offset[at[known]] == offset[known]
    partition = int(part.records.partition[0]) if len(part.records.partition) else -1
    for i in np.flatnonzero(~known).tolist():
        place = Place(partition, int(offset[i]), "-", str(log["user_id"][i].as_py()))
        cause = "the archive holds no accepted action at this offset"
        outcome.findings.add(difference(place, "feature_log", "a row", "no such action", cause))
    rows = np.flatnonzero(known)
    rows = rows[chosen[at[rows]]]
    lacking = chosen & (batch.offset < end)
    lacking[at[rows]] = False
    again = np.r_[False, np.diff(offset[rows]) == 0] if len(rows) else np.zeros(0, np.bool_)
    for j in np.flatnonzero(lacking).tolist():
        outcome.findings.add(difference(_place_of(part.accepted, j), "feature_log", "nothing", "a row", _REBUILD))
    for j in at[rows[again]].tolist():
        outcome.findings.add(difference(_place_of(part.accepted, j), "feature_log", "another row", "one", _REBUILD))
    rows = rows[~again]
    wrong = np.zeros(len(rows), np.bool_)
    made, held = log_rows(part).take(pa.array(at[rows])), log.take(pa.array(rows))
    for name in made.column_names:
        new = made[name].combine_chunks()
        old = held[name].combine_chunks().cast(new.type)
        for k in differing(old, new):
            wrong[k] = True
            place = _place_of(part.accepted, int(at[rows[k]]))
            outcome.findings.add(difference(place, f"feature_log:{name}", old[k].as_py(), new[k].as_py(), _REBUILD))
    outcome.log_rows, outcome.log_equal = len(rows), len(rows) - int(wrong.sum())
    return outcome


def _place_of(accepted: Accepted, j: int) -> Place:
    event = accepted.events[j]
    return Place(int(accepted.partition[j]), int(accepted.offset[j]), str(event.event_id), event.data.user_id)
