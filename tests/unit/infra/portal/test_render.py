from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

from infra.portal.live import SeenTopic
from infra.portal.render import catalogue_document, embedded, page
from tests.portal import document, ours, well

HOSTILE = "</script><script>document.title='taken'</script><!--"


class Blocks(HTMLParser):
    """The contents of the page's scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self._open = dict(attrs)
            self.scripts.append((self._open, ""))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None


def test_a_hostile_name_ends_no_block_and_comes_back_whole() -> None:
    seen = well(ours())
    told = document(ours(), dataclasses.replace(seen, topics=(*(seen.topics or ()), SeenTopic(HOSTILE, 1, 1, 1))))
    blocks = Blocks()
    blocks.feed(page(ours(), told, polls=False).html)
    assert [attributes.get("id") for attributes, _ in blocks.scripts] == ["data-catalogue", "data-version", "data-live", "data-polls", None]
    assert json.loads(blocks.scripts[2][1]) == json.loads(json.dumps(told))
    assert json.loads(blocks.scripts[0][1]) == json.loads(json.dumps(catalogue_document(ours())))


def test_embedded_json_has_no_character_that_html_or_javascript_reads() -> None:
    text = embedded({"a": "<&>\u2028\u2029"})
    assert not re.search("[<&>\u2028\u2029]", text)
    assert json.loads(text) == {"a": "<&>\u2028\u2029"}


def test_nothing_is_loaded_from_elsewhere_and_only_the_pages_own_program_runs() -> None:
    made = page(ours(), None, polls=True)
    assert "default-src 'none'" in made.policy
    assert "unsafe" not in made.policy
    assert made.policy.count("'sha256-") == 2
    without_data = re.sub(r'<script type="application/json".*?</script>', "", made.html, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(https?:)?//', without_data)
    assert not re.search(r"@import|innerHTML *=|insertAdjacentHTML|document\.write|\beval\(", without_data)


def test_the_same_catalogue_makes_the_same_page() -> None:
    assert page(ours(), None, polls=False) == page(ours(), None, polls=False)
