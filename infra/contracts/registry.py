"""Contracts -> schema registry, over the interface that Confluent's clients speak.

A subject is `<topic>-<EventType>`: each event type of a topic evolves on its own, and its versions stay side by side.
One subject per topic would let a new event type on a topic count as an incompatible change of the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx

from infra.config import Settings
from infra.contracts.change import Change
from infra.contracts.contract import Contracts, EventSchema
from infra.contracts.load import load_contracts
from infra.errors import StreamhouseError
from infra.plain_http import NO_AUTHORITIES

_SECONDS = 15.0
_MEDIA = {"Content-Type": "application/vnd.schemaregistry.v1+json"}


class RegistryUnreachable(StreamhouseError):
    """No schema registry answered, or one that does not speak the expected interface."""


def plan(settings: Settings, contracts: Contracts | None = None) -> list[Change]:
    """What `apply` would do, one line per subject and version.

    Raises:
        RegistryUnreachable: no registry answers at the address of the settings.

    """
    with _client(settings) as client:
        return [_planned(client, settings, *entry) for entry in _entries(contracts)]


def apply(settings: Settings, contracts: Contracts | None = None) -> list[Change]:
    """Register what is missing, and answer the plan that was carried out; twice changes nothing.

    A schema that the registry refuses stays unregistered and is answered as `refuse` with the registry's reason.
    """
    changes = []
    with _client(settings) as client:
        for subject, compatibility, schema in _entries(contracts):
            change = _planned(client, settings, subject, compatibility, schema)
            if change.action in ("create", "update"):
                if _compatibility(client, settings, subject) not in (None, compatibility):
                    _ask(client, settings, "PUT", f"/config/{subject}", {"compatibility": compatibility})
                answer = _ask(client, settings, "POST", f"/subjects/{subject}/versions", _body(schema))
                if answer.status_code in (409, 422):
                    change = Change("schema", subject, "refuse", _reason(answer))
                elif change.action == "create":
                    # a rule can only be set on a subject that exists
                    _ask(client, settings, "PUT", f"/config/{subject}", {"compatibility": compatibility})
            changes.append(change)
    return changes


def subject_of(topic: str, event_type: str) -> str:
    """The subject under which an event type of a topic is registered."""
    return f"{topic}-{event_type}"


def _entries(contracts: Contracts | None) -> Iterator[tuple[str, str, EventSchema]]:
    contracts = contracts or load_contracts()
    for topic in contracts.topics.values():
        for event_type, version in sorted(topic.events):
            yield subject_of(topic.name, event_type), topic.compatibility, contracts.schemas[event_type, version]


def _planned(client: httpx.Client, settings: Settings, subject: str, compatibility: str, schema: EventSchema) -> Change:
    held = _ask(client, settings, "GET", f"/subjects/{subject}/versions")
    if held.status_code == 404:
        return Change("schema", subject, "create", f"version {schema.version}, {compatibility}")
    known = _ask(client, settings, "POST", f"/subjects/{subject}", _body(schema))
    if known.status_code == 404:
        test = _ask(client, settings, "POST", f"/compatibility/subjects/{subject}/versions/latest?verbose=true", _body(schema))
        if test.status_code == 200 and not test.json().get("is_compatible", True):
            return Change("schema", subject, "refuse", _reason(test))
        return Change("schema", subject, "update", f"register the changed schema of version {schema.version}")
    if _compatibility(client, settings, subject) != compatibility:
        return Change("schema", subject, "update", f"compatibility {compatibility}")
    return Change("schema", subject, "keep")


def _compatibility(client: httpx.Client, settings: Settings, subject: str) -> str | None:
    answer = _ask(client, settings, "GET", f"/config/{subject}")
    return None if answer.status_code == 404 else str(answer.json().get("compatibilityLevel"))


def _body(schema: EventSchema) -> dict[str, str]:
    return {"schemaType": "JSON", "schema": json.dumps(schema.document, ensure_ascii=False)}


def _reason(answer: httpx.Response) -> str:
    document = answer.json()
    said = document.get("message") or "; ".join(map(str, document.get("messages", ()))) or answer.text
    return f"{said}; a breaking change needs a new version beside the old one"


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
