"""The report's page: its verdict, its escaping, its dashes, and the same bytes each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import msgspec
import numpy as np
import pytest

from infra.config import ROOT
from jobs.backtest.figures import PLOTS, svg
from jobs.backtest.page import About, Identity, page, verdict
from models.compared import Comparison, Estimate
from models.comparison import DAY, Scored, compare

HOSTILE = "<script>alert('$x^$')</script>\"&\u202e\n\x00"
VOID = {"meta", "br"}


def scored(champion: float, candidate: float, n: int = 3000, values: tuple[str | None, ...] = ("web", "app", None)) -> Scored:
    """Actions of which each model sees the truth through so much noise."""
    random = np.random.default_rng(0)
    leaning = random.normal(size=n) - 1.5
    models = [(1 / (1 + np.exp(-leaning - amount * random.normal(size=n)))).astype(np.float32) for amount in (champion, candidate)]
    return Scored(
        user=random.integers(0, 150, n),
        time=1_714_564_800_000 + np.sort(random.integers(0, 5 * DAY, n)),
        label=random.random(n) < 1 / (1 + np.exp(-leaning)),
        champion=models[0],
        candidate=models[1],
        champion_yes=models[0] >= 0.4,
        candidate_yes=models[1] >= 0.4,
        segments={"platform": [values[i] for i in random.integers(0, len(values), n)]},
    )


def compared(rows: Scored, name: str = "buys@2") -> Comparison:
    return compare(rows, "buys@1", name, seed=1, resamples=30)


def about(comparison: Comparison, text: str = "ada") -> About:
    return About(
        title=f"Backtest of {text}",
        outcome="the user purchases",
        tag=text,
        snapshots={"user_actions": 8_123_456_789_012_345_678, text: 2},
        first=1_714_564_800_000,
        last=None,
        champion_sha256="a" * 64,
        candidate_sha256="b" * 64,
        folded=1_234_567,
        left_out={text: 7, "label not known yet": 1200},
        learned_from=1234,
        learned_until=1_714_000_000_000,
        largest=[Identity(text, f"event-{change.index}", 1_714_564_800_000, text) for change in comparison.changes],
        command=f"./streamhouse backtest --candidate buys@2 --history {text}",
    )


class Tree(HTMLParser):
    """Checks that every element ends where it must, and keeps texts and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def worse() -> Comparison:
    return compared(scored(0.2, 2.0))


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(worse: Comparison) -> None:
    told = page(worse, about(worse))
    tree = Tree(told)
    assert tree.tags.count("svg") == len(PLOTS) == 7
    assert not {"script", "link", "img", "iframe", "object"} & set(tree.tags)
    for name, value in tree.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert (value or "").startswith("#")
    assert "url(http" not in told
    assert "@import" not in told
    # what an id is referred to by is there, once
    assert len(tree.ids) == len(set(tree.ids))
    assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", told)) <= set(tree.ids)
    text = " ".join(tree.texts)
    for expected in (
        "1,234,567",
        "8123456789012345678",
        "a" * 64,
        "./streamhouse backtest",
        "2024-05-01 12:00:00",
        "30 from seed 1",
        "1,200",
    ):
        assert expected in text
    # the verdict comes before every number, the history after
    assert told.index('class="verdict') < told.index("<table")
    assert told.rindex("</table") < told.index("./streamhouse backtest")


@pytest.mark.parametrize(
    ("noise", "better", "said"),
    [
        ((2.0, 0.2), "candidate", "The candidate buys@2 is better than the champion buys@1: average precision +0."),
        ((0.2, 2.0), "champion", "The candidate buys@2 is worse than the champion buys@1: average precision −0."),
        ((0.5, 0.5), "neither", "The candidate buys@2 and the champion buys@1 do not differ beyond noise: average precision "),
    ],
)
def test_the_verdict_names_the_planted_better_one(noise: tuple[float, float], better: str, said: str) -> None:
    comparison = compared(scored(*noise))
    assert comparison.better == better
    told = page(comparison, about(comparison))
    shown = re.search(rf'<p class="verdict {better}">(.*?)</p>', told)
    assert shown is not None
    assert shown[1] == verdict(comparison)
    assert shown[1].startswith(said)
    assert ("within noise" in shown[1]) == (better == "neither")
    metric = comparison.difference.average_precision
    assert f"{abs(metric.value or 0):.4f} (95 % interval" in shown[1]


