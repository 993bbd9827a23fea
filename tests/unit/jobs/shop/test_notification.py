"""What users are told: once for each event while the file's end tells, whatever a crash left there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.patterns.message import Envelope, Message, derived_id
from jobs.patterns.recorded import Recorded
from jobs.patterns.subscriber import Batch
from jobs.shop import notification
from jobs.shop.messages import OrderCancelled, OrderShipped
from jobs.shop.notification import REMEMBERED, Notifying

AT = 1_710_325_333_000


def an_event(number: int, data: Message | None = None) -> Recorded:
    data = data or OrderShipped(f"o{number}", "u")
    return Recorded(Envelope(derived_id("test", str(number)), AT, "test", "c", data), "orders", 0, number, AT)


def batch(*events: Recorded) -> Batch:
    return Batch(events, {}, {})


def begun(file: Path) -> Notifying:
    notifying = Notifying(file)
    assert notifying.begin({("orders", 0): (0, 9)}) == {}
    return notifying


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_each_end_of_an_order_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "state" / "notifications.jsonl"
    begun(file).handle(batch(an_event(1), an_event(2, OrderCancelled("o2", "u", "out of stock: pen", 1_250))))
    shipped, cancelled = lines(file)
    assert (shipped["status"], shipped["orderId"], shipped["userId"], shipped["at"]) == ("shipped", "o1", "u", "2024-03-13T10:22:13.000Z")
    assert cancelled["text"] == "Your order o2 was cancelled: out of stock: pen. 12.50 went back into your wallet."


def test_what_comes_again_is_not_told_again_by_the_same_process_or_the_next(tmp_path: Path) -> None:
    file = tmp_path / "notifications.jsonl"
    first = begun(file)
    first.handle(batch(an_event(1), an_event(2)))
    first.handle(batch(an_event(2), an_event(3)))
    begun(file).handle(batch(an_event(1), an_event(3), an_event(4)))
    assert [line["orderId"] for line in lines(file)] == ["o1", "o2", "o3", "o4"]


@pytest.mark.parametrize("left", range(1, 40, 13))
def test_a_line_that_a_crash_cut_off_is_written_anew(tmp_path: Path, left: int) -> None:
    file = tmp_path / "notifications.jsonl"
    begun(file).handle(batch(an_event(1), an_event(2)))
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"\n") + 1 + left])
    begun(file).handle(batch(an_event(1), an_event(2), an_event(3)))
    first, cut, *rest = file.read_bytes().split(b"\n")
    assert whole.startswith(first + b"\n" + cut)
    assert [json.loads(line)["orderId"] for line in rest[:-1]] == ["o2", "o3"]


def test_only_the_last_lines_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "notifications.jsonl"
    notifying = begun(file)
    notifying.handle(batch(*(an_event(number) for number in range(REMEMBERED + 1))))
    for again in (notifying, begun(file)):
        again.handle(batch(an_event(1), an_event(REMEMBERED)))
        assert len(lines(file)) == REMEMBERED + 1
    begun(file).handle(batch(an_event(0)))
    assert len(lines(file)) == REMEMBERED + 2
    monkeypatch.setattr(notification, "_TAIL_BYTES", 10)
    begun(file).handle(batch(an_event(0)))
    assert len(lines(file)) == REMEMBERED + 3
