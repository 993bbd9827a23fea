"""What a poisoned stream is made of: a clean one, of which every twentieth record is a bad one of any kind; the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from infra.contracts.contract import Topic
from jobs.chaos.actions import BROKEN, DRIFTED, Made, Maker

ONE_BAD_IN = 20
"""5 % of the records are bad."""
MEGABYTES = ("garbage_megabyte", "json_megabyte")
"""Bad values of a megabyte: what no compression makes smaller, and what it makes almost nothing of."""
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_TEXT = bytes(_LETTERS[byte % 64] for byte in range(256))


def kinds(topic: Topic) -> list[str]:
    """Every kind of bad input once, and an example that the contract refuses as often as it has examples; no megabytes."""
    return [*DRIFTED, *BROKEN, *["example"] * len(topic.invalid)]


def poisoned(clean: Sequence[Made], topic: Topic, seed: int, bad_kinds: Sequence[str]) -> Iterator[Made]:
    """The clean records, 5 % of them replaced by bad ones; each kind about as often as any other."""
    rng, maker = random.Random(seed), Maker(topic, seed, "poison")
    bad = _places(rng, len(clean))
    dealt = iter(rng.sample(drawn := [bad_kinds[i % len(bad_kinds)] for i in range(len(bad))], len(drawn)))
    for i, record in enumerate(clean):
        yield maker.make(next(dealt)) if i in bad else record


def with_megabytes(clean: Sequence[Made], seed: int, size: int) -> Iterator[Made]:
    """The clean records, of which 5 % carry `size` bytes more in a field that nobody reads: they are predicted as without it.

    Every other one carries text that no compression makes much smaller, the rest the same letter again and again.
    """
    rng = random.Random(seed)
    bad = _places(rng, len(clean))
    for i, record in enumerate(clean):
        if i in bad and record.value is not None:
            text = rng.randbytes(size).translate(_TO_TEXT) if rng.random() < 0.5 else b"x" * size
            record = replace(record, kind="megabyte", value=orjson.dumps(orjson.loads(record.value) | {"attachment": text.decode()}))
        yield record


def _places(rng: random.Random, count: int) -> set[int]:
    return set(rng.sample(range(count), count // ONE_BAD_IN))
