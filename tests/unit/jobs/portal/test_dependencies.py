"""The gathered graph beside what the code does when one field of a message is another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.activity import FEATURES
from features.fold import Actions, fold
from features.history import unpack
from features.made_from import EVENT, MADE_FROM, TOPIC, tag
from features.online_keys import ACTIVITY
from infra.config import load_settings
from infra.contracts.contract import Example, Topic
from infra.contracts.fields import fields_of
from infra.contracts.in_effect import of_files
from infra.contracts.load import load_contracts
from infra.contracts.partitioner import partition_of
from infra.portal import things
from infra.portal.graph import DATA, HAS, Graph, Node, hit_by
from infra.portal.graph import MADE_FROM as IS_MADE
from jobs.archive_rows import archive_row
from jobs.participants import participants
from jobs.portal.dependencies import gather, manifests
from jobs.portal.readings import readings
from jobs.records import Records
from jobs.scoring_parts import rules
from jobs.scoring_path import accept
from tests.contracts.changes import COMPATIBLE, NEXT_ACTION
from tests.contracts.edits import added, copied
from tests.perturbed import perturbed

SETTINGS = load_settings({})
CONTRACTS = load_contracts()
GRAPH = gather(SETTINGS, CONTRACTS)
CONTRACT = of_files()
AHEAD = 10**14  # the broker's time of a record, long after any event here
ARCHIVED = [(topic, example) for topic in CONTRACTS.topics.values() if topic.table for example in topic.valid]


def made_of(graph: Graph, node: Node) -> set[str]:
    return {edge.target.name for edge in graph.following.get(node, ()) if edge.how == IS_MADE and edge.target.kind == "column"}


def columns(topic: Topic, value: bytes, key: bytes | None) -> Mapping[str, object]:
    row = dict(archive_row(topic.name, value, AHEAD, CONTRACT, key, {}))
    return {"event_time" if name == "event_ms" else name: told for name, told in row.items()}


def key_of(topic: Topic, value: bytes) -> bytes | None:
    return str(json.loads(value)["data"].get((topic.key.field or "").removeprefix("data."))).encode() if topic.key.field else None


@pytest.mark.parametrize(("topic", "example"), ARCHIVED, ids=lambda of: of.name)
def test_a_column_changes_with_exactly_the_fields_that_the_graph_says(topic: Topic, example: Example) -> None:
    assert example.value is not None
    told = json.loads(example.value)
    schema = CONTRACTS.schemas[told["eventType"], told["version"]]
    before = columns(topic, json.dumps(told).encode(), key_of(topic, example.value))
    assert before.get("event_type") == told["eventType"], "the example is read"
    tried = 0
    for path, value in perturbed(example.value, schema):
        after = columns(topic, value, key_of(topic, value))
        changed = {f"{topic.archive}.{name}" for name in before if before[name] != after.get(name)}
        declared = made_of(GRAPH, things.field(topic.name, schema.event_type, schema.version, path.removesuffix("[]")))
        assert changed == declared or (path.endswith("[]") and changed <= declared), path
        tried += 1
    assert tried >= 5


def folded(log: list[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The features of each action, by the path that serves them."""
    n = len(log)
    users = [json.loads(value)["data"]["userId"] for value in log]
    topic = CONTRACTS.topics[TOPIC]
    records = Records(
        keys=[None] * n,
        values=list(log),
        partition=np.array([partition_of(user, topic.partitions) for user in users]),
        offset=np.arange(n),
        kafka_ms=np.full(n, AHEAD),
    )
    batch = accept(records, rules())[0].batch
    assert len(batch.users) == n
    who = {user: i for i, user in enumerate(dict.fromkeys(batch.users))}
    actions = Actions(np.array([who[user] for user in batch.users]), batch.offset, batch.time, batch.kind, batch.session)
    return fold(unpack([None] * len(who), np.zeros(len(who), np.int64)), actions)[0].values


