from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Text

from jobs.patterns.projection import Part, Projection, moment, storable
from jobs.shop.order_summaries import ORDER_SUMMARIES


@pytest.mark.parametrize("name", ["Orders", "orders_v2", "orders-late", "orders_", "", "a" * 41])
def test_a_name_that_could_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name of small letters and _"):
        Projection(name, 1, ["orders"], [], [Part(lambda: [Column("id", Text, primary_key=True)], lambda _: None, lambda row, _: row)])


def test_tables_bear_the_version_and_the_view_does_not() -> None:
    assert [table.name for table in ORDER_SUMMARIES.tables] == ["order_summaries_v1"]
    assert ORDER_SUMMARIES.view.name == "order_summaries"
    assert ORDER_SUMMARIES.view.columns.keys() == ORDER_SUMMARIES.tables[0].columns.keys()


def test_every_column_says_what_it_holds_and_in_what() -> None:
    for column in ORDER_SUMMARIES.tables[0].columns:
        assert column.comment is not None
        assert column.comment.rstrip(".")[-1] == ")"


def test_times_are_to_the_millisecond_and_in_utc() -> None:
    assert moment(1_710_000_000_123) == datetime(2024, 3, 9, 16, 0, 0, 123_000, tzinfo=UTC)
    assert moment(-(10**18)) == datetime(1, 1, 1, tzinfo=UTC)
    assert moment(10**18).year == 9999


def test_what_postgresql_refuses_in_a_text_has_a_symbol() -> None:
    assert storable("a\0b") == "a␀b"
    assert storable("ä") == "ä"
