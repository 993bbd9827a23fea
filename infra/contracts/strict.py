"""JSON and YAML of which nothing is lost in silence: a key that is said twice, or text that no UTF-8 holds, is refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Any

import yaml


def strict_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """What the text says.

    Raises:
        ValueError: it is no JSON, says a key twice, or holds half a character.

    """
    found = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs) and dict(pairs))
    json.dumps(found, ensure_ascii=False).encode()
    return found


def strict_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """What the text says.

    Raises:
        ValueError, YAMLError: it is no YAML, says a key twice, or holds half a character.

    """
    found = yaml.load(text, _Loader)
    json.dumps(found, ensure_ascii=False, default=str, skipkeys=True).encode()  # a key of another kind is no text
    return found


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._seen = set[int]()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Look at a mapping before the one that it takes over (`<<`) is written into it, where a key may stand again."""
        if id(node) not in self._seen:
            self._seen.add(id(node))
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge"]
            _once((self.construct_object(key), None) for key in keys)
        super().flatten_mapping(node)


def _once(pairs: Iterable[tuple[Hashable, Any]]) -> bool:
    names = set[Hashable]()
    for name, _ in pairs:
        if name in names:
            message = f"the key {name!r} twice in one mapping"
            raise ValueError(message)
        names.add(name)
    return True
