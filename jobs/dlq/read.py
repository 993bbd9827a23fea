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
from infra.contracts.framing import payload
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from jobs.committed_records import end_offsets, first_offsets, read_all, read_to_end
from jobs.dead_letter import answer_id
from jobs.dlq.answered import passed, with_passed
from jobs.dlq.chains import Chains, State, chained
from jobs.dlq.letters import Letter, Original, Place, as_text, original_of, read_letter, topic_of
from jobs.dlq.notes import Note, read_command_note, read_note
from jobs.dlq.source import Source, sources
from jobs.records import Records
from jobs.scoring_parts import SOURCE_TOPIC, Topic

PREDICTIONS_TOPIC = "predictions"
_CLOCKS_APART_MS = 60_000  # of two brokers, at most


class HiddenNotesError(StreamhouseError):
    """Somebody's open transaction hides the end of the notes, so that what was sent already cannot be known."""


class _Prediction(msgspec.Struct, rename="camel"):
    event_id: str


_prediction = msgspec.json.Decoder(_Prediction)


def survey(settings: Settings, source: Source) -> Chains:
    """Every letter that its topic still holds, and what was decided about it.

    Raises:
        StreamhouseError: no broker answers, or a topic is missing.

    """
    asked = [source.topic, source.letters, source.notes]
    if missing := [change.name for change in topics.plan(settings, asked) if change.action == "create"]:
        sentence = f"broker {settings.kafka.servers}: expected topic {missing[0]}, which it does not have; run `./streamhouse apply`"
        raise StreamhouseError(sentence)
    heard = passed(settings, source)  # before the letters: whatever was refused up to there is among them
    letters, strangers, beside = [], 0, source.beside
    for message in read_all(settings, source.letters.name, source.letters.partitions):
        at = (message.partition() or 0, message.offset() or 0)
        letter = read_letter(message.value(), at, source.name, source.topic.partitions, beside)
        strangers += letter is None
        letters += [] if letter is None else [letter]
    notes, unreadable = read_notes(settings, source)  # after the letters: the note of each replay among them is there then
    return with_passed(chained(letters, notes, strangers + unreadable), heard)


def elsewhere(settings: Settings) -> dict[str, dict[str, int]]:
    """Other topics than the user actions that hold letters, with the numbers of all `letters` and of the `open` ones."""
    others = {name: one for name, one in sources(settings).items() if one.participants}
    missing = {change.name for change in topics.plan(settings) if change.action == "create"}
    found = {}
    for name, one in others.items():
        if missing & {one.letters.name, one.notes.name} or not _holds(settings, one):
            continue
        chains = survey(settings, one)
        if chains.letters:
            are_open = sum(chains.state(place) == State.OPEN for place in chains.letters)
            found[name] = {"letters": len(chains.letters), "open": are_open}
    return found


def _holds(settings: Settings, source: Source) -> bool:
    """Whether there can be letters: most often there are none, and nothing has to be read."""
    places = [(source.letters.name, partition) for partition in range(source.letters.partitions)]
    return first_offsets(settings, places) != end_offsets(settings, places)


def read_notes(settings: Settings, source: Source) -> tuple[list[Note], int]:
    """Every committed note about letters of the source, and how many records of the topic are none."""
    notes, strangers = [], 0
    for message in read_all(settings, source.notes.name, source.notes.partitions):
        value, at = message.value(), message.timestamp()[1]
        if source.participants:
            of = read_command_note(value, at)
            topic, note = of or (source.name, None)
        else:
            topic, note = source.name, read_note(value, at)
        strangers += note is None
        notes += [note] if note is not None and topic == source.name else []
    return notes, strangers


def check_notes_are_whole(settings: Settings, source: Source) -> None:
    """See that no open transaction lies on the notes: committed notes behind it would not be read.

    Raises:
        HiddenNotesError: one does.

    """
    for partition in range(source.notes.partitions):
        stable, written = (_end(settings, source, partition, level) for level in ("read_committed", "read_uncommitted"))
        if stable < written:
            message = (
                f"topic {source.notes.name}: expected no open transaction, got one at offset {stable} that is not of this command;"
                " wait until it ends or times out, and run the command again"
            )
            raise HiddenNotesError(message)