def test_where_the_measures_disagree_the_verdict_says_so(worse: Comparison) -> None:
    up, down = Estimate(0.02, 0.01, 0.03), Estimate(-0.02, -0.03, -0.01)
    mixed = msgspec.structs.replace(
        worse, better="mixed", difference=msgspec.structs.replace(worse.difference, auc=down, average_precision=up)
    )
    assert "better than the champion buys@1 by one measure and worse by the other" in verdict(mixed)


def test_texts_from_the_data_stay_texts() -> None:
    rows = scored(0.5, 0.6, values=(HOSTILE, "</svg><b>", "日本 " * 30))
    comparison = compared(rows, name=HOSTILE)
    told = page(comparison, about(comparison, HOSTILE))
    tree = Tree(told)
    assert not {"script", "b"} & set(tree.tags)
    assert "\u202e" not in told
    assert "\x00" not in told
    assert "alert" in " ".join(tree.texts)
    told.encode()


def test_every_plot_is_xml() -> None:
    comparison = compared(scored(0.5, 0.6, values=(HOSTILE, "</svg><b>&amp;")))
    for plot in PLOTS:
        drawn = svg(plot, comparison)
        assert drawn is not None
        root = ElementTree.fromstring(drawn.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
        texts = [text for text in root.iter() if text.tag == "text"]
        assert len(texts) > 5
        # drawn in the page's own colour, not in black or in what stands for it
        assert "currentColor" in drawn
        assert not re.search(r"#010203|#040506|#000000", drawn)


def nothing() -> Scored:
    rows = scored(0.5, 0.5)
    empty: dict[str, Any] = {name: getattr(rows, name)[:0] for name in Scored.__dataclass_fields__ if name != "segments"}
    return Scored(**empty, segments={"platform": []})


@pytest.mark.parametrize("case", ["no rows", "no champion", "nobody buys", "constant", "one row", "no probabilities"])
def test_what_cannot_be_told_is_a_dash(case: str) -> None:
    rows = scored(0.5, 0.5)
    rows = {
        "no rows": nothing(),
        "no champion": replace(rows, champion=np.full(3000, np.nan, np.float32)),
        "nobody buys": replace(rows, label=np.zeros(3000, bool)),
        "constant": replace(rows, champion=np.full(3000, 0.25, np.float32)),
        "one row": scored(0.5, 0.5, 1),
        "no probabilities": replace(rows, champion=np.linspace(-3, 3, 3000, dtype=np.float32)),
    }[case]
    comparison = compared(rows)
    told = page(comparison, about(comparison))
    text = " ".join(Tree(told).texts)
    assert not re.search(r"\b(nan|None|null|inf)\b", text)
    if case not in ("constant", "no probabilities"):
        assert f"<td>{'–'}</td><td>{'–'}</td><td>{'–'}</td><td>–</td>" in told
        assert "Whether buys@2 is better than buys@1 cannot be told: " in told
        assert "These rows give nothing to draw." in text
    if case == "no probabilities":
        assert re.search(r"Brier score<br><small>less is better</small></td><td>–</td><td>0\.\d{4}", told)


def test_equal_input_gives_equal_bytes_whatever_the_surroundings(worse: Comparison) -> None:
    first = page(worse, about(worse))
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False, "timezone": "Asia/Tokyo", "lines.linewidth": 9}):
        assert page(worse, about(worse)) == first
    assert page(msgspec.json.decode(msgspec.json.encode(worse), type=Comparison), about(worse)) == first
    program = (
        "import sys; from tests.unit.jobs.backtest.test_page import *; "
        "c = compared(scored(0.2, 2.0)); sys.stdout.buffer.write(page(c, about(c)).encode())"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=120)
        assert done.stdout.decode() == first


def test_one_change_of_the_input_is_seen(worse: Comparison) -> None:
    other = msgspec.structs.replace(worse, seed=2)
    assert page(other, about(other)) != page(worse, about(worse))


def test_many_values_and_days_are_drawn_in_bounds() -> None:
    rows = scored(0.5, 0.6)
    time = rows.time[0] + np.arange(3000) // 10 * DAY
    many = replace(rows, time=time, segments={f"segment {i}": [f"value {i * j % 40}" for j in range(3000)] for i in range(1, 5)})
    comparison = compared(many)
    told = page(comparison, about(comparison))
    assert told.count("segment 1: ") > 40
    assert len(comparison.days) == 300
    assert len(told) < 2_000_000