def test_a_feature_changes_with_exactly_the_fields_that_it_is_made_from() -> None:
    """Each field of a past action is changed alone, in several ways; the last action of the user is looked at."""
    template = json.loads(next(example.value for example in CONTRACTS.topics[TOPIC].valid if example.name == "product-view") or b"")
    template["data"] |= {"userId": "ada", "platform": "desktop", "lifecycle": "new"}
    kinds = ["product_view", "add_to_cart", "error_page", "purchase", "search"]

    def action(minute: int, kind: str, session: str, **other: object) -> bytes:
        moment = {"timestamp": f"2024-03-14T09:{minute:02}:00.000Z"}
        return json.dumps(template | moment | {"data": template["data"] | {"action": kind, "sessionId": session} | other}).encode()

    changes: dict[str, list[dict[str, Any]]] = {
        "data.userId": [{"data": {"userId": "bob"}}],
        "data.sessionId": [{"data": {"sessionId": "s9"}}],
        "data.action": [{"data": {"action": kind}} for kind in kinds],
        "data.platform": [{"data": {"platform": "phone"}}, {"data": {"platform": None}}],
        "data.lifecycle": [{"data": {"lifecycle": "lost"}}],
        "timestamp": [{"timestamp": when} for when in ("2024-03-14T09:49:00.000Z", "2024-03-13T09:00:00.000Z", "2024-01-14T09:00:00.000Z")],
        "eventId": [{"eventId": "5b9ff1a3-0000-4000-8000-000000000001"}],
        "source": [{"source": "elsewhere"}],
        "correlationId": [{"correlationId": "other"}],
    }
    assert set(changes) | {"data", "eventType", "version"} == set(fields_of(CONTRACTS.schemas[EVENT, 1]))
    log = [action(43 + i, kind, f"s{min(i, 1)}") for i, kind in enumerate(kinds)] + [action(50, "search", "s1")]
    before = folded(log)[-1]
    found: dict[str, set[str]] = {feature: set() for feature in FEATURES}
    for path, ways in changes.items():
        for way in ways:
            for at in range(len(log) - 1):
                event = json.loads(log[at])
                other = event | way | {"data": event["data"] | way.get("data", {})}
                after = folded([*log[:at], json.dumps(other).encode(), *log[at + 1 :]])[-1]
                for feature, a, b in zip(FEATURES, before, after, strict=True):
                    if not np.array_equal(a, b, equal_nan=True):
                        found[feature].add(path)
    assert found == {feature: set(paths) for feature, paths in MADE_FROM[ACTIVITY].items()}


def test_feast_says_of_each_feature_what_the_graph_says(tmp_path: Path) -> None:
    from feast import FeatureView

    from features.definitions import definitions

    views = [one for one in definitions(load_settings({"STREAMHOUSE_STATE": str(tmp_path)})) if isinstance(one, FeatureView)]
    said = {(view.name, field.name): field.tags["made_from"] for view in views for field in view.schema if field.name != "history"}
    said.pop((ACTIVITY, "user_id"), None)
    assert said == {(view, feature): tag(view, feature) for view, features in MADE_FROM.items() for feature in features}
    assert {view.name for view in views} == {node.name for node in GRAPH.of_kind("feature_view")}
    assert {f"{view}:{feature}" for view, feature in said} == {node.name for node in GRAPH.of_kind("feature")}


def test_what_our_code_reads_is_in_the_contracts() -> None:
    for reading in readings(SETTINGS):
        topic = CONTRACTS.topics[reading.topic]
        if reading.event_type:
            newest = CONTRACTS.schemas[reading.event_type, topic.versions(reading.event_type)[-1]]
            assert set(reading.fields or ()) <= set(fields_of(newest)), reading


def test_everything_that_is_declared_is_a_node() -> None:
    from lakehouse.tables import TABLES

    assert {node.name for node in GRAPH.of_kind("topic")} == set(CONTRACTS.topics)
    assert {node.name for node in GRAPH.of_kind("table")} == set(TABLES)
    assert {node.name for node in GRAPH.of_kind("version")} == {
        f"{topic.name}/{kind}/{number}" for topic in CONTRACTS.topics.values() for kind, number in topic.events
    }
    assert {node.name for node in GRAPH.of_kind("model")} == {manifest.id for manifest in manifests()}
    assert {node.name for node in GRAPH.of_kind("service")} >= set(participants(SETTINGS)) | {"read-models", "shop-http", "meter"}
    assert {node.name for node in GRAPH.of_kind("job")} == {"score_events", "archive_topics", "archive_shop", "rebuild_features"}
    assert "GET /orders/{orderId}" in {node.name for node in GRAPH.of_kind("endpoint")}
    assert {node.name for node in GRAPH.of_kind("read_model")} == {"order_summaries", "order_predictions", "order_counts"}
    for name in (name for topic in CONTRACTS.topics.values() for name in (*topic.producers, *topic.consumers)):
        assert [node for node in GRAPH.nodes if node.name == name and node.kind in ("job", "service", "command", "party")], name


