"""What predictions and dead letters say of themselves, pure: which action they answer, and whether the model gives the score again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from infra.contracts.partitioner import partition_of
from jobs.archive_rows import Row
from jobs.audit.pins import ACTIONS, ANSWER_NAME, PREDICTIONS
from jobs.audit.spill import ACTION, ANSWER, Rows
from jobs.audit.topic_log import Step
from jobs.dlq.letters import Original, original_of
from jobs.findings import Finding, Findings
from jobs.published_models import Identity
from jobs.scoring_path import Model

Find = Callable[[Identity], Model | str]
"""The model that a prediction names, or why there is none."""
_NO_VALUE = (1).to_bytes(8, "little")
_NO_DIGEST = 2  # of no value
_DIGEST_BYTES = 32
_UNREADABLE = Original(None, None, elsewhere=True, sha256="")


def actions(step: Step, typed: Sequence[Row], user: str) -> Rows:
    """Who acted and with which bytes, by offset. `user`: the column that says who, which a newer version may have renamed."""
    rows = np.zeros(len(step), ACTION)
    rows["offset"] = step.offset
    rows["value"], rows["key"] = _of_values(step.values), _of_keys(step.key.to_pylist())
    rows["identity"] = identities([row.get("event_id") for row in typed], [row.get(user) for row in typed])
    return rows


def event_prints(typed: Sequence[Row]) -> NDArray[np.uint64]:
    """Fingerprints of the event ids that there are."""
    return prints([row["event_id"] for row in typed if row.get("event_id") is not None])


def answers(topic: str, partition: int, step: Step, typed: Sequence[Row]) -> tuple[Rows, list[Finding]]:
    """The action that each answer names; answers that name none are findings."""
    place, number = ("action_partition", "action_offset") if topic == PREDICTIONS else ("source_partition", "source_offset")
    named = [i for i, row in enumerate(typed) if row.get(place) is not None and row.get("source_topic", ACTIONS) == ACTIONS]
    unnamed = sorted(set(range(len(typed))) - set(named))
    findings = []
    for offset in step.offset[unnamed].tolist():
        said = f"expected a {ANSWER_NAME[topic]} that names an action of {ACTIONS}, got none"
        sentence = f"topic {topic}, partition {partition}, offset {offset}: {said}"
        findings.append(Finding(topic, "unreadable_answer", partition, offset, sentence))
    typed = [typed[i] for i in named]
    rows = np.zeros(len(typed), ANSWER)
    rows["action_partition"] = [row[place] for row in typed]
    rows["offset"] = [row[number] for row in typed]
    rows["lies_at"], rows["partition"] = step.offset[named], partition
    if topic == PREDICTIONS:
        users = [row["user_id"] for row in typed]
        rows["identity"] = identities([row["action_id"] for row in typed], users)
        rows["user"] = prints(users)
    else:
        keys = step.key.to_pylist()
        rows["user"] = prints([(keys[i] or b"").decode("utf-8", "replace") for i in named])
        rows["value"], rows["key"] = _held([step.values[i] for i in named])
    return rows, findings


def _held(letters: Sequence[bytes | None]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Of the records that letters hold or name, fingerprints of value and key; 0 where a letter does not say."""
    held = [original_of(letter) or _UNREADABLE for letter in letters]
    value, key = _of_values([one.value for one in held]), _of_keys([one.key for one in held])
    for i, one in enumerate(held):
        if one.elsewhere:
            key[i] = 0
            if one.sha256 is not None:
                value[i] = _of_digest(one.sha256)
    return value, key


def _of_values(values: Sequence[bytes | None]) -> NDArray[np.uint64]:
    """The first 64 bits of each value's sha256, which a letter tells of what it does not hold."""
    return np.frombuffer(b"".join(_NO_VALUE if value is None else sha256(value).digest()[:8] for value in values), "<u8").copy()


def _of_digest(text: str) -> int:
    digest = b""
    with contextlib.suppress(ValueError):
        digest = bytes.fromhex(text)
    return int.from_bytes(digest[:8], "little") if len(digest) == _DIGEST_BYTES else _NO_DIGEST


def _of_keys(keys: Sequence[bytes | None]) -> NDArray[np.uint64]:
    made = prints([(key or b"").decode("latin-1") for key in keys])
    made[[key is None for key in keys]] = 1
    return made


def misplaced(topic: str, step: Step, rows: Rows, partitions: int, source_partitions: int) -> Iterator[Finding]:
    """Answers of a step that lie elsewhere than their key's other answers, where nothing keeps them in order.

    A prediction's user shares the number of the partition with the action, where both topics have as many.
    """
    if topic == PREDICTIONS and partitions == source_partitions:
        rows = rows[rows["partition"] != rows["action_partition"]]
    keys = step.key.take(pa.array(np.searchsorted(step.offset, rows["lies_at"]))).to_pylist()
    for row, key in zip(rows, keys, strict=True):
        if key is not None and (expected := partition_of(key, partitions)) != row["partition"]:
            sentence = (
                f"topic {topic}, partition {row['partition']}, offset {row['lies_at']}: the {ANSWER_NAME[topic]} for action"
                f" {row['action_partition']}:{row['offset']} belongs in partition {expected} by its key, where it would be in order"
            )
            yield Finding(topic, "other_partition", int(row["partition"]), int(row["lies_at"]), sentence)


