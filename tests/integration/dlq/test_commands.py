"""What the commands make of dead letters on a real broker, and say of them: quarantine, rehearsal, edits, forgeries, missing topics."""

from __future__ import annotations

import json
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from infra.config import Settings
from infra.contracts.replays import HEADER, Replay, encode_replay
from tests.integration.dlq.letters import (
    KINDS,
    NOTES,
    a_record,
    answers,
    committed,
    listing,
    original_of,
    send,
    sent_again,
    values,
)
from tests.integration.dlq.replaying import BATCH, dlq, replaying
from tests.integration.dlq.scoring import Scorer


def test_a_letter_is_quarantined_when_it_was_sent_so_often_and_sent_again_only_if_asked_for(settings: Settings, out: Path) -> None:
    (place,) = send(settings, [a_record("hopeless", 0)])
    scorer = Scorer(settings)
    scorer.run()
    for _ in range(settings.dlq.max_retries):
        assert "1 sent again" in dlq(settings, out, "replay", "--all", "--yes")
        scorer.run()
    assert "1 would be quarantined" in dlq(settings, out, "replay", "--all", "--dry-run")
    assert "1 quarantined: sent again 3 times already" in dlq(settings, out, "replay", "--all", "--yes")
    found = listing(settings, out)
    assert (found["open"], found["quarantined"], found["refused_again"], found["groups"]) == (0, 1, 3, [])
    assert "1 are quarantined; --quarantined sends them too" in dlq(settings, out, "replay", "--all", "--yes")
    (note,) = [note for note in values(settings, NOTES) if "replayOffset" not in note]
    assert original_of(note) == (place, 3)

    shown = json.loads(dlq(settings, out, "show", f"{place[0]}:{place[1]}", "--json"))
    assert [link["retry_count"] for link in shown["history"]] == [0, 1, 2, 3]
    assert "quarantined" in shown["history"][-1]
    assert shown["record"]["value"] == {"base64": "/zA="}

    assert "1 sent again" in dlq(
        settings, out, "replay", "--all", "--yes", "--quarantined", "--edit", f"lambda event: {a_record('good', 0)[1]!r}"
    )
    scorer.run()
    assert answers(settings).keys() == {place}
    assert listing(settings, out)["accepted"] == 1


def test_a_dry_run_says_what_would_be_accepted_and_sends_nothing(settings: Settings, out: Path) -> None:
    send(settings, [a_record(kind, number) for number, kind in enumerate(KINDS * 3)])
    Scorer(settings).run()
    said = dlq(settings, out, "replay", "--all", "--dry-run")
    assert "3 would be accepted now, 12 refused again; nothing was sent" in said  # the strays
    assert "3 by validate: unknown_version" in said
    said = dlq(settings, out, "replay", "--version", "2", "--dry-run", "--edit", 'lambda event: {**event, "version": 1}')
    assert "3 would be accepted now, 0 refused again" in said
    said = dlq(
        settings, out, "replay", "--step", "decode", "--dry-run", "--edit", "lambda event: event if isinstance(event, dict) else None"
    )
    assert "6 left out: the edit left it out" in said
    assert (sent_again(settings), committed(settings, NOTES)) == ({}, [])


def test_an_edit_that_fails_names_the_place_and_stops_before_its_transaction(settings: Settings, out: Path) -> None:
    places = send(settings, [a_record("version", number) for number in range(0, 10 * BATCH, 5)])  # of one user
    Scorer(settings).run()
    edit = f"lambda event: {{**event, 'version': 1}} if event['eventId'][-3:] != '{5 * (BATCH + 2):03d}' else event['nowhere']"
    with replaying(settings, out, "replay", "--all", "--yes", "--edit", edit) as process:
        assert process.ended() == 1
        place = places[BATCH + 2]
        assert f"--edit failed for {place[0]}:{place[1]}: KeyError: 'nowhere'" in process.said()
        assert f"{BATCH} letters were sent before" in process.said()
    assert len(sent_again(settings)) == BATCH


def test_a_forged_header_deceives_nobody(settings: Settings, out: Path) -> None:
    """Records that claim to be replays of a record that was accepted, and of one that was refused."""
    accepted, refused = send(settings, [a_record("good", 0), a_record("stray", 1)])
    forged = []
    for original in (accepted, refused):
        forged += send(settings, [a_record("version", 2)], headers=[(HEADER, encode_replay(Replay(*original, 3)))])
    forged += send(settings, [a_record("version", 2)], headers=[(HEADER, b'{"partition":0,"offset":9223372036854775808,"retryCount":-1}')])
    scorer = Scorer(settings)
    assert scorer.run() == 5
    assert listing(settings, out)["open"] == 4
    assert "4 sent again" in dlq(settings, out, "replay", "--all", "--yes", "--edit", 'lambda event: {**event, "version": 1}')
    scorer.run()
    again = {original for original, retries in sent_again(settings).values() if retries == 1}
    assert again == {refused, *forged}
    assert listing(settings, out)["accepted"] == 4


def test_nothing_is_sent_while_a_strangers_transaction_hides_the_notes(settings: Settings, out: Path) -> None:
    send(settings, [a_record("stray", 0)])
    Scorer(settings).run()
    stranger = Producer({**settings.kafka.client(), "transactional.id": "stranger"})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    stranger.produce(NOTES, b"no note", partition=0)
    assert stranger.flush(30) == 0
    with replaying(settings, out, "replay", "--all", "--yes") as process:
        assert process.ended() == 1
        assert "expected no open transaction, got one at offset 0 that is not of this command" in process.said()
    stranger.commit_transaction(30)
    assert "1 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    found = listing(settings, out)
    assert (found["sent_again"], found["unreadable"]) == (1, 1)


def test_topics_that_are_missing_are_named_with_their_remedy(settings: Settings, out: Path) -> None:
    client = AdminClient(dict(settings.kafka.client()))
    client.delete_topics([NOTES])[NOTES].result(20)
    with replaying(settings, out, "list") as process:
        assert process.ended() == 1
        assert "expected topic user-actions-replays, which it does not have; run `./streamhouse apply`" in " ".join(process.said().split())
