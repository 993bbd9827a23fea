"""Topics that were tampered with, beside tables that hold just what they hold: each planted corruption is found and named."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any

import orjson
import pytest

from infra.config import Settings
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from jobs.audit.command import main
from jobs.audit.run import Report, audit
from tests.audited import Archive, Scorer, Sent, Writer, action, audited_anew
from tests.integration.audit.reports import USERS, found


class Planted:
    """Where each corruption of the topics lies, by its name: partition and offset of the action."""

    def __init__(self) -> None:
        self.action: dict[str, tuple[int, int]] = {}
        self.answer: dict[str, tuple[int, int]] = {}


@pytest.fixture(scope="module")
def broken(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Planted, Settings]:
    """Topics with one corruption of each kind, archived as they are; and the report on them."""
    settings = audited_anew(broker, tmp_path_factory.mktemp("broken"))
    planted, scorer, forger = Planted(), Scorer(settings), Writer(settings, "forger")
    alone = ["unanswered", "twice", "letter_too", "score", "decision", "features", "model", "other_user", "elsewhere", "other_letter"]
    names = [*alone, "late", "late"]
    records = [action(f"user_{n % USERS}", n) for n in range(200)] + [action(name, 200 + n) for n, name in enumerate(names)]
    records += [action(f"user_{n % USERS}", 300 + n) for n in range(100)]
    places = Writer(settings, "shop").send([("user-actions", one) for one in records])
    for name, place in zip(names, places[200 : 200 + len(names)], strict=True):
        planted.action[f"{name}_2" if name in planted.action else name] = place
    held = scorer.answer(lambda *place: place in places[200 : 200 + len(names)])

    def edited(name: str, **data: object) -> tuple[str, Sent]:
        topic, sent = held[planted.action[name]]
        event = orjson.loads(sent.value or b"")
        event["data"] |= data
        return topic, Sent(sent.key, orjson.dumps(event))

    def in_another_partition(answer: tuple[str, Sent]) -> tuple[str, Sent]:
        right = partition_of((answer[1].key or b"").decode(), load_contracts().topics[answer[0]].partitions)
        return answer[0], dataclasses.replace(answer[1], partition=(right + 1) % 4)

    other = records[0]
    model = orjson.loads(held[planted.action["model"]][1].value or b"")["data"]["model"]

    def letter(name: str, **original: object) -> tuple[str, Sent]:
        partition, offset = planted.action[name]
        data = envelope["data"] | {"sourcePartition": partition, "sourceOffset": offset} | original
        return "user-actions-dlq", Sent(name.encode(), orjson.dumps(envelope | {"data": data}))

    envelope: dict[str, Any] = {
        "eventType": "DeadLetter",
        "eventId": "0",
        "timestamp": "2024-01-01T00:00:00Z",
        "version": 1,
        "source": "s",
        "correlationId": "c",
        "data": {
            "error": {"step": "decode", "reason": "r", "message": "m"},
            "retryCount": 0,
            "failedAt": "2024-01-01T00:00:00Z",
            "sourceTopic": "user-actions",
        },
    }
    no_decision = orjson.loads(held[planted.action["decision"]][1].value or b"")["data"]["decision"] is False
    forged = {
        "twice": held[planted.action["twice"]],
        "twice_again": held[planted.action["twice"]],
        "letter_too": held[planted.action["letter_too"]],
        "letter": letter("letter_too"),  # and holds no record at all
        "elsewhere": in_another_partition(held[planted.action["elsewhere"]]),
        "other_letter": letter("other_letter", originalEvent=orjson.Fragment(other.value or b""), originalBytes=None, originalKey=None),
        "score": edited("score", score=0.25),
        "decision": edited("decision", decision=no_decision),
        "features": edited("features", features=[1.0, 2.0]),
        "model": edited("model", model=model | {"sha256": "0" * 64}),
        "other_user": edited("other_user", userId="somebody"),
        "late_2": held[planted.action["late_2"]],
        "late": held[planted.action["late"]],
        "nowhere": edited("twice", actionOffset=10**6),
        "marker": edited("twice", actionOffset=max(offset for p, offset in places if p == planted.action["twice"][0]) + 1),
        "junk": ("predictions", Sent(b"junk", b"junk")),
    }
    planted.answer = dict(zip(forged, forger.send(forged.values()), strict=True))
    Archive(settings).follow_all()
    return audit(settings, settled=True), planted, settings


@pytest.mark.parametrize(
    ("name", "where", "kind", "answer", "says"),
    [
        ("unanswered", "user-actions", "unanswered", None, "expected one answer, got none"),
        ("twice", "user-actions", "answered_twice", None, "expected one answer, got 2: prediction in predictions"),
        ("letter_too", "user-actions", "answered_twice", None, "dead letter in user-actions-dlq"),
        ("score", "predictions", "changed_score", "score", "it says score 0.25, its features and model purchase_30m 1 give 0."),
        ("decision", "predictions", "changed_decision", "decision", "it says decision"),
        ("features", "predictions", "unusable_features", "features", "expected 29 numbers in features, got [1.0, 2.0]"),
        ("model", "predictions", "unknown_model", "model", "it says sha256 0000"),
        ("other_user", "predictions", "other_action", "other_user", "event id and user are not those of the action"),
        ("late", "predictions", "out_of_order", "late", "comes after that for the same user's later action"),
        ("nowhere", "predictions", "prediction_without_action", "nowhere", "where no action lies"),
        ("marker", "predictions", "prediction_without_action", "marker", "where no action lies"),
        ("elsewhere", "predictions", "other_partition", "elsewhere", "by its key, where it would be in order"),
        ("letter_too", "user-actions-dlq", "other_record", "letter", "are not those of the record that it answers"),
        ("other_letter", "user-actions-dlq", "other_record", "other_letter", "are not those of the record that it answers"),
        ("junk", "predictions", "unreadable_answer", "junk", "expected a prediction that names an action"),
    ],
)
def test_each_corruption_of_the_topics_is_found_and_named(
    broken: tuple[Report, Planted, Settings], name: str, where: str, kind: str, answer: str | None, says: str
) -> None:
    report, planted, _ = broken
    place = planted.action[name] if answer is None else planted.answer[answer]
    (finding,) = [one for one in found(report, where, kind) if (one.partition, one.offset) == place]
    assert says in finding.sentence


def test_nothing_else_is_found(broken: tuple[Report, Planted, Settings]) -> None:
    expected = Counter({("user-actions", "unanswered"): 1, ("user-actions", "answered_twice"): 2})
    expected["predictions", "prediction_without_action"] = expected["user-actions-dlq", "other_record"] = 2
    expected["predictions", "other_partition"] = 1
    alone = ("changed_score", "changed_decision", "unusable_features", "unknown_model", "other_action", "out_of_order", "unreadable_answer")
    expected.update({("predictions", kind): 1 for kind in alone})
    assert broken[0].findings.counts == expected


def test_the_command_prints_what_was_found(broken: tuple[Report, Planted, Settings], capsys: pytest.CaptureFixture[str]) -> None:
    report, planted, settings = broken
    assert main(settings, as_json=True, settled=True, wait_seconds=None) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["clean"]
    assert len(told["findings"]) == report.findings.total == 15
    assert {(one["where"], one["kind"]): one["count"] for one in told["finding_counts"]} == dict(report.findings.counts)
    assert main(settings, as_json=False, settled=True, wait_seconds=0.0) == 1
    out, err = capsys.readouterr()
    assert "15 findings" in out
    partition, offset = planted.action["unanswered"]
    assert f"topic user-actions, partition {partition}, offset {offset}: expected one answer, got none" in out
    assert "did not follow their topics within 0 s" in err  # no job has committed what it read
