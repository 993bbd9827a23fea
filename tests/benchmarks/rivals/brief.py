"""What the rivals are told of the project: one small JSON file, so that they import none of it."""

from __future__ import annotations

from typing import Any

from features import feast_bytes as fb
from features.activity import COUNTED, KIND_OF_ACTION, PURCHASE
from features.online_keys import JOIN_KEY, PROFILE, PROFILE_FEATURES, PROJECT
from infra.config import Settings
from infra.contracts.load import load_contracts
from jobs.scoring_parts import SOURCE_TOPIC, models_folder
from models.manifest import load_manifest, published


def brief(settings: Settings, name: str, redis_port: int) -> dict[str, Any]:
    """Addresses and topics of the rival `name`, and its model as its manifest describes it."""
    folder = models_folder(settings)
    manifest = load_manifest(card := published(folder, settings.score_events.model))
    counter = {kind: i for i, (kind, *more) in enumerate(COUNTED.values()) if not more}
    return {
        "name": name,
        "kafka": settings.kafka.client(),
        "source": f"{name}-actions",
        "sink": f"{name}-predictions",
        "partitions": load_contracts().topics[SOURCE_TOPIC].partitions,
        "redis_host": settings.redis.host,
        "redis_port": redis_port,
        "feast": {
            "prefix": fb.key_prefix(JOIN_KEY).hex(),
            "project": PROJECT.encode().hex(),
            **{feature: fb.field(PROFILE, feature).hex() for feature in PROFILE_FEATURES},
        },
        "model": str(card / manifest.file),
        "model_name": manifest.id,
        "output": manifest.output.name,
        "threshold": manifest.threshold,
        "inputs": [
            {"source": wanted.source, "default": wanted.default, "vocabulary": wanted.vocabulary and list(wanted.vocabulary)}
            for wanted in manifest.inputs
        ],
        "kinds": {action: counter[kind] for action, kind in KIND_OF_ACTION.items()},
        "purchase": next(action for action, kind in KIND_OF_ACTION.items() if kind == PURCHASE),
    }
