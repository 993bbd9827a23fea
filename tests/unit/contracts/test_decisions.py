"""What is decided about schema ids: a record's schema never changes once it was decided, in whatever order readers catch up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contracts.decisions import NOTHING, Decisions, Known, Unknown, read_decision, write_decision
from infra.contracts.framing import WriterSchema

ID = "7f9c2b1e-3d4a-8c5b-8e6f-0a1b2c3d4e5f"
TOPICS = ("user-actions", "order-commands")
OFFSET = st.integers(0, 12)
EVENTS = st.lists(
    st.builds(Unknown, st.sampled_from(TOPICS), st.integers(0, 1), OFFSET)
    | st.builds(
        Known, st.sampled_from(TOPICS), st.integers(0, 1), OFFSET, st.integers(1, 3), st.builds(WriterSchema, st.just("AVRO"), st.text())
    ),
    max_size=25,
)
ASKED = [
    (topic, partition, offset, schema_id) for topic in TOPICS for partition in (0, 1) for offset in range(14) for schema_id in (1, 2, 3)
]


def folded(events: list[Known | Unknown]) -> Decisions:
    decisions = NOTHING
    for event in events:
        decisions = decisions.after(event)
    return decisions


@given(EVENTS, EVENTS)
def test_what_is_decided_stays_whatever_comes_later(before: list[Known | Unknown], later: list[Known | Unknown]) -> None:
    early = folded(before)
    late = folded(before + later)
    for asked in ASKED:
        if early.is_decided(*asked):
            assert late.is_decided(*asked)
            assert late.schema_at(*asked) == early.schema_at(*asked)


@given(EVENTS)
def test_events_that_come_again_change_nothing(events: list[Known | Unknown]) -> None:
    assert folded(events + events) == folded(events) == folded([event for event in events for _ in (0, 1)])


@given(EVENTS)
def test_an_id_is_known_from_its_first_offset_that_was_open_on(events: list[Known | Unknown]) -> None:
    decisions = folded(events)
    for topic, partition, offset, schema_id in ASKED:
        expected, decided = None, -1
        for event in events:  # by the definition, event by event
            if (event.topic, event.partition) != (topic, partition):
                continue
            if isinstance(event, Unknown):
                decided = max(decided, event.until_offset)
            elif event.schema_id == schema_id and event.from_offset > decided and expected is None:
                expected = event
        schema = expected.schema if expected is not None and expected.from_offset <= offset else None
        assert decisions.schema_at(topic, partition, offset, schema_id) == schema
        assert decisions.is_decided(topic, partition, offset, schema_id) == (offset <= decided or schema is not None)
        first = decisions.first_known(topic, partition)
        assert schema is None or (first is not None and first <= offset)


@given(EVENTS)
def test_the_latest_schema_of_an_id_is_the_last_on_record_in_any_partition(events: list[Known | Unknown]) -> None:
    decisions = folded(events)
    for topic in TOPICS:
        for schema_id in (1, 2, 3):
            took_effect = [
                event
                for event in events
                if isinstance(event, Known)
                and (event.topic, event.schema_id) == (topic, schema_id)
                and decisions.known.get((topic, event.partition, schema_id)) == event
            ]
            assert decisions.latest_schema(topic, schema_id) == (took_effect[-1].schema if took_effect else None)


@given(EVENTS)
def test_what_is_written_is_read(events: list[Known | Unknown]) -> None:
    assert [read_decision(write_decision(event, ID, 0)[1]) for event in events] == events


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[" * 500,
        b'{"eventType":"SchemaIdKnown","data":{"topic":"a","partition":0}}',
        b'{"eventType":"SchemaIdKnown","data":{"topic":"a","partition":0,"fromOffset":-1,"schemaId":3}}',
        b'{"eventType":"SchemaIdsUnknown","data":{"topic":"a","partition":0}}',
        b'{"eventType":"UserAction","data":{"topic":"a","partition":0,"untilOffset":5}}',
    ],
)
def test_what_is_no_decision_is_passed_over(value: bytes | None) -> None:
    assert read_decision(value) is None


@dataclass
class Log:
    """A partition of records with schema ids, a registry that learns of them, and workers that answer, stop anywhere and begin anew."""

    ids: list[int]
    learnt: list[int]  # for each id, after how many questions the registry knows it
    events: list[Known | Unknown] = field(default_factory=list)
    asked: int = 0

    def answers(self, first: int, end: int) -> list[WriterSchema | None]:
        """One batch of a worker, as the rule says: what is not decided is asked about, and decided before it is answered."""
        decisions = folded(self.events)
        for offset in range(first, end):
            schema_id = self.ids[offset]
            if decisions.is_decided("t", 0, offset, schema_id):
                continue
            self.asked += 1
            if self.learnt[schema_id] <= self.asked:
                decisions = self.decide(decisions, Known("t", 0, offset, schema_id, WriterSchema("JSON", str(schema_id))))
            else:
                decisions = self.decide(decisions, Unknown("t", 0, offset))
        return [decisions.schema_at("t", 0, offset, self.ids[offset]) for offset in range(first, end)]

    def decide(self, decisions: Decisions, event: Known | Unknown) -> Decisions:
        self.events.append(event)
        return decisions.after(event)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.lists(st.integers(1, 20), min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.booleans()), max_size=30),
)
def test_an_answer_comes_again_over_crashes_and_in_a_replay(
    ids: list[int], learnt: list[int], batches: list[tuple[int, int, bool]]
) -> None:
    log, given_answers, at = Log(ids, learnt), dict[int, WriterSchema | None](), 0
    for back, size, crashes in batches:
        first = max(0, at - back) if crashes else at  # a crash goes back to an earlier checkpoint
        end = min(first + size, len(ids))
        for offset, schema in zip(range(first, end), log.answers(first, end), strict=True):
            assert given_answers.setdefault(offset, schema) == schema
        at = max(end, first)
    replayed = folded(log.events)
    for offset, schema in given_answers.items():
        assert replayed.is_decided("t", 0, offset, ids[offset])
        assert replayed.schema_at("t", 0, offset, ids[offset]) == schema