def identities(events: Sequence[str | None], users: Sequence[str | None]) -> NDArray[np.uint64]:
    """Fingerprints of event id and user together; 0 where one is missing."""
    both = ["" if event is None or user is None else f"{event}\0{user}" for event, user in zip(events, users, strict=True)]
    made = prints(both)
    made[[not text for text in both]] = 0
    return made


def prints(texts: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each text, the same in every process."""
    if not texts:
        return np.zeros(0, np.uint64)
    return np.asarray(pd.util.hash_array(np.array(texts, object), categorize=False), np.uint64)


def rescore(partition: int, step: Step, typed: Sequence[Row], find: Find) -> list[Finding]:
    """Predictions whose score or decision their own features and model do not give again, bit for bit."""
    by_model: dict[Identity, list[int]] = {}
    for i, row in enumerate(typed):
        if "features" in row:
            by_model.setdefault((row["model_name"], row["model_version"], row["model_sha256"]), []).append(i)
    findings: list[Finding] = []
    for model, at in by_model.items():
        findings += _rescored(partition, step.offset[at], [typed[i] for i in at], model, find(model))
    return findings


def _rescored(partition: int, offset: NDArray[np.int64], rows: list[Row], model: Identity, found: Model | str) -> list[Finding]:
    def finding(kind: str, i: int, said: str) -> Finding:
        sentence = f"topic {PREDICTIONS}, partition {partition}, offset {offset[i]}: {said}"
        return Finding(PREDICTIONS, kind, partition, int(offset[i]), sentence)

    if isinstance(found, str):
        return [finding("unknown_model", i, f"it names model {model[0]} {model[1]}: {found}") for i in range(len(rows))]
    findings: list[Finding] = []
    at, x = _inputs(rows, found.width)
    if len(at) < len(rows):
        findings += [
            finding("unusable_features", i, f"expected {found.width} numbers in features, got {rows[i]['features']}")
            for i in sorted(set(range(len(rows))) - set(at.tolist()))
        ]
    if len(at) == 0:
        return findings
    said = np.array([rows[i]["score"] for i in at], np.float32)
    again = found.score(x)
    name = f"{model[0]} {model[1]}"
    findings += [
        finding("changed_score", int(at[i]), f"it says score {said[i]}, its features and model {name} give {again[i]}")
        for i in np.flatnonzero(~found.agrees(said, again)).tolist()
    ]
    decided = np.array([rows[i]["decision"] for i in at], bool)
    findings += [
        finding("changed_decision", int(at[i]), f"it says decision {decided[i]}, score {again[i]} and threshold {found.threshold} do not")
        for i in np.flatnonzero(decided != (again >= found.threshold)).tolist()
    ]
    return findings


def _inputs(rows: list[Row], width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which rows have as many numbers as the model takes, and these."""
    with contextlib.suppress(ValueError):  # of different lengths
        x = np.array([row["features"] for row in rows], np.float32)
        if x.shape[1:] == (width,) and not np.isnan(x).any():
            return np.arange(len(rows)), x
    at = [i for i, row in enumerate(rows) if len(row["features"]) == width and None not in row["features"]]
    return np.array(at, np.int64), np.array([rows[i]["features"] for i in at], np.float32)


@dataclass
class Order:
    """Whether answers in one partition of a topic come in the order of the actions that they answer."""

    last: dict[int, int] = field(default_factory=dict)
    """By action partition the offset of the latest action answered."""
    is_kept: bool = True

    def add(self, rows: Rows) -> None:
        """The next answers."""
        for partition in np.unique(rows["action_partition"]).tolist():
            offsets = rows["offset"][rows["action_partition"] == partition]
            before = self.last.get(partition, -1)
            self.is_kept = self.is_kept and bool((np.diff(offsets, prepend=before) > 0).all())
            self.last[partition] = max(before, int(offsets.max()))


_USERS_AT_ONCE = 1 << 20


def out_of_order(topic: str, every: Callable[[], Iterator[Rows]]) -> Findings:
    """Answers in one partition that come after an answer to a later action of the same user.

    `every` reads the partition's answers again, in no order; users are taken in turns of about a million answers.
    """
    findings = Findings()
    turns = np.uint64(max(1, -(-sum(len(rows) for rows in every()) // _USERS_AT_ONCE)))
    for turn in range(int(turns)):
        some = [rows[rows["user"] % turns == turn] for rows in every()]
        if some:
            findings.extend(_falls(topic, np.concatenate(some)))
    return findings


def _falls(topic: str, rows: Rows) -> Iterator[Finding]:
    rows = rows[np.lexsort((rows["lies_at"], rows["user"], rows["action_partition"]))]
    same = (rows["user"][1:] == rows["user"][:-1]) & (rows["action_partition"][1:] == rows["action_partition"][:-1])
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(rows)]])
    falls = np.flatnonzero(same & (rows["offset"][1:] < rows["offset"][:-1])) + 1
    for group in np.unique(np.searchsorted(starts, falls, side="right") - 1).tolist():
        latest = rows[starts[group]]
        for row in rows[starts[group] : starts[group + 1]]:
            if row["offset"] >= latest["offset"]:
                latest = row
                continue
            sentence = (
                f"topic {topic}, partition {row['partition']}, offset {row['lies_at']}: the {ANSWER_NAME[topic]} for action"
                f" {row['action_partition']}:{row['offset']} comes after that for the same user's later action"
                f" {latest['action_partition']}:{latest['offset']} at offset {latest['lies_at']}"
            )
            yield Finding(topic, "out_of_order", int(row["partition"]), int(row["lies_at"]), sentence)
