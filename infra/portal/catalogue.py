"""What is declared here, as the portal shows it: plain values that every other part of the portal takes or makes.

Who knows what:

    infra/portal/catalogue.py   what is declared, as values
    infra/portal/graph.py       what depends on what, and what a change hits; pure
    infra/portal/live.py        what runs, as values
    infra/portal/findings.py    where the two do not agree; pure
    infra/portal/asyncapi.py    the catalogue as an AsyncAPI document; pure
    infra/portal/render.py      all of that as one page of HTML; pure
    jobs/portal/declared.py     contracts, feature definitions, model manifests, tables, services -> the catalogue
    jobs/portal/current.py      the catalogue again, when a contract file changed
    jobs/portal/seen.py         broker, registry, Flink, tables, Redis -> what runs; each that is away is said, never guessed
    jobs/portal/server.py       the page and what it asks, over HTTP
    jobs/portal/export.py       the same as files that open without a server
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.portal.graph import Graph


@dataclass(frozen=True)
class Field:
    """One field of an event, `path` as `data.userId`. `limits`: what its schema refuses, in words."""

    path: str
    type: str
    unit: str
    description: str
    required: bool
    limits: str


@dataclass(frozen=True)
class Deprecated:
    """A version on its way out: the last day on which it may be sent, as `2027-06-30`; `replacement` as `UserAction 2`."""

    ends: str
    owner: str
    replacement: str


@dataclass(frozen=True)
class EventVersion:
    """One version of an event type on a topic. `follows`: how an event of the version before becomes one of this, in words."""

    event_type: str
    version: int
    description: str
    subject: str
    fields: tuple[Field, ...]
    schema: Mapping[str, Any]
    deprecated: Deprecated | None = None
    follows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A message that the topic takes. `value`: JSON; `event_type` and `version`: what it says of itself."""

    name: str
    event_type: str
    version: int
    value: Any


@dataclass(frozen=True)
class Topic:
    """A topic, from its contract. `kept`: how long records stay, in words; `is_compacted`: the latest of each key alone."""

    name: str
    domain: str
    owner: str
    description: str
    key: str
    partitioner: str
    partitions: int
    kept: str
    compatibility: str
    max_message_bytes: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    dead_letter_topic: str | None
    table: str | None
    versions: tuple[EventVersion, ...]
    examples: tuple[Example, ...]
    file: str = ""
    is_compacted: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    type: str
    unit: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table that is queried. `kind`: `iceberg`, or `read model`, in SQLite or PostgreSQL; `topics`: what its rows are made of."""

    name: str
    kind: str
    owner: str
    description: str
    retention: str
    layout: str
    columns: tuple[Column, ...]
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feature:
    """A feature as `view:name`."""

    id: str
    name: str
    type: str
    unit: str
    description: str


@dataclass(frozen=True)
class FeatureView:
    """A feature view. `table`: from which it is read for training; `services`: the feature services that hold features of it."""

    name: str
    owner: str
    description: str
    entity: str
    freshness: str
    table: str
    features: tuple[Feature, ...]
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelInput:
    """One column of a model's input. `source`: `view:feature`."""

    name: str
    source: str
    default: float
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A published model. `metrics`: by name, those of the model and of the baseline."""

    id: str
    owner: str
    description: str
    sha256: str
    threshold: float
    meaning: str
    label: str
    feature_service: str
    inputs: tuple[ModelInput, ...]
    metrics: Mapping[str, tuple[float, float]]
    trained_from: tuple[str, ...]
    serves: bool = False


@dataclass(frozen=True)
class Program:
    """Whoever reads or writes topics. `kind`: `job` of Flink, `service`, `command`, or `party`: people and programs elsewhere.

    `group`: the topics that it reads in a consumer group of its name, which commits offsets; what it reads otherwise is not among them.
    """

    name: str
    kind: str
    description: str
    file: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    group: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """Everything that is declared, and what depends on what. `links`: pages of others, by name."""

    topics: tuple[Topic, ...] = ()
    tables: tuple[Table, ...] = ()
    views: tuple[FeatureView, ...] = ()
    models: tuple[Model, ...] = ()
    programs: tuple[Program, ...] = ()
    graph: Graph = field(default_factory=lambda: Graph(()))
    links: Mapping[str, str] = field(default_factory=dict)

    def topic(self, name: str) -> Topic | None:
        """The topic of this name, if it is declared."""
        return next((topic for topic in self.topics if topic.name == name), None)

    def program(self, name: str) -> Program | None:
        """The program of this name, if a contract names it."""
        return next((program for program in self.programs if program.name == name), None)
