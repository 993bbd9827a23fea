"""The exported page in a real browser: it shows what there is and nothing else, for every screen, eye and hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from infra.config import load_settings
from infra.portal.catalogue import Catalogue
from infra.portal.graph import DATA, Node, hit_by
from infra.portal.live import SeenGroup, SeenTopic
from jobs.portal.server import write
from tests.browser import Tab
from tests.portal import deprecated, document, ours, well

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")
SECTIONS = ("", "findings", "graph", "topics", "events", "dead-letters", "tables", "features", "models", "programs", "groups")


def things(catalogue: Catalogue) -> list[str]:
    """The address of every thing that is declared."""
    found = [f"topic:{topic.name}" for topic in catalogue.topics]
    found += sorted({f"event:{topic.name}/{one.event_type}" for topic in catalogue.topics for one in topic.versions})
    found += [f"{'read_model' if table.kind == 'read model' else 'table'}:{table.name}" for table in catalogue.tables]
    found += [f"feature_view:{view.name}" for view in catalogue.views]
    found += [f"feature:{feature.id}" for view in catalogue.views for feature in view.features]
    found += [f"model:{model.id}" for model in catalogue.models]
    found += [f"{program.kind}:{program.name}" for program in catalogue.programs]
    return [route(one) for one in found]


def route(node: str) -> str:
    kind, _, name = node.partition(":")
    return f"#/{kind}/{quote(name, safe='!~*()' + chr(39))}"  # as encodeURIComponent does it


def links(tab: Tab, *kinds: str) -> set[str]:
    """Where the links of the open page's contents lead, of some kinds of things."""
    found = tab.run("[...document.querySelectorAll('main td:first-child a, main header a')].map(a => a.getAttribute('href'))")
    return {link for link in found if link.split("/")[1] in kinds}


def test_it_opens_without_a_server_and_asks_nobody(tab: Tab, exported: str) -> None:
    tab.open(exported)
    assert [url for url in tab.requests if url != "about:blank"] == [exported]
    assert tab.text("h1").startswith("What flows here")


def test_the_findings_stand_first_and_are_those_that_were_planted(tab: Tab, exported: str) -> None:
    tab.open(exported)
    shown = tab.run("[...document.querySelectorAll('main .findings .found')].map(one => one.innerText.replace(/\\s+/g, ' '))")
    assert [" ".join(one.split()[:5]) for one in shown] == [
        "Orphan consumer group old-dashboard consumer",
        "Undeclared topic orders-copy-of-tuesday topic No",
        "Consumer group that stands still",
        "Dead topic command-replays topic Nothing",
    ]
    places = tab.run("['.findings', 'table'].map(one => document.querySelector(`main ${one}`).getBoundingClientRect().top)")
    assert places[0] < places[1]


@pytest.mark.parametrize(
    ("section", "kinds"),
    [
        ("topics", ("topic",)),
        ("events", ("event",)),
        ("tables", ("table", "read_model")),
        ("features", ("feature_view", "feature")),
        ("models", ("model",)),
        ("programs", ("job", "service", "command", "party")),
    ],
)
def test_a_section_lists_all_that_there_is_and_nothing_else(tab: Tab, exported: str, section: str, kinds: tuple[str, ...]) -> None:
    tab.open(exported)
    tab.go(f"#/{section}")
    planted_here = {"#/topic/orders-copy-of-tuesday"} if section == "topics" else set()
    assert links(tab, *kinds) == {one for one in things(ours()) if one.split("/")[1] in kinds} | planted_here


