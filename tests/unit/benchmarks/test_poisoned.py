"""A poisoned stream is 5 % bad and holds every kind; a run that lost too much speed says so."""

from __future__ import annotations

from collections import Counter

import orjson

from infra.config import ROOT
from infra.contracts.load import load_contracts
from jobs.chaos.actions import BROKEN, DRIFTED
from jobs.clickstream import open_clickstream
from tests.benchmarks.actions import Section, records, section_rows
from tests.benchmarks.drain import Drain
from tests.benchmarks.poisoned import STREAMS, Report
from tests.benchmarks.streams import MEGABYTES, kinds, poisoned, with_megabytes

TOPIC = load_contracts().topics["user-actions"]
CLEAN = list(records(section_rows(open_clickstream(ROOT / "data" / "shop_clickstream.csv.gz"), Section("a", 2000)), TOPIC.partitions))
DATED_BY_THE_CLOCK = "ten_years_ahead"


def test_a_poisoned_stream_is_5_percent_bad_of_every_kind_and_the_same_each_time() -> None:
    sent, again = (list(poisoned(CLEAN, TOPIC, 7, kinds(TOPIC))) for _ in range(2))
    assert [one for one in sent if one.kind != DATED_BY_THE_CLOCK] == [one for one in again if one.kind != DATED_BY_THE_CLOCK]
    assert [one.reason is not None for one in sent] == [one is not clean for one, clean in zip(sent, CLEAN, strict=True)]
    bad = Counter(one.kind.split("/")[0] for one in sent if one.reason is not None)
    assert bad.total() == 100
    assert bad.keys() == {*DRIFTED, *BROKEN, "example"}
    assert max(bad[kind] for kind in (*DRIFTED, *BROKEN)) - min(bad[kind] for kind in (*DRIFTED, *BROKEN)) <= 1


def test_good_and_bad_megabytes_are_as_many_and_as_large() -> None:
    bad, good = list(poisoned(CLEAN, TOPIC, 7, MEGABYTES)), list(with_megabytes(CLEAN, 7, 1_000_000))
    large = [[i for i, one in enumerate(sent) if len(one.value or b"") > 1_000_000 - 1] for sent in (bad, good)]
    assert large[0] == large[1]
    assert len(large[0]) == 100
    assert {bad[i].kind for i in large[0]} == set(MEGABYTES)
    for i, one in enumerate(good):
        event = orjson.loads(one.value or b"")
        event.pop("attachment", None)
        assert (orjson.dumps(event), one.reason) == (CLEAN[i].value, None)
        assert len(one.value or b"") < TOPIC.max_message_bytes


def a_report(poisoned_seconds: list[float]) -> Report:
    drains = {stream: [Drain(1000, 10**6, 1.0, 1.0, {"worker": 1.0}, {"worker": 1}) for _ in poisoned_seconds] for stream in STREAMS}
    drains["poisoned"] = [Drain(1000, 10**6, seconds, seconds, {"worker": 2.0}, {"worker": 1}) for seconds in poisoned_seconds]
    return Report({}, drains, {"prediction": 4000})


def test_the_median_round_must_keep_what_is_demanded() -> None:
    assert a_report([1.0, 1.1, 5.0]).too_slow(0.9) == []
    assert a_report([1.0, 1.25, 5.0]).too_slow(0.9) == [
        "poisoned / clean, records/s: the median of 3 rounds is 0.80, expected at least 0.90"
    ]
