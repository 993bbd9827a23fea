"""Events as OpenLineage's own classes take them, from what is declared here."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde

from infra.config import load_settings
from infra.contracts.load import load_contracts
from jobs.lineage.data import Data, file, model, table, topic
from jobs.lineage.event import PRODUCER, run_event
from jobs.lineage.told import COMPLETE, FAIL, START, Told
from lakehouse.tables import TABLES, declared

SETTINGS = load_settings({"STREAMHOUSE_KAFKA_PORT": "19999", "STREAMHOUSE_STATE": "/nowhere/state"})
RUN = "00000000-0000-4000-8000-000000000001"
# each class of the client that makes a facet, by the schema that it names
FACETS = {
    made._get_schema(): made
    for _, module in inspect.getmembers(facet_v2, inspect.ismodule)
    for _, made in inspect.getmembers(module, inspect.isclass)
    if hasattr(made, "_get_schema")
}


def told(state: str = START, reads: tuple[Data, ...] = (), writes: tuple[Data, ...] = (), error: str = "") -> dict[str, Any]:
    """An event as it is sent."""
    event: dict[str, Any] = json.loads(Serde.to_json(run_event(Told(state, 0, RUN, "streamhouse", "a job", reads, writes, error=error))))
    return event


def check_facets(facets: dict[str, Any]) -> None:
    """Each is one that the client knows, with all that it demands and nothing else."""
    for facet in facets.values():
        fields = {name: value for name, value in facet.items() if name not in ("_producer", "_schemaURL")}
        assert facet["_producer"] == PRODUCER
        FACETS[facet["_schemaURL"]](**fields)


def test_an_event_is_what_the_client_demands() -> None:
    event = told(FAIL, (topic(SETTINGS, "user-actions"),), (table(SETTINGS, "feature_log", 7),), "LakehouseError: it is gone")
    assert set(event) == {"eventTime", "eventType", "inputs", "job", "outputs", "producer", "run", "schemaURL"}
    assert event["eventTime"] == "1970-01-01T00:00:00.000Z"
    assert event["schemaURL"] == event_v2.RunEvent._get_schema()
    assert (event["eventType"], event["run"]["runId"], event["job"]["name"]) == ("FAIL", RUN, "a job")
    assert event["run"]["facets"]["errorMessage"]["message"] == "LakehouseError: it is gone"
    for facets in (event["run"]["facets"], event["job"]["facets"], event["inputs"][0]["facets"], event["outputs"][0]["facets"]):
        check_facets(facets)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_is_told_with_its_columns_its_owner_and_its_snapshot(name: str) -> None:
    (data,) = told(writes=(table(SETTINGS, name, 2**62),))["outputs"]
    check_facets(data["facets"])
    assert data["namespace"] == "file"
    assert data["name"] == f"/nowhere/state/lake/warehouse/streamhouse/{name}"
    columns = {column.name: column for column in declared(name).columns}
    assert [field["name"] for field in data["facets"]["schema"]["fields"]] == list(columns)
    assert all(field["type"] == columns[field["name"]].type for field in data["facets"]["schema"]["fields"])
    assert data["facets"]["version"]["datasetVersion"] == str(2**62)
    assert data["facets"]["ownership"]["owners"] == [{"name": f"team:{declared(name).owner}", "type": "OWNER"}]
    assert data["facets"]["symlinks"]["identifiers"][0]["name"] == f"streamhouse.{name}"


@pytest.mark.parametrize("name", sorted(load_contracts().topics))
def test_a_topic_is_told_with_the_fields_of_its_events(name: str) -> None:
    (data,) = told(reads=(topic(SETTINGS, name),))["inputs"]
    check_facets(data["facets"])
    assert (data["namespace"], data["name"]) == ("kafka://127.0.0.1:19999", name)
    assert data["facets"]["documentation"]["description"] == load_contracts().topics[name].description
    assert all(field["name"].startswith("data.") and field["description"] for field in data["facets"]["schema"]["fields"])


def test_what_is_named_twice_is_told_once_as_it_is_known_last() -> None:
    first, then = table(SETTINGS, "feature_log"), table(SETTINGS, "feature_log", 5)
    (data,) = told(COMPLETE, writes=(first, then))["outputs"]
    assert data["facets"]["version"]["datasetVersion"] == "5"


def test_models_and_files_are_told_by_where_they_lie() -> None:
    root = SETTINGS.root / "models" / "published"
    made, report = told(writes=(model(root, "purchase_30m", "1"), file(SETTINGS.state / "backtests", "A report.")))["outputs"]
    assert made["name"] == str(root / "purchase_30m" / "1")
    assert made["facets"]["version"]["datasetVersion"] == "1"
    assert report["name"] == "/nowhere/state/backtests"


def test_a_warehouse_elsewhere_names_its_bucket() -> None:
    elsewhere = load_settings({"STREAMHOUSE_LAKE_WAREHOUSE_URI": "s3://bucket/lake/", "STREAMHOUSE_LAKE_REST_URI": "http://127.0.0.1:8181"})
    data = table(elsewhere, "predictions")
    assert (data.namespace, data.name) == ("s3://bucket", "lake/streamhouse/predictions")
    assert data.also == ("http://127.0.0.1:8181", "streamhouse.predictions")
