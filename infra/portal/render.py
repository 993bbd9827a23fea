"""The catalogue as one page of HTML: style, program and data stand in it, and nothing is loaded from elsewhere. Pure but for its own files.

Names from a broker are a stranger's. They reach the page as JSON in a block that no browser runs, and the program writes them as text
alone; the policy that is sent along lets nothing run but that very program.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.portal.catalogue import Catalogue
from infra.portal.findings import Finding
from infra.portal.graph import Graph
from infra.portal.live import Seen

_FOLDER = Path(__file__).parent / "page"
_SCRIPTS = (
    *("elements.js", "model.js", "search.js", "blocks.js", "drawing.js", "panels.js"),
    *("overview.js", "sections.js", "flows.js", "makes.js", "readers.js", "main.js"),
)


_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "&<>\u2028\u2029"}


@dataclass(frozen=True)
class Page:
    """The page, and the policy under which its server sends it. `version`: another one where another catalogue is on it."""

    html: str
    policy: str
    version: str


def page(catalogue: Catalogue, live: Mapping[str, Any] | None, *, polls: bool) -> Page:
    """`live`: as `live_document` gives it, None: nothing was looked at; `polls`: whether the page goes on to ask its server."""
    style, script = _text("style.css"), "\n".join(_text(name) for name in _SCRIPTS)
    # a policy in the page itself serves a file that no server sends; it cannot name frames, which a server's can
    asks = "'self'" if polls else "'none'"
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; connect-src {asks};"
    policy += " base-uri 'none'; form-action 'none'"
    declared = embedded(catalogue_document(catalogue))
    version = hashlib.sha256(declared.encode()).hexdigest()[:16]
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "catalogue": declared,
        "version": embedded(version),
        "live": embedded(live),
        "polls": "true" if polls else "false",
    }
    html = _text("index.html")
    before, *rest = html.split("{{")
    made = [before]
    for part in rest:
        name, _, after = part.partition("}}")
        made += [parts[name], after]
    return Page("".join(made), f"{policy}; frame-ancestors 'none'", version)


def catalogue_document(catalogue: Catalogue) -> dict[str, Any]:
    """The catalogue as JSON holds it."""
    plain = {field.name: getattr(catalogue, field.name) for field in dataclasses.fields(catalogue)}
    return {name: _graph(value) if isinstance(value, Graph) else _plain(value) for name, value in plain.items()}


def live_document(seen: Seen, found: Sequence[Finding]) -> dict[str, Any]:
    """What was seen, and what was found, as JSON holds it."""
    return {"seen": _plain(seen), "findings": _plain(found)}


def embedded(document: object) -> str:
    """JSON that can stand between two tags of a script: it has none of the characters by which one ends or a comment begins."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _graph(graph: Graph) -> dict[str, Any]:
    """Nodes as [kind, name, what is known], edges by the nodes' places as [source, target, how, why]."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    return {
        "nodes": [[node.kind, node.name, dict(graph.about.get(node, {}))] for node in graph.nodes],
        "edges": [[places[edge.source], places[edge.target], edge.how, edge.why] for edge in graph.edges],
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any of the portal's values
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(_plain(part) for part in value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
