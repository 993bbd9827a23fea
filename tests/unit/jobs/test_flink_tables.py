"""What a sink promises is what the settings say: in transactions, or without them."""

from __future__ import annotations

from infra.config import load_settings
from jobs.flink import tables


def test_a_sink_is_exactly_once_in_transactions_of_its_own_name() -> None:
    told = tables.sink(load_settings({}), "predictions", "predictions", 1000)
    assert "'sink.delivery-guarantee' = 'exactly-once'" in told
    assert "'sink.transactional-id-prefix' = 'streamhouse-predictions'" in told
    assert "'properties.transaction.timeout.ms' = '3600000'" in told


def test_a_sink_that_is_at_least_once_has_no_transactions() -> None:
    settings = load_settings({"STREAMHOUSE_SCORE_EVENTS_DELIVERY": "at-least-once"})
    told = tables.sink(settings, "predictions", "predictions", 1000)
    assert "'sink.delivery-guarantee' = 'at-least-once'" in told
    assert "transaction" not in told
