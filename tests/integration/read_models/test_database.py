"""The SQLite file under processes that have it open."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.config import load_settings
from jobs.patterns.database import open_database, reading, writing


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
    finally:
        reader.dispose()
        writer.dispose()
