"""Schemas by id from a real registry: known, not known, and a registry that is away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.config import Settings, load_settings
from infra.contracts.events import Rejected, UserAction
from infra.contracts.framing import WriterSchema, plain_json, unframe
from infra.contracts.in_effect import of_files
from infra.contracts.load import load_contracts
from infra.contracts.registered import RegisteredSchemas, RegistryAway
from infra.contracts.registry import RegistryUnreachable
from tests.ports import free_ports
from tests.registries import Registry, confluent_client, running_registry
from tests.unit.contracts.test_framing import AN_ACTION, USER_ACTION

decoded = of_files().newest.decoder.decode
PLAIN = AN_ACTION | {"timestamp": "2024-03-13T10:22:12.345Z"}


def settings_in(folder: Path, wait_seconds: int = 30) -> Settings:
    port, management = free_ports(2)
    names = {"REGISTRY_PORT": port, "REGISTRY_MANAGEMENT_PORT": management, "REGISTRY_WAIT_SECONDS": str(wait_seconds)}
    return load_settings({"STREAMHOUSE_STATE": str(folder), **{f"STREAMHOUSE_{name}": value for name, value in names.items()}})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Registry]]:
    settings = settings_in(tmp_path_factory.mktemp("registry"))
    with running_registry(settings) as running:
        yield settings, running


def no_sleep(_: float) -> None:
    raise AssertionError("it waited for a registry that answers")


def test_what_standard_clients_write_becomes_the_same_event_as_plain_json(registry: tuple[Settings, Registry]) -> None:
    settings, _ = registry
    where = SerializationContext("user-actions", MessageField.VALUE)
    schema = load_contracts().schemas["UserAction", 1].document
    with confluent_client(settings) as client:
        by_json = JSONSerializer(json.dumps(schema), client, lambda value, _: value)(PLAIN, where)
        by_avro = AvroSerializer(client, json.dumps(USER_ACTION), conf={"subject.name.strategy": lambda _, name: name})(AN_ACTION, where)
    plain = decoded(json.dumps(PLAIN).encode())
    assert isinstance(plain, UserAction)
    schemas = RegisteredSchemas(settings, no_sleep)
    for value in (by_json, by_avro):
        framed = unframe(value)
        assert framed is not None
        found = schemas.wait_for([framed.schema_id])[framed.schema_id]
        made = plain_json(framed, found)
        assert isinstance(made, bytes)
        assert decoded(made) == plain


def test_avro_and_json_in_one_subject_are_told_apart_as_clients_register_them_by_default(registry: tuple[Settings, Registry]) -> None:
    settings, _ = registry
    where = SerializationContext("shared", MessageField.VALUE)
    schema = load_contracts().schemas["UserAction", 1].document
    with confluent_client(settings) as client:
        by_avro = AvroSerializer(client, json.dumps(USER_ACTION))(AN_ACTION, where)
        by_json = JSONSerializer(json.dumps(schema), client, lambda value, _: value)(PLAIN, where)
    schemas = RegisteredSchemas(settings, no_sleep)
    for value, kind in ((by_avro, "AVRO"), (by_json, "JSON")):
        framed = unframe(value)
        assert framed is not None
        found = schemas.wait_for([framed.schema_id])[framed.schema_id]
        assert found is not None
        assert found.kind == kind
        made = plain_json(framed, found)
        assert isinstance(made, bytes)
        assert decoded(made) == decoded(json.dumps(PLAIN).encode())


def test_an_id_that_the_registry_does_not_have_is_not_known(registry: tuple[Settings, Registry]) -> None:
    settings, _ = registry
    ids = [0, 987_654, 2**31 - 1, 2**31, 2**32 - 1]
    assert RegisteredSchemas(settings, no_sleep).wait_for(ids) == dict.fromkeys(ids)


def test_what_is_known_needs_no_registry_and_what_is_not_waits_for_it(registry: tuple[Settings, Registry]) -> None:
    settings, running = registry
    text = json.dumps({"type": "record", "name": "Later", "fields": [{"name": "x", "type": "int"}]})
    with confluent_client(settings) as client:
        schema_id = client.register_schema("later", Schema(text, "AVRO"))
        other_id = client.register_schema("other", Schema(text.replace("Later", "Other"), "AVRO"))
    slept = list[float]()

    def comes_back_meanwhile(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            running.start()

    schemas = RegisteredSchemas(settings, comes_back_meanwhile)
    assert schemas.ask([schema_id])[schema_id] is not None
    running.kill()
    assert schemas.wait_for([schema_id])[schema_id] is not None
    assert not slept
    with pytest.raises(RegistryUnreachable):
        schemas.ask([schema_id, other_id, 987_654])
    answer = schemas.wait_for([schema_id, other_id, 987_654])
    assert len(slept) >= 4
    assert answer[987_654] is None
    found = answer[other_id]
    assert isinstance(found, WriterSchema)
    assert (found.kind, json.loads(found.text)["name"]) == ("AVRO", "Other")


def test_the_wait_is_bounded(tmp_path: Path) -> None:
    slept = list[float]()
    with pytest.raises(RegistryAway, match=r"waits? for it|wait for it"):
        RegisteredSchemas(settings_in(tmp_path, wait_seconds=5), slept.append).wait_for([1])
    assert 5 <= sum(slept) < 8
    assert max(slept) <= 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"<html>no such page</html>"), (404, b'{"error_code": 404}'), (500, b"{}"), (503, b""), (200, b"[]"), (200, b"{}"), (302, b"")],
)
def test_what_something_else_says_at_the_address_is_not_taken_for_the_registrys_word(tmp_path: Path, status: int, body: bytes) -> None:
    class Else(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    settings = settings_in(tmp_path)
    with HTTPServer((settings.registry.host, settings.registry.port), Else) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(RegistryUnreachable, match=f"status {status}"):
                RegisteredSchemas(settings, time.sleep).ask([7])
        finally:
            server.shutdown()


def test_a_kind_that_is_not_read_is_a_dead_letter_that_says_so(registry: tuple[Settings, Registry]) -> None:
    settings, _ = registry
    with confluent_client(settings) as client:
        schema_id = client.register_schema("proto", Schema('syntax = "proto3"; message A { int32 x = 1; }', "PROTOBUF"))
    found = RegisteredSchemas(settings, no_sleep).wait_for([schema_id])[schema_id]
    framed = unframe(b"\0" + schema_id.to_bytes(4) + b"\0\x08\x01")
    assert framed is not None
    refused = plain_json(framed, found)
    assert isinstance(refused, Rejected)
    assert refused.reason == "unusable_schema"
