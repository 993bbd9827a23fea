"""What the meter found stays until somebody says that it is known, and is said in few words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from infra.config import Settings, load_settings
from infra.stack import measured
from infra.stack.measured import Differs, Doing, Kept, Measured

NOW = 1_704_067_200_000
ALL = "1,234 predictions (every 20th user) are as the log gives them"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"STREAMHOUSE_STATE": str(tmp_path)})


def differs(field: str, offset: int) -> Differs:
    return Differs(field, "u", 1, offset, "3", "4", "the online store served another than the log gives")


def of(settings: Settings) -> Kept:
    kept = measured.known(settings)
    assert kept is not None
    return kept


def test_what_is_added_is_summed_and_the_first_differences_of_each_field_are_kept(settings: Settings) -> None:
    assert measured.known(settings) is None
    assert measured.add(settings, Measured(measured=10, equal=10), Doing(NOW)) == []
    for number in range(4):
        some = [differs("score", 2 * number), differs("user_activity:actions_1h", 2 * number), differs("score", 2 * number + 1)]
        found = Measured(measured=5, equal=3, not_measured=1, counts=Counter({"score": 2, "user_activity:actions_1h": 1}), first=some)
        new = measured.add(settings, found, Doing(NOW + 1000 * number, behind=2.5, waits="no"))
        assert new == (some if number < 2 else [some[0], some[1]] if number == 2 else [some[1]])
    total = of(settings).measured
    assert (total.since_ms, total.measured, total.equal, total.not_measured, total.differ) == (NOW, 30, 22, 4, 8)
    assert total.counts == {"score": 8, "user_activity:actions_1h": 4}
    assert [one.offset for one in total.first if one.field == "score"] == [0, 1, 2, 3, 4]
    assert of(settings).doing == Doing(NOW + 3000, 2.5, "no")


def test_the_alarm_names_a_feature_rather_than_the_score_that_follows_from_it() -> None:
    assert Measured(measured=5, equal=5).alarm is None
    found = Measured(measured=1234, equal=1232, first=[differs("score", 7), differs("user_activity:actions_1h", 77)])
    said = "2 of 1,234 measured predictions differ: user_activity:actions_1h (user u, action 1:77, served 3, the log gives 4)"
    assert found.alarm == said
    assert found.first[1].sentence == (
        "user_activity:actions_1h: user u, action 1:77, served 3, the log gives 4; the online store served another than the log gives"
    )


def test_what_is_cleared_counts_anew(settings: Settings) -> None:
    assert measured.clear(settings, NOW).measured == 0
    measured.add(settings, Measured(measured=5, equal=4, first=[differs("score", 7)]), Doing(NOW))
    assert measured.clear(settings, NOW + 5).differ == 1
    assert of(settings).measured == Measured(since_ms=NOW + 5)
    measured.add(settings, Measured(measured=2, equal=2), Doing(NOW + 6))
    assert (of(settings).measured.measured, of(settings).measured.alarm) == (2, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"since_ms": 1}'])
def test_a_file_that_is_spoilt_begins_anew(settings: Settings, text: str) -> None:
    settings.jobs_folder.mkdir(parents=True)
    (settings.jobs_folder / "meter.json").write_text(text, "utf-8")
    assert measured.known(settings) is None
    measured.add(settings, Measured(measured=1, equal=1), Doing(NOW))
    assert of(settings).measured.measured == 1


@pytest.mark.parametrize(
    ("doing", "every", "line"),
    [
        (Doing(NOW, 20.0), 20, ALL),
        (Doing(NOW, 420.0), 1, f"{ALL.replace('20th', '1st')}; the meter is 7 minutes behind"),
        (Doing(NOW - 600_000), 12, f"{ALL.replace('20th', '12th')}; the meter is 10 minutes behind"),
        (Doing(NOW, waits="no broker"), 22, "nothing is measured: no broker"),
    ],
)
def test_a_line_for_people(doing: Doing, every: int, line: str) -> None:
    assert Kept(Measured(), Doing(NOW)).line(20, NOW) == "no prediction of every 20th user to measure yet"
    assert Kept(Measured(measured=1234, equal=1234), doing).line(every, NOW) == line
