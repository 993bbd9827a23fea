from __future__ import annotations

import pytest

from features.activity import FEATURES
from infra.contracts.load import load_contracts
from jobs.archive_columns import ARCHIVED
from lakehouse.errors import LakehouseError
from lakehouse.iceberg import iceberg_schema, partition_spec
from lakehouse.tables import ARCHIVES, FEATURE_LOG, TABLES, declared


def test_every_topic_has_its_archive_table() -> None:
    topics = [topic for topic in load_contracts().topics.values() if topic.table is not None]
    assert set(ARCHIVES) == {topic.archive for topic in topics}
    for topic in topics:
        table = declared(topic.archive)
        assert table.owner == topic.owner
        assert table.columns[:2] == TABLES["user_actions"].columns[:2]
        assert [column.name for column in table.columns[2:5]] == ["key", "value", "headers"]
        by = "month" if topic.name in ARCHIVED["archive_shop"] else "day"
        assert table.partition == (("topic_partition", "identity"), ("event_time", by))


def test_the_feature_log_holds_the_features_that_the_fold_makes() -> None:
    assert [column.name for column in FEATURE_LOG.columns[8:]] == list(FEATURES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_everything_in_it_means(name: str) -> None:
    table = TABLES[name]
    assert table.name == name
    assert all((table.doc, table.owner, table.retention))
    assert all(column.doc.endswith(".") and column.unit for column in table.columns)
    assert len({column.name for column in table.columns}) == len(table.columns)
    schema = iceberg_schema(table)
    assert len(partition_spec(table, schema).fields) == len(table.partition)
    assert table.all_properties["format-version"] == "2"
    assert table.all_properties["write.parquet.compression-codec"] == "zstd"


def test_an_undeclared_table_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(LakehouseError, match=r"table `clicks`: expected one of account_commands_dlq, accounts, .*feature_log"):
        declared("clicks")
