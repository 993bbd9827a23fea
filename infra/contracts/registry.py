"""Contracts -> schema registry, over the interface that Confluent's clients speak.

A subject is `<topic>-<EventType>`, and `<topic>-<EventType>-v2` for its second version: each version of each event type evolves on its
own, and they stay side by side. In one subject a new version would count as an incompatible change of the old one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from infra.config import Settings
from infra.contracts.change import Change
from infra.contracts.compare_fields import changes
from infra.contracts.contract import Contracts, EventSchema
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.plain_http import NO_AUTHORITIES

_SECONDS = 15.0
_BESIDE = "a breaking change needs a new version beside the old one"
_SUBJECT = re.compile(r"(?P<topic>[a-z][a-z0-9-]*)-(?P<type>[A-Z][A-Za-z]*)(-v(?P<version>[1-9][0-9]*))?\Z")
_MEDIA = {"Content-Type": "application/vnd.schemaregistry.v1+json"}


class RegistryUnreachable(StreamhouseError):
    """No schema registry answered, or one that does not speak the expected interface."""


def plan(settings: Settings, contracts: Contracts | None = None) -> list[Change]:
    """What `apply` would do, one line per subject and version.

    Raises:
        RegistryUnreachable: no registry answers at the address of the settings.

    """
    with _client(settings) as client:
        return [_planned(client, settings, entry) for entry in _entries(contracts)]


def apply(settings: Settings, contracts: Contracts | None = None) -> list[Change]:
    """Register what is missing, and answer the plan that was carried out; twice changes nothing.

    What breaks somebody stays unregistered and is answered as `refuse`, with the sentence that `contracts check` says of it.
    """
    done = []
    with _client(settings) as client:
        for entry in _entries(contracts):
            change = _planned(client, settings, entry)
            if change.action in ("create", "update"):
                answer = _register(client, settings, entry)
                if answer.status_code in (409, 422):
                    change = Change("schema", entry.subject, "refuse", _reason(answer))
                elif change.action == "create":
                    # a rule can only be set on a subject that exists
                    _set_compatibility(client, settings, entry.subject, entry.compatibility)
            done.append(change)
    return done


def subject_of(topic: str, event_type: str, version: int = 1) -> str:
    """The subject under which a version of an event type of a topic is registered."""
    return f"{topic}-{event_type}" + (f"-v{version}" if version > 1 else "")


def registered(settings: Settings, contracts: Contracts) -> Mapping[str, Contracts]:
    """By topic of these contracts: it alone with the events and schemas that the registry holds; one without any is missing.

    It holds neither upcasts nor deprecations, and subjects of others are passed over.

    Raises:
        RegistryUnreachable: no registry answers at the address of the settings.

    """
    found: dict[str, dict[tuple[str, int], EventSchema]] = {}
    with _client(settings) as client:
        for subject in sorted(map(str, _ask(client, settings, "GET", "/subjects").json())):
            if (named := _named(subject, contracts)) is not None:
                topic_name, kind, version = named
                schema = EventSchema(kind, version, Path(subject), _latest(client, settings, subject))
                found.setdefault(topic_name, {})[schema.event_type, schema.version] = schema
    held = {}
    for name, schemas in found.items():
        topic = replace(contracts.topics[name], events=tuple(sorted(schemas)), deprecations={}, upcasts={})
        held[name] = Contracts(contracts.folder, {name: topic}, schemas, frozenset())
    return held


def registered_id(settings: Settings, topic: str, event_type: str, version: int) -> int:
    """The id under which the registry holds the schema of this code's contract files.

    Raises:
        RegistryUnreachable: no registry answers at the address of the settings.
        StreamhouseError: it does not hold the schema.

    """
    subject = subject_of(topic, event_type, version)
    with _client(settings) as client:
        answer = _ask(client, settings, "POST", f"/subjects/{subject}", _body(load_contracts().schemas[event_type, version]))
    if answer.status_code != 200:
        message = f"schema registry, subject {subject}: expected the schema of {event_type} {version}, got none; run `./streamhouse apply`"
        raise StreamhouseError(message)
    return int(answer.json()["id"])


def _named(subject: str, contracts: Contracts) -> tuple[str, str, int] | None:
    """Topic, event type and version of a subject; None: it is none of a topic that these contracts have."""
    match = _SUBJECT.match(subject)
    if match is None or match["topic"] not in contracts.topics:
        return None
    return match["topic"], match["type"], int(match["version"] or 1)


def _latest(client: httpx.Client, settings: Settings, subject: str) -> Mapping[str, Any]:
    answer = _ask(client, settings, "GET", f"/subjects/{subject}/versions/latest").json()
    try:
        document = json.loads(answer["schema"])
    except (KeyError, TypeError, ValueError):
        document = {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True)
class _Entry:
    """A schema, and where it belongs. `newest`: the newest version of its event type."""

    subject: str
    compatibility: str
    schema: EventSchema
    newest: int


def _entries(contracts: Contracts | None) -> Iterator[_Entry]:
    contracts = contracts or load_contracts()
    for topic in contracts.topics.values():
        for kind, version in sorted(topic.events):
            newest = topic.versions(kind)[-1]
            yield _Entry(subject_of(topic.name, kind, version), topic.compatibility, contracts.schemas[kind, version], newest)


def _planned(client: httpx.Client, settings: Settings, entry: _Entry) -> Change:
    subject, version = entry.subject, entry.schema.version
    held = _ask(client, settings, "GET", f"/subjects/{subject}/versions")
    if held.status_code == 404:
        return Change("schema", subject, "create", f"version {version}, {entry.compatibility}")
    known = _ask(client, settings, "POST", f"/subjects/{subject}", _body(entry.schema))
    if known.status_code == 404 or known.json().get("version") != max(held.json()):
        latest = EventSchema(entry.schema.event_type, version, Path(subject), _latest(client, settings, subject))
        found = list(changes(latest, entry.schema, entry.newest))
        if breaking := [f"{change.path}: {change.sentence}" for change in found if not change.safe]:
            return Change("schema", subject, "refuse", f"{'; '.join(breaking)}; {_BESIDE}")
        if known.status_code == 404:
            return Change("schema", subject, "update", f"register the changed schema of version {version}")
    if _compatibility(client, settings, subject) != entry.compatibility:
        return Change("schema", subject, "update", f"compatibility {entry.compatibility}")
    return Change("schema", subject, "keep")


def _register(client: httpx.Client, settings: Settings, entry: _Entry) -> httpx.Response:
    """Of a schema that was compared with what is held, and breaks nobody."""
    subject, place = entry.subject, f"/subjects/{entry.subject}/versions"
    if _compatibility(client, settings, subject) not in (None, entry.compatibility):
        _set_compatibility(client, settings, subject, entry.compatibility)
    answer = _ask(client, settings, "POST", place, _body(entry.schema))
    if answer.status_code == 409:
        # its own comparison refuses some of what takes all that was taken, such as null beside a number
        _set_compatibility(client, settings, subject, "NONE")
        try:
            answer = _ask(client, settings, "POST", place, _body(entry.schema))
        finally:
            _set_compatibility(client, settings, subject, entry.compatibility)
    return answer


def _set_compatibility(client: httpx.Client, settings: Settings, subject: str, level: str) -> None:
    _ask(client, settings, "PUT", f"/config/{subject}", {"compatibility": level})


def _compatibility(client: httpx.Client, settings: Settings, subject: str) -> str | None:
    answer = _ask(client, settings, "GET", f"/config/{subject}")
    return None if answer.status_code == 404 else str(answer.json().get("compatibilityLevel"))


def _body(schema: EventSchema) -> dict[str, str]:
    return {"schemaType": "JSON", "schema": json.dumps(schema.document, ensure_ascii=False)}


def _reason(answer: httpx.Response) -> str:
    document = answer.json()
    said = document.get("message") or "; ".join(map(str, document.get("messages", ()))) or answer.text
    return f"{said}; {_BESIDE}"


def _client(settings: Settings) -> httpx.Client:
    return httpx.Client(base_url=settings.registry.confluent_url, headers=_MEDIA, timeout=_SECONDS, verify=NO_AUTHORITIES)


def _ask(client: httpx.Client, settings: Settings, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
    try:
        answer = client.request(method, path, json=body)
    except httpx.HTTPError as error:
        message = (
            f"schema registry {settings.registry.confluent_url}: expected an answer, got {error};"
            " start it with ./streamhouse up, or set registry.port"
        )
        raise RegistryUnreachable(message) from error
    if answer.status_code in (200, 404, 409, 422):
        return answer
    message = (
        f"schema registry {settings.registry.confluent_url}: expected status 200 for {method} {path},"
        f" got {answer.status_code}: {answer.text[:300]}; see ./streamhouse logs registry"
    )
    raise RegistryUnreachable(message)
