"""Dead letters against a real broker: killed, repeated, two at a time, each is sent at most once and answered as if nothing had failed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from infra.config import Settings
from infra.contracts.replays import HEADER, Replay, encode_replay
from tests.brokers import empty_topics
from tests.integration.dlq.letters import KINDS, NOTES, Place, a_record, answers, committed, listing, send, sent_again
from tests.integration.dlq.replaying import BATCH, dlq, replaying
from tests.integration.dlq.scoring import Scorer

MEND = """
import json

def versions(event):
    if isinstance(event, dict) and event.get("version") == 2:
        event["version"] = 1
    return event

def all_but_hopeless(event):
    if isinstance(event, bytes):
        return b"{" + event if event.startswith(b'"') else None
    if isinstance(event, dict):
        event["data"].setdefault("userId", event["correlationId"])
        event["version"] = 1
    return event

def nothing(event):
    return None

def broken(event):
    return event["nowhere"]
"""


@pytest.fixture
def mend(tmp_path: Path) -> Path:
    file = tmp_path / "mend.py"
    file.write_text(MEND, "utf-8")
    return file


def a_log(settings: Settings, rng: random.Random, count: int) -> tuple[list[Place], set[Place]]:
    """Originals of every kind; answers all places and the hopeless ones."""
    kinds = [rng.choice(KINDS) for _ in range(count)]
    places = send(settings, [a_record(kind, number) for number, kind in enumerate(kinds)])
    return places, {place for place, kind in zip(places, kinds, strict=True) if kind == "hopeless"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
def test_failures_repairs_kills_and_replays_answer_what_the_run_without_failures_answers(
    settings: Settings, out: Path, mend: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    rounds, count = (40, 300) if request.config.getoption("--full") else (6, 60)
    places, hopeless = a_log(settings, random.Random(seed), count)
    scorer = Scorer(settings)
    scorer.run()
    dlq(settings, out, "replay", "--all", "--yes", "--edit", f"{mend}:all_but_hopeless")
    scorer.run()
    expected = answers(settings)
    assert expected.keys() == set(places) - hopeless
    empty_topics(settings)

    rng = random.Random(seed)
    assert a_log(settings, rng, count) == (places, hopeless)
    scorer = Scorer(settings)
    for _ in range(rounds):
        scorer.run(rng)
        if rng.random() < 0.2:
            continue
        edit = rng.choice([[], ["--edit", f"{mend}:versions"], ["--edit", f"{mend}:all_but_hopeless"], ["--edit", f"{mend}:broken"]])
        limit = rng.choice([[], ["--limit", str(rng.randint(1, 20))]])
        arguments = ["replay", "--all", "--yes", *edit, *limit]
        fate = rng.choice(["ends", "killed", "killed before its commit", "killed after its commit", "two at once"])
        stop = {"killed before its commit": "produced", "killed after its commit": "committed"}.get(fate)
        with replaying(settings, out, *arguments, stop=stop) as process:
            if stop is not None:
                if process.stopped():
                    process.kill()
            elif fate == "killed":
                time.sleep(rng.uniform(0, 1.5))
                process.kill()
            elif fate == "two at once":
                with replaying(settings, out.with_suffix(".rival"), *arguments) as rival:
                    rival.ended()
                process.ended()
            else:
                process.ended()
    scorer.run(rng)
    for _ in range(10):
        dlq(settings, out, "replay", "--all", "--yes", "--quarantined", "--edit", f"{mend}:all_but_hopeless")
        if not scorer.run(rng):
            break
    assert answers(settings) == expected
    assert len(sent_again(settings)) > len(expected) / 2


def test_the_check_above_sees_an_original_with_two_successors(settings: Settings, out: Path) -> None:
    (first, *_) = send(settings, [a_record("version", 0)])
    scorer = Scorer(settings)
    scorer.run()
    assert answers(settings) == {}
    dlq(settings, out, "replay", "--all", "--yes", "--edit", 'lambda event: {**event, "version": 1}')
    scorer.run()
    assert answers(settings).keys() == {first}
    send(settings, [a_record("good", 0)], headers=[(HEADER, encode_replay(Replay(*first, 2)))])
    scorer.run()
    with pytest.raises(AssertionError):
        answers(settings)


def replay_killed(settings: Settings, out: Path, stop: str) -> tuple[list[Place], Scorer]:
    """Three batches of letters, whose replay was killed in the first; where the originals lie, and who answers."""
    places = send(settings, [a_record("stray", number) for number in range(3 * BATCH)])
    scorer = Scorer(settings)
    scorer.run()
    with replaying(settings, out, "replay", "--all", "--yes", stop=stop) as process:
        assert process.stopped()
        process.kill()
    return places, scorer


def test_a_replay_that_was_killed_before_its_commit_sent_nothing_and_the_next_one_sends_all(settings: Settings, out: Path) -> None:
    places, scorer = replay_killed(settings, out, "produced")
    assert (committed(settings, NOTES), sent_again(settings)) == ([], {})
    assert listing(settings, out)["open"] == 3 * BATCH
    assert "15 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    assert scorer.run() == 3 * BATCH
    assert answers(settings).keys() == set(places)
    found = listing(settings, out)
    assert (found["open"], found["sent_again"], found["accepted"]) == (0, 3 * BATCH, 3 * BATCH)


def test_a_replay_that_was_killed_after_a_commit_is_gone_on_with(settings: Settings, out: Path) -> None:
    places, scorer = replay_killed(settings, out, "committed")
    assert len(sent_again(settings)) == BATCH
    assert "10 sent again" in dlq(settings, out, "replay", "--all", "--yes")
    assert "nothing to send" in dlq(settings, out, "replay", "--all", "--yes")
    scorer.run()
    assert answers(settings).keys() == set(places)


@pytest.mark.parametrize("stop", ["produced", "committed"])
def test_of_two_at_once_the_later_one_takes_over(settings: Settings, out: Path, stop: str) -> None:
    places = send(settings, [a_record("stray", number) for number in range(3 * BATCH)])
    scorer = Scorer(settings)
    scorer.run()
    with replaying(settings, out, "replay", "--all", "--yes", stop=stop) as first:
        assert first.stopped()
        dlq(settings, out.with_suffix(".rival"), "replay", "--all", "--yes")
        first.go_on()
        assert first.ended() == 1
        assert "another `dlq replay` was started and took over" in first.said()
    scorer.run()
    assert answers(settings).keys() == set(places)
    assert len(sent_again(settings)) == 3 * BATCH
