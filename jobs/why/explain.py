"""Why a prediction says what it says: found, taken apart, and made again.

name -> action, prediction -> rows, features, model, snapshots, readers -> the same score as served and folded, or each difference
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaException

from features.memory_store import MemoryStore
from features.profile_history import ProfileHistory
from infra.config import Settings
from infra.contracts.codec import event_milliseconds, rfc3339
from infra.contracts.framing import payload
from infra.errors import StreamhouseError
from jobs.contract_history import in_effect
from jobs.folded_archive import Folded, fold_records, offline_enricher
from jobs.published_models import Identity, PublishedModels
from jobs.records import Records
from jobs.replay.published import published
from jobs.replay.refolded import Said as Values
from jobs.replay.refolded import compare_vectors
from jobs.replay.served import Difference, compare_served
from jobs.replay.typed_columns import compare_columns
from jobs.schema_history import decisions
from jobs.scoring_parts import models_folder, rules
from jobs.why.archive import PREDICTIONS, Archive
from jobs.why.explanation import ActivityRow, Again, Explanation, ModelFile, Said
from jobs.why.found import Answer, Finder, record_at
from jobs.why.made_of import activity_of, features_of, model_file, profile_of
from jobs.why.named import Place, Unexplained
from jobs.why.readers import Readers
from jobs.why.topics import Topics
from models.manifest import Manifest, ModelRefused, load_manifest
from models.manifest import published as published_folder

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _ActivityRow(msgspec.Struct):
    offset: int | None
    time: _Moment | None


class _ProfileRow(msgspec.Struct):
    time: _Moment | None


class _Rows(msgspec.Struct):
    user_activity: _ActivityRow
    user_profile: _ProfileRow


class _Data(msgspec.Struct):
    rows: _Rows
    flags: list[str]


class _Prediction(msgspec.Struct):
    data: _Data


_decoder = msgspec.json.Decoder(_Prediction)
_UNREADABLE = _Data(_Rows(_ActivityRow(None, None), _ProfileRow(None)), [])


class Explainer:
    """Explains predictions one after the other: tables, models, and what finds a user's actions, are opened once."""

    def __init__(self, settings: Settings, *, many: bool = False) -> None:
        """Open the tables as they are now. `many`: what each partition and the model that scores take once, the first one need not take.

        Raises:
            StreamhouseError: there are none, or they cannot be read.

        """
        decided = decisions(settings)
        self._rules, self._root = rules(in_effect(settings), decided), models_folder(settings)
        self._archive, topics = Archive(settings), Topics(settings, self._rules.contract)
        self._finder, self._readers = Finder(self._archive, topics, self._rules, decided), Readers(settings, topics)
        self._models = PublishedModels(self._root)
        self._files: dict[Identity, tuple[ModelFile, Manifest | None]] = {}
        if many:
            self._archive.read_users()
            with suppress(ModelRefused):  # it may have gone since; another may have scored what is asked for
                scorer = load_manifest(published_folder(self._root, settings.score_events.model))
                self._models.find((scorer.name, scorer.version, scorer.sha256))

    def explain(self, name: str) -> Explanation:
        """Everything about one prediction: by its event id, its action's place, or its action's event id.

        Raises:
            Unexplained: no prediction is called so; the message tells what is, a dead letter for example.
            StreamhouseError: tables, or a topic that is needed, cannot be read.

        """
        try:
            place = self._finder.place(name)
            answer = self._finder.answer(place)
            history, action = self._finder.action(place, answer.rows["user_id"][0].as_py())
        except Unexplained as error:
            message = str(error) if str(error).startswith((name, repr(name))) else f"{name}: {error}"
            raise Unexplained(message) from error
        except KafkaException as error:
            message = f"{name}: expected the topics for what the tables lack, got {error.args[0].str()}; see `./streamhouse status`"
            raise StreamhouseError(message) from error
        rows = answer.rows
        data = _read(rows["value"][0].as_py())
        user = rows["user_id"][0].as_py() if action.event is None else action.event.data.user_id
        profiles = self._archive.profiles(user)
        (part,) = fold_records([history], place.partition, offline_enricher(MemoryStore()), self._rules)
        file, manifest = self._model(rows)
        return Explanation(
            action,
            self._said(answer, data),
            file,
            features_of(rows["features"][0].as_py() or [], manifest),
            _activity(part, place, data),
            profile_of(profiles, user, data.rows.user_profile.time),
            self._readers.of(rows["topic_partition"][0].as_py(), rows["topic_offset"][0].as_py()),
            self._again(place, history, rows, part, profiles),
        )

    def _said(self, answer: Answer, data: _Data) -> Said:
        (first, *_) = answer.rows.select(_SHOWN).to_pylist()
        partition, offset, score = first["topic_partition"], first["topic_offset"], np.float32(first["score"])
        return Said(
            first["event_id"],
            partition,
            offset,
            first["user_id"],
            float(score),
            f"{score.view(np.uint32):08x}",
            bool(first["decision"]),
            tuple(data.flags),
            round(first["kafka_time"].timestamp() * 1000),
            self._archive.held(PREDICTIONS, answer.files[0], partition, offset) if answer.files else None,
        )

    def _model(self, rows: pa.Table) -> tuple[ModelFile, Manifest | None]:
        identity = (rows["model_name"][0].as_py(), rows["model_version"][0].as_py(), rows["model_sha256"][0].as_py())
        if identity not in self._files:
            found = self._models.find(identity)
            self._files[identity] = model_file(self._root, identity, found if isinstance(found, str) else "")
        return self._files[identity]

    def _again(self, place: Place, history: Records, rows: pa.Table, part: Folded, profiles: ProfileHistory) -> Again:
        """As served, with the prediction's own features; folded, with those that the user's history gives; and the typed columns."""
        served = compare_served(place.partition, record_at(history, place), self._rules, published(rows), self._models.find, 1)
        values = Values(np.array([place.offset]), [rows["value"][0].as_py()])
        folded = compare_vectors(part, part.accepted.offset == place.offset, values, profiles, self._rules, self._models.find)
        found: list[Difference] = [*served.differences, *compare_columns(place.partition, rows, self._rules.contract)]
        found += [one for one in folded.findings.kept if isinstance(one, Difference)]
        could_score = bool(served.outcome.models) and all(one.kind not in ("model", "features") for one in served.differences)
        return Again(
            served.outcome.equal == 1 if could_score else None,
            folded.equal == 1 if folded.vectors else None,
            tuple(dict.fromkeys(found)),
        )


_SHOWN = ["topic_partition", "topic_offset", "event_id", "user_id", "score", "decision", "kafka_time"]


def _read(value: bytes) -> _Data:
    """What the value says beside its typed columns; nothing where it cannot be read, which the comparison of columns names."""
    try:
        return _decoder.decode(payload(value) or b"").data
    except (msgspec.MsgspecError, ValueError):
        return _UNREADABLE


def _activity(part: Folded, place: Place, data: _Data) -> ActivityRow:
    row = data.rows.user_activity
    said_time = None if row.time is None else rfc3339(event_milliseconds(row.time))
    at = np.flatnonzero(part.accepted.offset == place.offset)
    if len(at) == 0:  # the action is refused now
        return ActivityRow(row.offset, said_time, len(part.accepted.events), None, None, None, {}, ())
    return activity_of(part.accepted, int(at[0]), row.offset, said_time)