def test_the_platform_of_an_action_hits_the_models_that_take_it_and_what_they_answer() -> None:
    hits = {hit.node for hit in hit_by(GRAPH, [things.field(TOPIC, EVENT, 1, "data.platform")], DATA)}
    assert hits == {
        *(Node("job", name) for name in ("score_events", "archive_topics", "rebuild_features")),
        *(Node("service", name) for name in ("meter", "read-models", "shop-http")),
        *(Node("command", f"./streamhouse {name}") for name in ("demo", "audit", "replay", "why", "backfill", "backtest")),
        Node("party", "services that act on a decision"),
        *(Node("model", f"purchase_30m@{number}") for number in (1, 2)),
        things.column("user_actions", "platform"),
        *(things.field("predictions", "Prediction", 1, f"data.{name}") for name in ("score", "decision", "features")),
        *(things.column("predictions", name) for name in ("score", "decision", "features")),
        Node("read_model", "order_predictions"),
    }


def test_a_session_hits_visits_alone_among_the_features() -> None:
    hits = {hit.node.name for hit in hit_by(GRAPH, [things.field(TOPIC, EVENT, 1, "data.sessionId")], DATA) if hit.node.kind == "feature"}
    assert hits == {"user_activity:visits_24h", "user_activity:visits_7d"}


def test_parts_of_a_whole_are_there_and_are_not_hit_by_what_hits_the_whole() -> None:
    model = Node("read_model", "order_summaries")
    assert things.column("order_summaries", "status") in {edge.target for edge in GRAPH.following[model] if edge.how == HAS}
    hits = {hit.node for hit in hit_by(GRAPH, [things.field("orders", "OrderPlaced", 1, "data.cents")], DATA)}
    assert model in hits
    assert things.column("order_summaries", "status") not in hits
    assert Node("service", "payment") in hits
    assert Node("service", "notification") not in hits, "it hears how orders end, not how they begin"


def test_a_renamed_field_of_a_new_version_leads_to_the_same_columns_and_models(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    NEXT_ACTION(folder)
    graph = gather(SETTINGS, load_contracts(folder))
    old, new = (things.field(TOPIC, EVENT, number, f"data.{name}") for number, name in ((1, "platform"), (2, "device")))
    assert new in {edge.target for edge in graph.following[old] if edge.why == "upcast"}
    for field in (old, new):
        assert made_of(graph, field) == {"user_actions.device"}, "a column has the newest name"
        assert Node("model", "purchase_30m@1") in {hit.node for hit in hit_by(graph, [field], DATA)}
    assert graph.about[things.version(TOPIC, EVENT, 1)]["deprecated"] == "2099-12-31"
    session = things.field(TOPIC, EVENT, 2, "data.sessionId")
    assert things.feature(ACTIVITY, "visits_7d") in {hit.node for hit in hit_by(graph, [session], DATA)}


def test_a_new_field_is_a_column_of_the_table_at_once_with_what_lies_in_it(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    COMPATIBLE["an object"](folder)
    graph = gather(SETTINGS, load_contracts(folder))
    for path in ("data.place", "data.place.city"):
        assert made_of(graph, things.field(TOPIC, EVENT, 1, path)) == {"user_actions.place"}


def test_a_field_called_as_one_of_the_envelope_is_not_its_column(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    added("UserAction", "source", "string", "Where it came from.", "text", maxLength=9)(folder)
    graph = gather(SETTINGS, load_contracts(folder))
    assert made_of(graph, things.field(TOPIC, EVENT, 1, "data.source")) == {"user_actions.data_source"}


def test_the_list_of_what_is_hit_takes_no_time() -> None:
    began = time.perf_counter()
    hit_by(GRAPH, GRAPH.of_kind("topic"))
    assert time.perf_counter() - began < 1, "the promise is a second"
