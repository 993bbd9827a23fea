"""Which of our schemas the registry holds, and what else lies there."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from infra.config import Settings
from infra.plain_http import NO_AUTHORITIES
from infra.portal.catalogue import Catalogue

_SECONDS = 4.0
_MEDIA = {"Content-Type": "application/vnd.schemaregistry.v1+json"}


def held_subjects(settings: Settings, catalogue: Catalogue) -> Mapping[str, frozenset[int]]:
    """Every subject, with the versions of ours whose very schema it holds.

    Raises:
        httpx.HTTPError: the registry does not answer.

    """
    held: dict[str, set[int]] = {}
    with httpx.Client(base_url=settings.registry.confluent_url, headers=_MEDIA, timeout=_SECONDS, verify=NO_AUTHORITIES) as client:
        for subject in client.get("/subjects").raise_for_status().json():
            held[str(subject)] = set()
        for version in (version for topic in catalogue.topics for version in topic.versions):
            if version.subject in held:
                body = {"schemaType": "JSON", "schema": json.dumps(version.schema, ensure_ascii=False)}
                answer = client.post(f"/subjects/{version.subject}", json=body)
                if answer.status_code != httpx.codes.NOT_FOUND:
                    answer.raise_for_status()
                    held[version.subject].add(version.version)
    return {subject: frozenset(versions) for subject, versions in sorted(held.items())}
