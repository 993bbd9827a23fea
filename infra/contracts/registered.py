"""Schema ids -> schemas, as the registry knows them. What is known once is known for good, since an id never changes its schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

from infra.config import Settings
from infra.contracts.framing import WriterSchema
from infra.contracts.registry import RegistryUnreachable
from infra.errors import StreamhouseError
from infra.plain_http import NO_AUTHORITIES

_SECONDS = 5.0
_AT_ONCE = 8
# of the registry's error codes: no schema has the id, and one had it and was deleted for good. A 404 without them comes from something
# else that listens at the address
_NO_SUCH_SCHEMA = (40403, 40401)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class RegistryAway(StreamhouseError):
    """The registry did not answer within the bounded wait; the job restarts and asks again."""


class RegisteredSchemas:
    """Asks one registry, and remembers what it knows. `sleep` is the wait between two questions while it is away."""

    def __init__(self, settings: Settings, sleep: Callable[[float], None]) -> None:
        self._url, self._sleep, self._wait = settings.registry.confluent_url, sleep, settings.registry.wait_seconds
        self._known: dict[int, WriterSchema] = {}

    def ask(self, schema_ids: Iterable[int]) -> dict[int, WriterSchema | None]:
        """Each id's schema, or None where the registry says that it has none; asks several at once, and about none that it knows.

        Raises:
            RegistryUnreachable: it did not answer about one of them.

        """
        wanted = set(schema_ids)
        unheard = sorted(wanted - self._known.keys())
        if unheard:
            client = httpx.Client(base_url=self._url, timeout=_SECONDS, verify=NO_AUTHORITIES)
            with client, ThreadPoolExecutor(min(_AT_ONCE, len(unheard))) as pool:
                answers = dict(zip(unheard, pool.map(partial(self._one, client), unheard), strict=True))
            self._known |= {schema_id: schema for schema_id, schema in answers.items() if schema is not None}
        return {schema_id: self._known.get(schema_id) for schema_id in wanted}

    def wait_for(self, schema_ids: Iterable[int]) -> dict[int, WriterSchema | None]:
        """As `ask`, but asks again while the registry is away.

        Raises:
            RegistryAway: it did not answer within the wait that the settings allow.

        """
        wanted, waited, pause = list(schema_ids), 0.0, _FIRST_PAUSE
        while True:
            try:
                return self.ask(wanted)
            except RegistryUnreachable as error:
                if waited >= self._wait:
                    message = f"{error}; records with a schema id that is not known yet wait for it ({waited:.0f} s so far)"
                    raise RegistryAway(message) from error
                self._sleep(pause)
                waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)

    def _one(self, client: httpx.Client, schema_id: int) -> WriterSchema | None:
        try:
            answer = client.get(f"/schemas/ids/{schema_id}")
        except httpx.HTTPError as error:
            raise self._unreachable(str(error)) from error
        try:
            said = answer.json()
            if answer.status_code == 404 and said.get("error_code") in _NO_SUCH_SCHEMA:
                return None
            if answer.status_code == 200:
                return WriterSchema(_kind(said.get("schemaType"), str(said["schema"])), str(said["schema"]))
        except (ValueError, KeyError, AttributeError):
            pass
        got = f"status {answer.status_code}: {answer.text[:200]}"
        raise self._unreachable(got)

    def _unreachable(self, got: str) -> RegistryUnreachable:
        return RegistryUnreachable(f"schema registry {self._url}: expected an answer, got {got}; see ./streamhouse logs registry")


def _kind(said: object, text: str) -> str:
    """What no registry says is Avro; but Apicurio says nothing of a JSON Schema either where its subject began with an Avro one."""
    if said:
        return str(said)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "AVRO"
    is_json = isinstance(document, dict) and ("$schema" in document or document.get("type") == "object")  # which no Avro type is called
    return "JSON" if is_json else "AVRO"
