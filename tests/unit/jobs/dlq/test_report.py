"""What people read of dead letters: whole at 80 columns, and nothing in a record drives their terminal."""

from __future__ import annotations

import pytest

from jobs.dlq import report
from jobs.dlq.chains import chained
from jobs.dlq.letters import Letter, Original
from jobs.dlq.notes import Note


def a_letter(offset: int, reason: str = "timestamp_out_of_window", step: str = "validate") -> Letter:
    return Letter((1, offset), (0, offset), step, reason, "1", "timestamp \x1b[31mred", 1_710_325_333_000 + offset)


CHAINS = chained(
    [a_letter(1_234_567), a_letter(7), a_letter(8), a_letter(90)], [Note((1, 8), (1, 8), (1, 90), 1, edited=True, kafka_ms=0)], 2
)


def test_a_listing_fits_80_columns_and_keeps_what_the_options_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report.show_listing(CHAINS)
    said = capsys.readouterr().out
    table = said.split("3 open;")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "validate" in table
    assert "timestamp_out_of_window" in table
    assert "1:1234567" in table
    assert "3 open; 1 sent again (0 accepted, 1 refused again, 0 not answered yet); 0 quarantined" in said
    assert "2 records of the topics are no dead letter and no note" in said


def test_markup_and_escapes_of_a_record_are_printed_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    report.show_listing(chained([a_letter(7, reason="[bold]x[/nothing]\x1b[2J", step="\x07")], []))
    report.show_one(CHAINS, (1, 7), Original(b"\xff" * 40, b"[red]\x1b]0;title\x07 \xe2\x80\xae" + b"x" * 5000))
    said = capsys.readouterr().out
    assert "[red]\\x1b]0;title\\x07 \\u202e" in said
    assert "timestamp \\x1b[31mred" in said
    assert "ffffffff ffffffff" in said
    assert "characters more; --json prints all" in said
    assert not {c for c in said if not c.isprintable()} - {"\n"}


def test_a_listing_for_programs_has_the_same_numbers() -> None:
    found = report.listing(CHAINS)
    assert {name: found[name] for name in ("open", "sent_again", "refused_again", "unreadable")} == {
        "open": 3,
        "sent_again": 1,
        "refused_again": 1,
        "unreadable": 2,
    }
    (group,) = found["groups"]
    assert (group["count"], group["first"], group["example"]) == (3, "2024-03-13T10:22:13.007Z", "1:1234567")


def test_the_history_tells_each_link_from_whichever_is_asked() -> None:
    for place in ((1, 8), (1, 90)):
        first, second = report.history(CHAINS, place)
        assert (first["place"], first["sent_again"]["as"], first["sent_again"]["edited"]) == ("1:8", "1:90", True)
        assert (second["place"], second["retry_count"], second["refused"]["reason"]) == ("1:90", 1, "timestamp_out_of_window")
    assert report.history(CHAINS, (0, 0)) == []


@pytest.mark.parametrize(
    ("content", "readable"),
    [
        (None, None),
        (b'{"a":1}', {"json": {"a": 1}}),
        (b"[1]", {"text": "[1]"}),
        (b"\xff", {"base64": "/w=="}),
    ],
)
def test_a_record_is_told_as_json_text_or_base64(content: bytes | None, readable: object) -> None:
    told = report.one(CHAINS, (1, 7), Original(None, content))
    assert told["record"] == {"key": None, "value": readable}
    assert told["state"] == "open"
