"""The catalogue is what the parts declare: nothing of it is written a second time, and none of it is left out."""

from __future__ import annotations

from features.described import described
from infra.config import ROOT, load_settings
from infra.contracts.load import load_contracts
from infra.stack.services import SHOP
from jobs.participants import participants
from jobs.portal.commands import command_help
from jobs.shop.project import PROJECTIONS
from jobs.submit import ALL_JOBS
from lakehouse.tables import TABLES
from models.manifest import PUBLISHED, list_published
from tests.portal import ours


def test_topics_and_versions_are_those_of_the_contracts() -> None:
    contracts = load_contracts()
    assert {topic.name: [(one.event_type, one.version) for one in topic.versions] for topic in ours().topics} == {
        topic.name: sorted(topic.events) for topic in contracts.topics.values()
    }
    compacted = {name for name, topic in contracts.topics.items() if topic.cleanup == "compact"}
    assert {topic.name for topic in ours().topics if topic.is_compacted} == compacted
    for topic in ours().topics:
        assert len(topic.examples) == len([one for one in contracts.topics[topic.name].valid if one.value is not None])
        assert all((one.event_type, one.version) in contracts.topics[topic.name].events for one in topic.examples)


def test_tables_are_those_of_the_lake_and_the_read_models() -> None:
    read_models = {projection.name for projection in PROJECTIONS} | {"order_counts"}
    assert [(table.name, table.kind) for table in ours().tables if table.kind == "iceberg"] == [(name, "iceberg") for name in TABLES]
    assert {table.name for table in ours().tables if table.kind == "read model"} == read_models
    for table in ours().tables:
        assert all(column.description and column.unit for column in table.columns), table.name


def test_features_are_those_that_feast_knows() -> None:
    views = {view.name: view for view in described(load_settings({}))}
    assert {view.name: [feature.name for feature in view.features] for view in ours().views} == {
        name: [feature.name for feature in view.features] for name, view in views.items()
    }
    assert all(feature.unit and feature.description for view in ours().views for feature in view.features)


def test_models_are_those_that_were_published_and_one_scores() -> None:
    assert [model.id for model in ours().models] == list_published(PUBLISHED)
    assert [model.id for model in ours().models if model.serves] == [load_settings({}).score_events.model]
    features = {feature.id for view in ours().views for feature in view.features}
    for model in ours().models:
        assert {one.source for one in model.inputs if not one.source.startswith("action:")} <= features


def test_programs_are_all_that_contracts_jobs_and_services_name() -> None:
    topics = load_contracts().topics.values()
    named = {name for topic in topics for name in (*topic.producers, *topic.consumers)}
    assert {program.name for program in ours().programs} == named | set(ALL_JOBS) | set(SHOP)
    for program in ours().programs:
        assert program.description or program.kind == "party", program.name
        assert not program.file or (ROOT / program.file).is_file()
    own = {*ALL_JOBS, *participants(load_settings({})), "notification", "analytics"}
    assert {program.name for program in ours().programs if program.group} == own


def test_what_the_catalogue_shows_and_what_the_graph_holds_are_the_same_things() -> None:
    graph, catalogue = ours().graph, ours()
    for kind, names in {
        "topic": {topic.name for topic in catalogue.topics},
        "event": {f"{topic.name}/{one.event_type}" for topic in catalogue.topics for one in topic.versions},
        "version": {f"{topic.name}/{one.event_type}/{one.version}" for topic in catalogue.topics for one in topic.versions},
        "field": {f"{t.name}/{v.event_type}/{v.version}/{f.path}" for t in catalogue.topics for v in t.versions for f in v.fields},
        "read_model": {table.name for table in catalogue.tables if table.kind == "read model"},
        "table": {table.name for table in catalogue.tables if table.kind == "iceberg"},
        "feature_view": {view.name for view in catalogue.views},
        "model": {model.id for model in catalogue.models},
    }.items():
        assert {node.name for node in graph.of_kind(kind)} <= names, kind
        if kind != "field":
            assert names <= {node.name for node in graph.of_kind(kind)}, kind
    programs = {f"{program.kind}:{program.name}" for program in catalogue.programs}
    assert programs == {f"{node.kind}:{node.name}" for node in graph.of_kind("job", "service", "command", "party")}


def test_a_command_is_described_by_its_own_help() -> None:
    assert command_help("dlq replay") == "Send dead letters through the same path again, each at most once."
    assert command_help("saga") == "Orders on their way through the shop's services."
    assert command_help("nothing of that name") == ""
