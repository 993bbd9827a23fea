"""Where the prediction that a name means is found, with its action and the user's earlier ones: in the tables, else in the topics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.contracts.decisions import Decisions
from jobs.framed_records import plain_values
from jobs.records import Records, Rules
from jobs.scoring_parts import SOURCE_TOPIC
from jobs.scoring_path import accept
from jobs.why.archive import ACTIONS, Archive
from jobs.why.explanation import Action
from jobs.why.named import Place, Unexplained, read_name
from jobs.why.topics import Topics


@dataclass(frozen=True)
class Answer:
    """The predictions for an action, one if all is well: rows with `PREDICTION_COLUMNS`, and their data files, none if a topic has them."""

    rows: pa.Table
    files: list[str]


class Finder:
    """Looks in the tables first, and asks the broker for what they do not hold yet, if one listens."""

    def __init__(self, archive: Archive, topics: Topics, source_rules: Rules, decisions: Decisions) -> None:
        self._archive, self._topics, self._rules, self._decisions = archive, topics, source_rules, decisions

    def place(self, name: str) -> Place:
        """The action's place.

        Raises:
            Unexplained: the name means nothing, nothing that is archived, or more than one action.

        """
        read = read_name(name)
        if isinstance(read, Place):
            return read
        found = self._archive.places_of(read)
        if len(found) > 1:
            places = ", ".join(map(str, found))
            message = f"{name}: expected the event id of one action, {len(found)} have it; name one by its place: {places}"
            raise Unexplained(message)
        if not found:
            message = (
                f"{name}: no archived action has this event id, and it is no prediction's, which would spell a place of {SOURCE_TOPIC};"
                " name a younger one by PARTITION:OFFSET of its action"
            )
            raise Unexplained(message)
        return found[0]

    def answer(self, place: Place) -> Answer:
        """The prediction for an action.

        Raises:
            Unexplained: there is none; the message tells what there is instead.
            KafkaException: the broker stopped answering.

        """
        rows, files = self._archive.predictions(place)
        if not len(rows) and not self._topics.away:
            _, end = self._archive.prediction_ends.get(place.partition, (0, 0))
            rows = self._topics.predictions(place, end)
        if not len(rows):
            raise Unexplained(self._instead(place))
        return Answer(rows, files)

    def action(self, place: Place, said_user: str) -> tuple[Records, Action]:
        """The action behind the user's earlier ones, in log order; and the action by itself. `said_user`: whose, where it is refused now.

        Raises:
            Unexplained: the action is not there.
            KafkaException: as `answer`.

        """
        lone, files = self._archive.actions(place.partition, np.array([place.offset]))
        beyond = [] if len(lone.values) else self._not_archived(place)
        lone = lone if len(lone.values) else record_at(beyond[-1], place)
        accepted, _ = accept(lone, self._rules)
        event = accepted.events[0] if accepted.events else None
        user = said_user if event is None else event.data.user_id
        offsets = np.union1d(self._archive.offsets_of(user, place.partition, place.offset), self._late(user, place))
        earlier, _ = self._archive.actions(place.partition, offsets)
        younger = [self._of_user(records, user, place) for records in beyond]
        held = self._archive.held(ACTIONS, files[0], place.partition, place.offset) if files else None
        (value,), (plain,) = lone.values, plain_values(lone, self._rules)[0]
        return _joined([earlier, *younger, lone]), Action(place, value or b"", plain or b"", int(lone.kafka_ms[0]), event, held)

    def _late(self, user: str, place: Place) -> NDArray[np.int64]:
        """The user's earlier framed actions that were archived before their ids were decided about: no column names their user."""
        first = self._decisions.first_known(SOURCE_TOPIC, place.partition)
        if first is None:
            return np.empty(0, np.int64)
        some, _ = self._archive.actions(place.partition, self._archive.nobodys(place.partition, first, place.offset))
        return self._of_user(some, user, place).offset

    def _not_archived(self, place: Place) -> list[Records]:
        """The records from the archive's end up to and with the action."""
        _, end = self._archive.ends.get(place.partition, (0, 0))
        if self._topics.away:
            held = f"offsets below {end}" if end else "nothing"
            message = (
                f"action {place} has a prediction, and table {ACTIONS} holds {held} of its partition; {self._topics.away}, so it cannot be"
                " read from the topic: run `./streamhouse up`"
            )
            raise Unexplained(message)
        found = list(self._topics.actions(place.partition, end, place.offset + 1))
        if not found or int(found[-1].offset[-1]) != place.offset:
            message = f"action {place} has a prediction, and no record lies at its place; `./streamhouse audit` tells more"
            raise Unexplained(message)
        return found

    def _of_user(self, records: Records, user: str, place: Place) -> Records:
        """Those of a user before the action."""
        accepted, _ = accept(records, self._rules)
        mine = np.array([event.data.user_id == user for event in accepted.events], bool) & (accepted.offset < place.offset)
        return some_of(records, accepted.position[mine])

    def _instead(self, place: Place) -> str:
        """What there is where no prediction is."""
        away, letters = self._topics.away, self._archive.letters(place)
        if not len(letters) and not away:
            letters = self._topics.letters(place)
        if len(letters):
            letter = letters.to_pylist()[0]
            return (
                f"record {place} of {SOURCE_TOPIC} has no prediction: dead letter {letter['event_id']} answers it, refused by step"
                f" {letter['step']} as {letter['reason']} ({letter['message']}); `./streamhouse dlq show {place}` tells all of it"
            )
        if len(self._archive.actions(place.partition, np.array([place.offset]))[0].values):
            beside = (
                f" in the tables; {away}, so a younger one cannot be asked for" if away else ", neither in the tables nor in the topics"
            )
            return f"action {place} has no answer{beside}; `./streamhouse audit` tells whether one is lost"
        first, end = self._archive.ends.get(place.partition, (0, 0))
        holds = f"offsets {first} to {end - 1}" if end else "nothing"
        beside = f"{away}, so what is younger cannot be asked for" if away else "the topics hold no prediction for it either"
        return f"no prediction answers {place}: the archive holds {holds} of partition {place.partition} of {SOURCE_TOPIC}, and {beside}"


def record_at(records: Records, place: Place) -> Records:
    """The record at a place."""
    return some_of(records, np.flatnonzero(records.offset == place.offset))


def some_of(records: Records, positions: NDArray[np.int64]) -> Records:
    """Some of the records."""
    chosen = positions.tolist()
    keys, values = [records.keys[i] for i in chosen], [records.values[i] for i in chosen]
    return Records(keys, values, records.partition[positions], records.offset[positions], records.kafka_ms[positions])


def _joined(parts: list[Records]) -> Records:
    return Records(
        [key for part in parts for key in part.keys],
        [value for part in parts for value in part.values],
        np.concatenate([part.partition for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.kafka_ms for part in parts]),
    )
