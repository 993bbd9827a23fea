"""The SQLite file under processes that have it open."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.config import load_settings
from jobs.patterns.database import open_database, reading, writing


def _move_another_over(file: Path, folder: Path) -> None:
    """A backup of another time, larger than the log of the file that it replaces."""
    other = folder / "backup.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE filler (text TEXT)")
        connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 500,)] * 200)
        connection.execute("CREATE TABLE names (name TEXT)")
        connection.execute("INSERT INTO names VALUES ('third')")
        connection.commit()
    other.replace(file)


def test_a_file_that_was_deleted_or_replaced_is_read_no_more(tmp_path: Path) -> None:
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    reader, writer = open_database(settings), open_database(settings)

    def write(name: str) -> None:
        with writing(writer) as connection:
            connection.execute(text("CREATE TABLE names (name TEXT)"))
            connection.execute(text("INSERT INTO names VALUES (:name)"), {"name": name})

    def read() -> str:
        with reading(reader) as connection:
            return str(connection.execute(text("SELECT name FROM names")).scalar_one())

    try:
        write("first")
        assert read() == "first"
        for file in settings.read_models.folder.glob(f"{settings.read_models.file.name}*"):
            file.unlink()
        with pytest.raises(OperationalError, match="no such table"):
            read()
        write("second")
        assert read() == "second"
        _move_another_over(settings.read_models.file, tmp_path)
        with ThreadPoolExecutor(4) as threads:  # more connections than one, of two processes as it were
            assert set(threads.map(lambda _: read(), range(40))) == {"third"}
        with writing(writer) as connection:
            connection.execute(text("UPDATE names SET name = 'fourth'"))
        assert read() == "fourth"
        with reading(reader) as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    finally:
        reader.dispose()
        writer.dispose()
