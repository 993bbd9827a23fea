"""Each rule of infra/contracts/rules.py has an example here that breaks it, and our contracts break none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.contracts.load import FOLDER, ContractError, load_contracts, read_contracts
from infra.contracts.rules import RULES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("topics", "schemas", "examples"):
        shutil.copytree(FOLDER / part, tmp_path / part)
    return tmp_path


def edit_topic(topic: str, /, **values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "topics" / f"{topic}.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text("utf-8")) | values), "utf-8")

    return edit


def edit_topics(max_message_bytes: dict[str, int]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for topic, size in max_message_bytes.items():
            edit_topic(topic, max_message_bytes=size)(folder)

    return edit


def edit_schema(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "schemas" / f"{name}.v1.schema.json"
        document = json.loads(file.read_text("utf-8"))
        change(document)
        file.write_text(json.dumps(document), "utf-8")

    return edit


def edit_examples(name: str, /, **values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "topics" / f"{name}.yaml"
        document = yaml.safe_load(file.read_text("utf-8"))
        document["examples"] |= values
        file.write_text(yaml.safe_dump(document), "utf-8")

    return edit


def dotted_name(folder: Path) -> None:
    (folder / "examples" / "predictions").rename(folder / "examples" / "predictions.v1")
    edit_topic("predictions", name="predictions.v1")(folder)
    (folder / "topics" / "predictions.yaml").rename(folder / "topics" / "predictions.v1.yaml")


def write(path: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / path).write_text(text, "utf-8")

    return edit


def unused_schema(folder: Path) -> None:
    text = (folder / "schemas/prediction.v1.schema.json").read_text("utf-8")
    (folder / "schemas/prediction.v2.schema.json").write_text(text, "utf-8")


def second_version(**event: Any) -> Callable[[Path], None]:
    """Version 2 of UserAction: platform is called device there; `event` adds to what its topic says of the two."""

    def edit(folder: Path) -> None:
        file = folder / "schemas/user-action.v1.schema.json"
        document = json.loads(file.read_text("utf-8"))
        document["properties"]["version"]["const"] = 2
        fields = document["properties"]["data"]["properties"]
        fields["device"] = fields.pop("platform")
        (folder / "schemas/user-action.v2.schema.json").write_text(json.dumps(document), "utf-8")
        old = {"type": "UserAction", "version": 1} | event.get("old", {})
        edit_topic("user-actions", events=[old, {"type": "UserAction", "version": 2} | event.get("new", {})])(folder)

    return edit


def fields(**of_data: Any) -> Callable[[Path], None]:
    """More fields of an action."""
    told = {"description": "A field.", "unit": "text"}
    return edit_schema("user-action", lambda s: s["properties"]["data"]["properties"].update({k: told | v for k, v in of_data.items()}))


def ending(version: int = 2, owner: str = "web-platform") -> dict[str, Any]:
    return {"deprecated": {"ends": date(2031, 1, 31), "owner": owner, "replacement": {"type": "UserAction", "version": version}}}


RENAMED = {"upcast": {"renamed": {"platform": "device"}}}


def refusal(**values: Any) -> list[dict[str, Any]]:
    return [{"name": "without-features", "file": "without-features.json", "step": "schema", "reason": "required"} | values]


LETTER = [{"type": "DeadLetter", "version": 1}]

# rule -> (what breaks it, what its sentence says)
BREAKERS: dict[str, list[tuple[Callable[[Path], None], str]]] = {
    "fields_have_columns_of_their_own": [
        (fields(cartTotal={"type": "integer"}, cart_total={"type": "string"}), "one field for column cart_total, got several"),
        (fields(color={"type": "string"}, Color={"type": "string"}), "one field for column color, got several"),
    ],
    "topic_names_are_kebab_case": [(dotted_name, "kebab-case without dots, got 'predictions.v1'")],
    "topics_say_who_and_what": [
        (edit_topic("predictions", owner=" "), "expected owner, got nothing"),
        (edit_topic("predictions", consumers=[]), "expected consumers, got nothing"),
    ],
    "partitions_are_fixed": [
        (edit_topic("predictions", partitions=0), "fixed number of partitions from 1, got 0"),
        (edit_topic("predictions", key={"field": None, "partitioner": "crc32"}), "partitioner murmur2, got 'crc32'"),
    ],
    "records_carry_the_brokers_time": [(edit_topic("predictions", timestamp_type="CreateTime"), "got 'CreateTime'")],
    "schemas_evolve_backward": [(edit_topic("predictions", compatibility="NONE"), "BACKWARD, got 'NONE'")],
    "tables_are_named_after_topics": [(edit_topic("user-actions", table="actions"), "'user_actions', got 'actions'")],
    "compacted_topics_hold_what_is_latest": [
        (edit_topic("predictions", cleanup="tidy"), "expected cleanup delete or compact, got 'tidy'"),
        (edit_topic("aggregate-snapshots", retention="30d"), "retention unlimited, as the topic is compacted, got 2592000s"),
        (edit_topic("aggregate-snapshots", table="aggregate_snapshots"), "table null, as the topic is compacted"),
    ],
    "events_have_schemas": [
        (edit_topic("predictions", events=[]), "at least one event type, got none"),
        (edit_topic("predictions", events=[{"type": "BigPrediction", "version": 2}]), "schemas/big-prediction.v2"),
    ],
    "schemas_are_used": [(unused_schema, "a topic that lists Prediction 2, got none")],
    "examples_are_used": [(write("examples/predictions/valid/other.json", "{}"), "a topic that lists this example")],
    "topics_have_examples": [
        (edit_examples("predictions", valid=[]), "at least one valid example, got none"),
        (edit_examples("predictions", invalid=[]), "at least one invalid example, got none"),
    ],
    "dead_letters_hold_what_they_replace": [
        (edit_topic("user-actions", dead_letter_topic="predictions"), "user-actions-dlq with a contract"),
        (edit_topic("user-actions-dlq", max_message_bytes=1572863), "at least 1572864, for a key and value of user-actions"),
        (edit_topics({"user-actions": 12_000, "user-actions-dlq": 28_287}), "at least 28288, for a key and value of user-actions"),
        (edit_topic("user-actions-dlq", retention="6d"), "at least 7d, got 518400s"),
        (lambda folder: (folder / "topics/user-actions-dlq.yaml").unlink(), "got 'user-actions-dlq'"),
    ],
    "schemas_can_be_read": [
        (edit_schema("prediction", lambda s: s.update(type="thing")), "a JSON Schema of draft 7"),
        (edit_schema("prediction", lambda s: s["properties"]["data"]["properties"].update(more=True)), "a schema at data.more, got true"),
        (
            edit_schema("prediction", lambda s: s["properties"]["source"].update(pattern="(")),
            "a JSON Schema of draft 7, got '(' is not a 'regex'",
        ),
    ],
    "schemas_are_envelopes": [
        (edit_schema("prediction", lambda s: s["properties"].pop("source")), "all required, got"),
        (edit_schema("prediction", lambda s: s["required"].remove("source")), "all required, got"),
        (edit_schema("prediction", lambda s: s["properties"]["version"].update(const=2)), "constant 1, got 2"),
        (edit_schema("prediction", lambda s: s["properties"]["eventType"].pop("const")), "'Prediction', got None"),
    ],
    "schemas_are_closed_and_described": [
        (edit_schema("prediction", lambda s: s.pop("additionalProperties")), "additionalProperties false at the top"),
        (
            edit_schema("prediction", lambda s: s["properties"]["data"]["properties"]["model"].pop("additionalProperties")),
            "at data.model.",
        ),
        (
            edit_schema("order-placed", lambda s: s["properties"]["data"]["properties"]["items"]["items"].pop("additionalProperties")),
            "at data.items[].",
        ),
        (edit_schema("user-action", lambda s: s["properties"]["source"].pop("unit")), "a unit of source, got nothing"),
        (
            edit_schema("user-action", lambda s: s["properties"]["data"]["properties"]["action"].pop("description")),
            "a description of data.action",
        ),
    ],
    "valid_examples_fit_their_schema": [
        (write("examples/predictions/valid/known-user.json", "{}"), "'eventType' is a required property"),
        (write("examples/predictions/valid/known-user.json", "{"), "known-user.json: expected a message"),
    ],
    "invalid_examples_name_their_refusal": [
        (edit_examples("predictions", invalid=refusal(reason="enum")), "refuse it by 'enum', got required"),
        (edit_examples("predictions", invalid=refusal(step="publish")), "a step of decode, validate, schema"),
        (edit_examples("predictions", invalid=refusal(step="decode")), "the topic has no dead letters, got 'decode'"),
    ],
    "deprecations_name_what_follows": [
        (second_version(old=ending(3), new=RENAMED), "a replacement among the events of a topic, got UserAction 3"),
        (second_version(old=ending(1), new=RENAMED), "a replacement among the events of a topic, got UserAction 1"),
        (second_version(old=ending(owner=""), new=RENAMED), "expected an owner"),
        (second_version(old=ending(), new=RENAMED | ending(1)), "a replacement that outlives it, got UserAction 2"),
    ],
    "versions_follow_from_each_other": [
        (second_version(old=ending()), "expected `upcast`, how 1 becomes 2"),
        (second_version(new=RENAMED), "expected `deprecated`, as version 2 has no platform"),
        (second_version(old=ending() | RENAMED, new=RENAMED), "UserAction 1: expected no upcast"),
        (
            second_version(old=ending(), new={"upcast": {"renamed": {"platform": "gadget"}}}),
            "expected platform in version 1 alone and gadget",
        ),
        (second_version(old=ending(), new={"upcast": {"renamed": {"platform": "lifecycle"}}}), "expected a new name, got lifecycle"),
        (second_version(old=ending(), new={"upcast": {"filled": {"lifecycle": "x"}}}), "that 1 lacks, got lifecycle"),
        (second_version(old=ending(), new={"upcast": {"filled": {"device": 7}}}), "to fit its schema, got 7"),
    ],
    "actions_can_be_decoded": [
        (
            edit_schema("user-action", lambda s: s["properties"]["data"]["properties"]["platform"].update(format="color")),
            "got data.platform: format color",
        ),
        (edit_schema("user-action", lambda s: s["properties"]["data"]["required"].remove("sessionId")), "required field that is sessionId"),
        (
            edit_schema("user-action", lambda s: s["properties"]["data"]["properties"]["platform"].update(type="integer")),
            "expected platform to be a text",
        ),
        (edit_topic("user-actions", event_time=None), "expected event_time"),
        (edit_schema("user-action", lambda s: s["properties"]["source"].update(maxLength=512)), "source: expected no more than this code"),
        (edit_schema("user-action", lambda s: s["properties"]["eventId"].pop("format")), "eventId: expected no more than this code"),
        (fields(more={"type": "integer", "minimum": 1.0}), "minimum 1.0 of a whole number"),
        (fields(more={"type": "integer", "minimum": 0, "maximum": 2**64}), "none of 64 bits"),
        (fields(more={"const": 1.5}), "const 1.5, which is no text"),
        (fields(**{"cart-total": {"type": "string"}}), "called by Latin letters, digits and _, got 'cart-total'"),
    ],
    "event_types_lie_on_one_topic": [
        (
            edit_topic("user-actions", events=LETTER),
            "DeadLetter on the dead_letter_topic of another topic, got it on user-actions",
        ),
        (edit_topic("payments", events=[{"type": "OrderPlaced", "version": 1}]), "expected OrderPlaced on one topic, got it on orders too"),
    ],
}


def test_every_rule_has_an_example_that_breaks_it() -> None:
    assert set(BREAKERS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_our_contracts_keep_the_rule(rule: str) -> None:
    assert list(RULES[rule](read_contracts(FOLDER))) == []


@pytest.mark.parametrize(("rule", "breaker", "says"), [(r, b, says) for r, breakers in BREAKERS.items() for b, says in breakers])
def test_a_broken_contract_is_refused_by_its_rule(folder: Path, rule: str, breaker: Callable[[Path], None], says: str) -> None:
    breaker(folder)
    sentences = list(RULES[rule](read_contracts(folder)))
    assert len(sentences) >= 1
    assert says in sentences[0]
    with pytest.raises(ContractError) as refused:
        load_contracts(folder)
    assert says in str(refused.value)
