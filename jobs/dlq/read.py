"""Letters, notes and answers from their topics, and the bytes that a letter only names the place of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import groupby

import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from infra.config import Settings
from infra.contracts import topics
from infra.contracts.contract import Topic as Contract
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.committed_records import read_all, read_to_end
from jobs.dead_letter import answer_id
from jobs.dlq.chains import Chains, chained
from jobs.dlq.letters import Letter, Original, Place, as_text, original_of, read_letter
from jobs.dlq.notes import Note, read_note
from jobs.records import Records
from jobs.scoring_parts import SOURCE_TOPIC, Topic

NOTES_TOPIC, PREDICTIONS_TOPIC = "user-actions-replays", "predictions"
_CLOCKS_APART_MS = 60_000  # of two brokers, at most


class HiddenNotesError(StreamhouseError):
    """Somebody's open transaction hides the end of the notes, so that what was sent already cannot be known."""


class _Prediction(msgspec.Struct, rename="camel"):
    event_id: str


_prediction = msgspec.json.Decoder(_Prediction)


def letters_topic() -> Contract:
    """The contract of the source topic's dead letters."""
    contracts = load_contracts().topics
    return contracts[contracts[SOURCE_TOPIC].dead_letter_topic or ""]


def survey(settings: Settings) -> Chains:
    """Every letter that its topic still holds, and what was decided about it.

    Raises:
        StreamhouseError: no broker answers, or a topic is missing.

    """
    contracts = load_contracts().topics
    asked = [contracts[SOURCE_TOPIC], letters_topic(), contracts[NOTES_TOPIC]]
    if missing := [change.name for change in topics.plan(settings, asked) if change.action == "create"]:
        sentence = f"broker {settings.kafka.servers}: expected topic {missing[0]}, which it does not have; run `./streamhouse apply`"
        raise StreamhouseError(sentence)
    letters, strangers = [], 0
    for message in read_all(settings, letters_topic().name, letters_topic().partitions):
        at = (message.partition() or 0, message.offset() or 0)
        letter = read_letter(message.value(), at, SOURCE_TOPIC, contracts[SOURCE_TOPIC].partitions)
        strangers += letter is None
        letters += [] if letter is None else [letter]
    notes, unreadable = read_notes(settings)  # after the letters: the note of each replay among them is there then
    return chained(letters, notes, strangers + unreadable)


def read_notes(settings: Settings) -> tuple[list[Note], int]:
    """Every committed note, and how many records of the topic are none."""
    notes, strangers = [], 0
    for message in read_all(settings, NOTES_TOPIC, load_contracts().topics[NOTES_TOPIC].partitions):
        note = read_note(message.value(), message.timestamp()[1])
        strangers += note is None
        notes += [] if note is None else [note]
    return notes, strangers


def check_notes_are_whole(settings: Settings) -> None:
    """See that no open transaction lies on the notes: committed notes behind it would not be read.

    Raises:
        HiddenNotesError: one does.

    """
    for partition in range(load_contracts().topics[NOTES_TOPIC].partitions):
        stable, written = (_end(settings, partition, level) for level in ("read_committed", "read_uncommitted"))
        if stable < written:
            message = (
                f"topic {NOTES_TOPIC}: expected no open transaction, got one at offset {stable} that is not of this command;"
                " wait until it ends or times out, and run the command again"
            )
            raise HiddenNotesError(message)


def _end(settings: Settings, partition: int, isolation_level: str) -> int:
    client = {**settings.kafka.client(), "group.id": "streamhouse-dlq", "isolation.level": isolation_level}
    with closing(Consumer(client)) as consumer:
        _, end = consumer.get_watermark_offsets(TopicPartition(NOTES_TOPIC, partition), timeout=10.0)
    return int(end)


def with_answers(settings: Settings, chains: Chains) -> Chains:
    """The same, with the replays that were accepted: predictions are read from when the first unanswered one was sent."""
    waiting = chains.unanswered()
    if not waiting:
        return chains
    since = min(note.kafka_ms for note in waiting.values()) - _CLOCKS_APART_MS
    return replace(chains, accepted=chains.accepted | _predicted(settings, waiting, since))


def _predicted(settings: Settings, places: Collection[Place], since_ms: int) -> set[Place]:
    unseen = {answer_id(SOURCE_TOPIC, *place): place for place in places}
    found: set[Place] = set()
    partitions = range(load_contracts().topics[PREDICTIONS_TOPIC].partitions)
    with closing(Consumer({**settings.kafka.client(), "group.id": "streamhouse-dlq"})) as consumer:
        asked = [TopicPartition(PREDICTIONS_TOPIC, partition, since_ms) for partition in partitions]
        starts = [place for place in consumer.offsets_for_times(asked, timeout=10.0) if place.offset != OFFSET_END]
    if not starts:
        return found
    for messages in read_to_end(settings, starts):
        for message in messages:
            try:
                place = unseen.pop(_prediction.decode(message.value() or b"").event_id, None)
            except (msgspec.MsgspecError, ValueError):
                continue
            found |= set() if place is None else {place}
        if not unseen:
            break
    return found


def originals(settings: Settings, letters: Iterable[Letter]) -> Iterator[tuple[Letter, Original | None]]:
    """The refused record of each letter, in the order of their topic; None: neither topic nor archive holds it any more."""
    wanted = {letter.at: letter for letter in letters}
    name = letters_topic().name
    starts = [TopicPartition(name, partition, min(ats)[1]) for partition, ats in groupby(sorted(wanted), key=lambda at: at[0])]
    if not starts:
        return
    for messages in read_to_end(settings, starts):
        for message in messages:
            letter = wanted.pop((message.partition() or 0, message.offset() or 0), None)
            if letter is not None:
                original = original_of(message.value())
                yield letter, record_at(settings, letter.place) if original is None or original.elsewhere else original
        if not wanted:
            return


def original_at(settings: Settings, chains: Chains, place: Place) -> Original | None:
    """One record of the source topic: from its dead letter where that holds it, else from topic or archive; None: as `originals`."""
    letter = chains.letters.get(place)
    if letter is None:
        return record_at(settings, place)
    return next((original for _, original in originals(settings, [letter])), None)


def record_at(settings: Settings, place: Place) -> Original | None:
    """Key and value of a record of the source topic, from the topic or, where retention has cut it, from its archive table."""
    from jobs.archived_log import LogCutError, before_the_topic  # PyIceberg, which few letters need
    from lakehouse.errors import LakehouseError

    partition, offset = place
    source = Topic(settings, SOURCE_TOPIC)
    try:
        if offset >= source.low(partition):
            found = source.records(partition, offset, offset + 1)
        else:
            found = before_the_topic(settings, partition, offset, offset + 1)
        return next((_original(records) for records in found if offset in records.offset), None)
    except (LogCutError, LakehouseError):
        return None
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return None
        message = f"{SOURCE_TOPIC} {as_text(place)}: expected its record, got {error.args[0].str()}; see `./streamhouse status`"
        raise StreamhouseError(message) from error


def _original(records: Records) -> Original:
    return Original(records.keys[0], records.values[0])