def test_groups_are_those_that_the_broker_told_of(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.go("#/groups")
    wanted = {f"#/group/{program.name}" for program in ours().programs if program.group} | {"#/group/old-dashboard"}
    assert links(tab, "group") == wanted


def test_every_thing_has_a_page_of_its_own_that_fits_a_phone(tab: Tab, exported: str) -> None:
    tab.look(360, 780)
    tab.open(exported)
    routes = [f"#/{section}" for section in SECTIONS] + things(ours())
    routes += ["#/topic/orders-copy-of-tuesday", "#/group/old-dashboard", "#/domain/shop"]
    routes += [route(f"{node.kind}:{node.name}") for node in ours().graph.of_kind("endpoint", "feature_service")]
    wide, unknown = [], []
    for one in routes:
        tab.go(one)
        if tab.run("document.documentElement.scrollWidth") > 360:
            wide.append(one)
        if "Nothing of this name" in tab.text():
            unknown.append(one)
    assert (wide, unknown) == ([], [])
    assert len(routes) > 150


def test_who_reads_a_topic_that_does_not_let_him_stands_beside_its_readers(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.go("#/topic/predictions")
    readers = tab.run("[...document.querySelectorAll('main .panel')].find(one => one.innerText.startsWith('Who reads')).innerText")
    assert " ".join(readers.split()).endswith("old-dashboard undeclared, ≤ 48.2 k waiting")
    tab.go("#/group/old-dashboard")
    assert "at most 48,210 records wait" in tab.text()
    assert tab.run("[...document.querySelectorAll('main td.right')].map(one => one.innerText)") == ["≤ 48,210"]


def test_a_thing_that_is_not_there_is_not_made_up(tab: Tab, exported: str) -> None:
    tab.open(exported)
    for one in ("#/topic/nothing", "#/event/orders%2FNothing", "#/table/nothing", "#/model/nothing", "#/nothing", "#/topic/%E0%A4%A"):
        tab.go(one)
        assert "Nothing of this name is declared here" in tab.text()


def test_the_keyboard_alone_finds_and_opens_a_thing(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.press("/")
    assert tab.run("document.activeElement.id") == "search"
    tab.type("orderplaced")
    options = tab.run("[...document.querySelectorAll('#results [role=option] b')].map(one => one.innerText)")
    assert options[0] == "OrderPlaced"
    tab.press("ArrowDown")
    tab.press("ArrowUp")
    chosen = tab.run("document.getElementById(document.getElementById('search').getAttribute('aria-activedescendant')).innerText")
    assert chosen.startswith("OrderPlaced")
    tab.press("Enter")
    tab.wait("location.hash === '#/event/orders%2FOrderPlaced' && document.querySelector('h1').innerText.startsWith('OrderPlaced')")
    assert tab.run("document.activeElement.id") == "main"
    tab.press("/")
    tab.type("purchases_1h")
    assert tab.run("document.getElementById('search').getAttribute('aria-expanded')") == "true"
    tab.press("Escape")
    assert tab.run("document.getElementById('results').hidden") is True
    assert tab.run("document.getElementById('search').getAttribute('aria-expanded')") == "false"


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("user-actions", "topic user-actions"),
        ("latest earlier purchase", "feature seconds_since_purchase"),  # words of a description
        ("order-team", "topic order-commands"),  # an owner
        ("old-dash", "group old-dashboard"),  # what was only seen
        ("cents price piece", "field items[].unitCents"),
        ("zzz", None),
    ],
)
def test_search_reads_names_descriptions_units_and_owners(tab: Tab, exported: str, words: str, first: str | None) -> None:
    tab.open(exported)
    found = tab.run(f"search({json.dumps(words)}).map(one => `${{one.kind}} ${{one.title}}`)")
    assert (found[0] if found else None) == first


def test_the_first_tab_skips_to_the_content_and_focus_is_seen(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("document.activeElement.getBoundingClientRect().top >= 0")
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "main"
    seen = set()
    for _ in range(25):
        tab.press("Tab")
        at = tab.run(
            "((one, style) => [one.tagName + one.innerText, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2])"
            "(document.activeElement, getComputedStyle(document.activeElement))"
        )
        assert at[1], f"no outline on {at[0]}"
        seen.add(at[0])
    assert len(seen) > 15


def test_the_page_says_what_a_change_hits_as_the_graph_does(tab: Tab, exported: str) -> None:
    tab.open(exported)
    graph = ours().graph
    shown = tab.run(
        "nodes.map(node => [node.kind, node.name, ...[true, false].map("
        "wide => hits(node.id, wide).reached.map(hit => [hit.id, hit.steps]))])"
    )
    assert [(kind, name) for kind, name, *_ in shown] == [(node.kind, node.name) for node in graph.nodes]
    for kind, name, wide, narrow in shown:
        for told, over in ((wide, None), (narrow, DATA)):
            hits = hit_by(graph, [Node(kind, name)], over)
            assert sorted(map(tuple, told)) == sorted((f"{hit.node.kind}:{hit.node.name}", hit.steps) for hit in hits), f"{kind} {name}"


def test_the_pages_number_of_hits_is_that_of_its_list(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.go(route("feature:user_activity:actions_1h"))
    hits = hit_by(ours().graph, [Node("feature", "user_activity:actions_1h")], DATA)
    assert f"{len(hits)} things, directly" in tab.text()
    tab.run("document.getElementById('wide').click()")
    every = hit_by(ours().graph, [Node("feature", "user_activity:actions_1h")])
    assert f"{len(every):,} things, directly" in tab.text()
    assert len(every) > len(hits)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_text_stands_out_from_its_ground(tab: Tab, exported: str, dark: bool, width: int) -> None:
    tab.look(width, 900, dark=dark, calm=True)
    tab.open(exported)
    for one in (
        "#/",
        "#/graph",
        "#/topic/user-actions",
        "#/event/orders%2FOrderPlaced",
        "#/model/purchase_30m%401",
        "#/dead-letters",
        "#/programs",
        "#/topic/orders-copy-of-tuesday",
    ):
        tab.go(one)
        assert tab.run(CONTRAST) == [], one
    tab.press("/")
    tab.type("order")
    assert tab.run(CONTRAST) == []


def test_nothing_moves_for_those_who_asked_for_calm(tab: Tab, exported: str) -> None:
    styles = "[...document.querySelectorAll('*')].map(one => getComputedStyle(one))"
    moving = f"{styles}.filter(one => parseFloat(one.transitionDuration) || one.animationName !== 'none').length"
    tab.open(exported)
    assert tab.run(moving) > 0
    tab.look(1280, 900, calm=True)
    assert tab.run(moving) == 0


def test_a_strangers_names_are_text(tab: Tab, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=document.title='taken'>"
    seen = well(ours())
    seen = dataclasses.replace(
        seen,
        topics=(*(seen.topics or ()), SeenTopic(hostile, 1, 1, 1)),
        groups=(*(seen.groups or ()), SeenGroup("</script><script>document.title='taken'</script>", "empty", 0, {hostile: 3})),
        silent={"redis": hostile},
    )
    write(ours(), document(ours(), seen), tmp_path, load_settings({}))
    tab.open((tmp_path / "index.html").as_uri())
    for one in ("#/", "#/topics", "#/groups", "#/findings", route(f"topic:{hostile}"), route(f"group:{hostile}")):
        tab.go(one)
        assert "taken" not in tab.run("document.title") or hostile in tab.run("document.title")
        assert tab.run("document.querySelectorAll('main img, main script').length") == 0
    assert hostile in tab.text()


def test_a_deprecated_version_is_marked_wherever_the_event_is(tab: Tab, tmp_path: Path) -> None:
    catalogue = deprecated(ours(), "orders", "OrderPlaced", "2027-06-30")
    write(catalogue, document(catalogue, well(catalogue)), tmp_path, load_settings({}))
    tab.open((tmp_path / "index.html").as_uri())
    for one in ("#/events", "#/topic/orders"):
        tab.go(one)
        row = tab.run("[...document.querySelectorAll('main tr')].find(row => row.innerText.includes('OrderPlaced')).innerText")
        assert "ends 2027-06-30" in row
    tab.go("#/event/orders%2FOrderPlaced")
    assert "Version 1 is deprecated. It ends on 2027-06-30; send OrderPlaced 2 instead. order-team answers for it." in tab.text()
    assert tab.text("main h2") == "Version 2"
    tab.go("#/event/orders%2FOrderPlaced/1")
    assert tab.text("main h2") == "Version 1"


def test_an_export_without_a_running_system_says_so(tab: Tab, tmp_path: Path) -> None:
    write(ours(), None, tmp_path, load_settings({}))
    tab.open((tmp_path / "index.html").as_uri())
    assert "Nothing that runs was looked at" in tab.text()
    assert tab.text("#state") == "what is declared"


def test_a_picture_of_a_thing_leads_to_its_neighbours(tab: Tab, exported: str) -> None:
    tab.open(exported)
    tab.go("#/topic/predictions")
    boxes = tab.run("[...document.querySelectorAll('.g-node')].map(one => one.getAttribute('aria-label'))")
    assert {"predictions, topic", "score_events, Flink job", "read-models, service", "predictions, table"} <= set(boxes)
    tab.run("[...document.querySelectorAll('.g-node')].find(one => one.getAttribute('aria-label') === 'score_events, Flink job').focus()")
    assert tab.run("document.querySelectorAll('.g-edge.lit').length") > 0
    tab.press("Enter")
    tab.wait("location.hash === '#/job/score_events'")
    tab.look(360, 780)
    tab.go("#/graph")
    assert tab.run("document.querySelector('.drawing').getBoundingClientRect().right") <= 360