def _end(settings: Settings, source: Source, partition: int, isolation_level: str) -> int:
    client = {**settings.kafka.client(), "group.id": "streamhouse-dlq", "isolation.level": isolation_level}
    with closing(Consumer(client)) as consumer:
        _, end = consumer.get_watermark_offsets(TopicPartition(source.notes.name, partition), timeout=10.0)
    return int(end)


def with_answers(settings: Settings, source: Source, chains: Chains) -> Chains:
    """The same, with the replays that were accepted: predictions are read from when the first unanswered one was sent.

    What participants have handled a survey tells already.
    """
    waiting = {} if source.participants else chains.unanswered()
    if not waiting:
        return chains
    since = min(note.kafka_ms for note in waiting.values()) - _CLOCKS_APART_MS
    return replace(chains, accepted=chains.accepted | _predicted(settings, waiting, since))


def _predicted(settings: Settings, places: Collection[Place], since_ms: int) -> set[Place]:
    unseen = {answer_id(SOURCE_TOPIC, place[0], place[1]): place for place in places}
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
                place = unseen.pop(_prediction.decode(payload(message.value()) or b"").event_id, None)
            except (msgspec.MsgspecError, ValueError):
                continue
            found |= set() if place is None else {place}
        if not unseen:
            break
    return found


def originals(settings: Settings, source: Source, letters: Iterable[Letter]) -> Iterator[tuple[Letter, Original | None]]:
    """The refused record of each letter, in the order of their topic; None: neither topic nor archive holds it any more."""
    wanted = {letter.at: letter for letter in letters}
    name = source.letters.name
    starts = [TopicPartition(name, partition, min(ats)[1]) for partition, ats in groupby(sorted(wanted), key=lambda at: at[0])]
    if not starts:
        return
    for messages in read_to_end(settings, starts):
        for message in messages:
            letter = wanted.pop((message.partition() or 0, message.offset() or 0), None)
            if letter is not None:
                original = original_of(message.value())
                held = original is not None and not original.elsewhere
                yield letter, original if held else record_at(settings, source, letter.place, original)
        if not wanted:
            return


def original_at(settings: Settings, source: Source, chains: Chains, place: Place) -> Original | None:
    """One record of the source topic: from its dead letter where that holds it, else from topic or archive; None: as `originals`."""
    letter = chains.letters.get(place)
    if letter is None:
        return record_at(settings, source, place)
    return next((original for _, original in originals(settings, source, [letter])), None)


def record_at(settings: Settings, source: Source, place: Place, known: Original | None = None) -> Original | None:
    """Key and value of a record, from its topic or, where retention has cut that of the user actions, from its archive table.

    `known`: what its letter says of it, whose headers it keeps. Commands have no archive, and events no retention.
    """
    from jobs.archived_log import LogCutError, before_the_topic  # PyIceberg, which few letters need
    from lakehouse.errors import LakehouseError

    partition, offset = place[0], place[1]
    topic = Topic(settings, name := topic_of(place, source.name))
    headers = () if known is None else known.headers
    try:
        if offset >= topic.low(partition):
            found = topic.records(partition, offset, offset + 1)
        elif name != SOURCE_TOPIC:
            return None
        else:
            found = before_the_topic(settings, partition, offset, offset + 1)
        return next((_original(records, headers) for records in found if offset in records.offset), None)
    except (LogCutError, LakehouseError):
        return None
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return None
        message = f"{source.name} {as_text(place)}: expected its record, got {error.args[0].str()}; see `./streamhouse status`"
        raise StreamhouseError(message) from error


def _original(records: Records, headers: tuple[tuple[str, bytes], ...]) -> Original:
    return Original(records.keys[0], records.values[0], headers=headers)
