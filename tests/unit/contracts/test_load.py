from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml

from infra.contracts.load import FOLDER, ContractError, duration_ms, load_contracts
from infra.errors import StreamhouseError

TOPIC = "topics/predictions.yaml"
INVALID = {"name": "none", "step": "schema", "reason": "json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("topics", "schemas", "examples"):
        shutil.copytree(FOLDER / part, tmp_path / part)
    return tmp_path


def change(folder: Path, key: str, value: object) -> None:
    document = yaml.safe_load((folder / TOPIC).read_text("utf-8"))
    document[key] = value
    (folder / TOPIC).write_text(yaml.safe_dump(document), "utf-8")


def test_the_contracts_say_what_the_system_rests_on() -> None:
    topics = load_contracts().topics
    commands = {f"{name}-commands" for name in ("order", "payment", "inventory", "shipping", "account")}
    events = {"orders", "payments", "inventory", "shipping", "accounts"}
    scoring = {"user-actions", "predictions", "user-actions-dlq", "user-actions-replays", "schema-ids"}
    beside = {"command-replies", "command-replays", "aggregate-snapshots", "contract-changes"}
    assert set(topics) == scoring | events | commands | {f"{name}-dlq" for name in commands} | beside
    assert {name for name, topic in topics.items() if topic.table is None} == commands | beside
    assert {name for name, topic in topics.items() if topic.cleanup == "compact"} == {"aggregate-snapshots"}
    assert {topics[name].retention_ms for name in events} == {None}
    with pytest.raises(StreamhouseError, match="topic order-commands: expected an archive table, got `table: null`"):
        _ = topics["order-commands"].archive
    actions = topics["user-actions"]
    assert (actions.partitions, actions.max_message_bytes, actions.retention_ms) == (4, 1048576, None)
    assert topics["predictions"].retention_ms == 30 * 86_400_000
    assert topics[actions.dead_letter_topic or ""].max_message_bytes == 1572864
    assert actions.event_time is not None
    assert (actions.event_time.not_before_ms, actions.event_time.ahead_ms) == (1_420_070_400_000, 86_400_000)
    assert {example.value is None for example in actions.invalid} == {True, False}


def test_a_process_keeps_the_contracts_that_it_began_with_and_another_folder_is_read_as_it_is(folder: Path) -> None:
    assert load_contracts() is load_contracts()
    for partitions in (4, 8):
        change(folder, "partitions", partitions)
        assert load_contracts(folder).topics["predictions"].partitions == partitions


def test_an_unknown_key_is_refused_with_its_file(folder: Path) -> None:
    change(folder, "partitons", 4)
    with pytest.raises(ContractError, match=r"predictions\.yaml: unknown key 'partitons'; expected only"):
        load_contracts(folder)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("owner", None, "owner: expected a text, got None"),
        ("owner", 3, "owner: expected a text, got 3"),
        ("partitions", "four", "partitions: expected a whole number, got 'four'"),
        ("partitions", True, "partitions: expected a whole number, got True"),
        ("cleanup", 1, "cleanup: expected a text, got 1"),
        ("table", 1, "table: expected a text, got 1"),
        ("examples", {"valid": [], "invalid": [INVALID | {"headers": {"a": 1}}]}, "headers: expected a mapping of texts, got {'a': 1}"),
        ("consumers", "all", "consumers: expected a list of texts, got 'all'"),
        ("events", "Prediction", "events: expected a list of mappings, got 'Prediction'"),
        ("events", ["Prediction"], r"events\[0\]: expected a mapping, got 'Prediction'"),
        ("events", [{"type": "Prediction", "version": 1}] * 2, r"events\[0\]: expected an event of each type and version once"),
        ("key", "data.userId", "key: expected a mapping, got 'data.userId'"),
        ("retention", "a month", "retention: expected a duration such as 7d"),
        ("retention", "36501d", "retention: expected at most 36500d, got '36501d'"),
        ("max_message_bytes", 2**31, "max_message_bytes: expected at most 2147483647, got 2147483648"),
        ("event_time", {"not_before": date(2015, 1, 1), "ahead": "9" * 5000 + "d"}, "ahead: expected at most 36500d"),
        ("event_time", {"not_before": "long ago", "ahead": "1d"}, "not_before: expected a date or a time"),
        ("event_time", {"not_before": "2015-01-01", "ahead": 1}, "not_before: expected a date or a time"),
        ("name", "prediction", "expected name 'predictions', as the file is called, got 'prediction'"),
        ("examples", {"valid": ["none.json"], "invalid": []}, "none.json: expected an example message, got No such"),
    ],
)
def test_a_field_that_is_not_as_expected_is_named(folder: Path, key: str, value: object, says: str) -> None:
    change(folder, key, value)
    with pytest.raises(ContractError, match=says):
        load_contracts(folder)


def test_that_a_topic_has_no_table_is_said_and_never_forgotten(folder: Path) -> None:
    change(folder, "table", None)
    assert load_contracts(folder).topics["predictions"].table is None
    file = folder / TOPIC
    file.write_text(file.read_text("utf-8").replace("table: null\n", ""), "utf-8")
    with pytest.raises(ContractError, match="table: expected a text or null, got 'nothing'"):
        load_contracts(folder)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        (TOPIC, "a: [", r"predictions\.yaml: expected YAML in UTF-8"),
        (TOPIC, "name: a\nname: b\n", r"predictions\.yaml: expected YAML in UTF-8, got the key 'name' twice"),
        ("schemas/prediction.v1.schema.json", '{"a": 1, "a": 2}', r"schema\.json: expected JSON in UTF-8, got the key 'a' twice"),
        ("schemas/prediction.v1.schema.json", '{"a": "\\ud800"}', r"schema\.json: expected JSON in UTF-8, got 'utf-8' codec can't encode"),
        (TOPIC, "- 1", r"predictions\.yaml: expected a mapping, got list"),
        ("schemas/prediction.v1.schema.json", "{", r"schema\.json: expected JSON in UTF-8"),
        ("schemas/prediction.v1.schema.json", '{"a":' * 60, r"schema\.json: expected at most 50 arrays and objects in each other"),
        ("schemas/Prediction.json", "{}", r"Prediction\.json: expected a name such as user-action\.v1\.schema\.json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, file: str, text: str, says: str) -> None:
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(ContractError, match=says):
        load_contracts(folder)


def test_durations_are_a_number_and_a_unit() -> None:
    assert [duration_ms(text, "x") for text in ("7d", "12h", "30m", "45s")] == [
        604_800_000,
        43_200_000,
        1_800_000,
        45_000,
    ]
    for text in ("d", "", "-1d", "1.5h", 7, None, "7w"):
        with pytest.raises(ContractError, match="expected a duration"):
            duration_ms(text, "x")


def test_a_plain_date_is_midnight_utc(folder: Path) -> None:
    file = folder / "topics/user-actions.yaml"
    file.write_text(file.read_text("utf-8").replace("2015-01-01T00:00:00Z", "2015-01-01"), "utf-8")
    window = load_contracts(folder).topics["user-actions"].event_time
    assert window is not None
    assert window.not_before_ms == 1_420_070_400_000
