"""Where Feast looks for its tables: wherever the settings put the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from features.apply import write_configuration
from infra.config import Settings, load_settings


def sources(settings: Settings) -> dict[str, Any]:
    from feast import FeatureView

    from features.definitions import definitions

    found: list[Any] = [definition.batch_source for definition in definitions(settings) if isinstance(definition, FeatureView)]
    return {f"{source.namespace}.{source.iceberg_table}": source for source in found}


@pytest.mark.parametrize("rest", [False, True])
def test_every_batch_source_follows_the_lake_of_the_settings(tmp_path: Path, rest: bool) -> None:
    lake = {"STREAMHOUSE_LAKE_REST_URI": "http://127.0.0.1:1", "STREAMHOUSE_LAKE_WAREHOUSE_URI": "file:///lake/warehouse"} if rest else {}
    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_LAKE_NAMESPACE": "shop", **lake})
    found = sources(settings)
    assert set(found) == {"shop.feature_log", "shop.user_profiles"}
    for source in found.values():
        assert source.warehouse == settings.lake.warehouse
        assert source.catalog_name == settings.lake.catalog
        if rest:
            assert (source.catalog_type, source.endpoint, source.catalog_properties) == ("rest", "http://127.0.0.1:1", {})
        else:
            assert (source.catalog_type, source.endpoint) == ("sql", "")
            assert source.catalog_properties == {"uri": f"sqlite:///{settings.lake.database}"}


def test_every_batch_source_tells_when_its_rows_became_known(tmp_path: Path) -> None:
    """Without it the offline store would refuse; the column is one that the table has."""
    from lakehouse.tables import TABLES

    for name, source in sources(load_settings({"STREAMHOUSE_STATE": str(tmp_path)})).items():
        columns = [column.name for column in TABLES[name.partition(".")[2]].columns]
        assert {source.timestamp_field, source.created_timestamp_column} <= set(columns)


def test_another_lake_is_a_changed_definition(tmp_path: Path) -> None:
    from features.definitions import definitions

    here = load_settings({"STREAMHOUSE_STATE": str(tmp_path)})
    there = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_LAKE_REST_URI": "http://127.0.0.1:1"})
    digests = [{d.name: d.tags["definition"] for d in definitions(settings) if "definition" in d.tags} for settings in (here, there)]
    assert digests[0]["user_activity"] != digests[1]["user_activity"]


def test_feast_finds_registry_and_online_store_where_the_settings_say(tmp_path: Path) -> None:
    import yaml

    settings = load_settings({"STREAMHOUSE_STATE": str(tmp_path), "STREAMHOUSE_REDIS_HOST": "redis", "STREAMHOUSE_REDIS_PORT": "7777"})
    written = yaml.safe_load(write_configuration(settings).read_text("utf-8"))
    assert written["registry"]["path"] == str(tmp_path / "feast" / "registry.db")
    assert written["online_store"]["connection_string"] == "redis:7777"
