"""A file that is replaced is the one before or the new one, and a failure leaves nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.whole_files import write_whole


def test_the_last_one_stays_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "made" / "state.json"
    write_whole(file, "one")
    write_whole(file, "two")
    assert [(path.name, path.read_text("utf-8")) for path in file.parent.iterdir()] == [("state.json", "two")]


def test_what_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_whole(file, "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "two \ud800")
    assert [(path.name, path.read_text("utf-8")) for path in tmp_path.iterdir()] == [("state.json", "one")]
