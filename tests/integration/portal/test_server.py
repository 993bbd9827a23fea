"""The portal's server with planted things: what it answers to whom, and what its page says while it lives and when it is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
import yaml

from infra.config import load_settings
from infra.portal.asyncapi import asyncapi
from infra.portal.graph import DATA, Node, hit_by
from infra.portal.live import Seen
from infra.portal.render import catalogue_document
from jobs.portal.app import application
from jobs.portal.current import Current
from jobs.portal.live import Live
from tests.browser import Tab
from tests.contracts.changes import COMPATIBLE
from tests.contracts.edits import copied
from tests.portal import document, ours, planted, well
from tests.ports import free_ports


@dataclass
class Planted:
    """What the server sees when it looks, and how often it did."""

    seen: Seen
    looks: int = 0

    def __call__(self) -> Seen:
        self.looks += 1
        return self.seen


@contextlib.contextmanager
def serving(look: Planted, look_seconds: str = "0", current: Current | None = None) -> Iterator[str]:
    """The address of a server that is ended afterwards. `current`: what is declared; what this repository declares when left out."""
    port = int(free_ports(1)[0])
    settings = load_settings({"STREAMHOUSE_PORTAL_LOOK_SECONDS": look_seconds})
    live = Live(settings, ours, look) if current is None else Live(settings, current, look, current.findings)
    app = application(current or ours, live.document, port, "127.0.0.1:19092", "PLAINTEXT")
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 180
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Planted(planted(well(ours())))) as url:
        yield url


def test_it_answers_what_is_declared_and_seen(address: str) -> None:
    assert httpx.get(f"{address}/catalogue.json").json() == httpx.Response(200, json=catalogue_document(ours())).json()
    told = httpx.get(f"{address}/live.json").json()
    assert len(told.pop("version")) == 16
    assert told == httpx.Response(200, json=document(ours(), planted(well(ours())))).json()
    wanted = asyncapi(ours(), "127.0.0.1:19092")
    assert httpx.get(f"{address}/asyncapi.json").json() == httpx.Response(200, json=wanted).json()
    assert yaml.safe_load(httpx.get(f"{address}/asyncapi.yaml").text) == wanted


def test_it_says_what_a_change_hits(address: str) -> None:
    start = Node("topic", "orders")
    for only, over in (("all", None), ("data", DATA)):
        told = httpx.get(f"{address}/impact", params={"node": "topic:orders", "only": only}).json()
        hits = hit_by(ours().graph, [start], over)
        assert [(one["kind"], one["name"], one["steps"], one["why"]) for one in told["hits"]] == [
            (hit.node.kind, hit.node.name, hit.steps, hit.why) for hit in hits
        ]
    answer = httpx.get(f"{address}/impact", params={"node": "topic:<b>"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert httpx.get(f"{address}/impact", params={"node": "topic:orders", "only": "some"}).status_code == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example:{port}", "localhost:1", ""])
def test_a_name_that_a_stranger_leads_here_is_refused(address: str, host: str) -> None:
    said = host.replace("{port}", address.rpartition(":")[2])
    for path in ("/", "/live.json", "/catalogue.json", "/nothing"):
        answer = httpx.get(f"{address}{path}", headers={"Host": said})
        assert answer.status_code == 421
        assert "orders" not in answer.text


def test_localhost_is_its_own_name(address: str) -> None:
    assert httpx.get(f"{address}/", headers={"Host": f"LOCALHOST:{address.rpartition(':')[2]}"}).status_code == 200


def test_every_answer_is_guarded_and_none_may_be_read_by_other_origins(address: str) -> None:
    for path in ("/", "/live.json", "/asyncapi.yaml", "/impact?node=x:y", "/nothing"):
        headers = httpx.get(f"{address}{path}", headers={"Origin": "http://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert httpx.get(f"{address}{path}").status_code == 404
    assert httpx.post(f"{address}/live.json").status_code == 405


def test_many_who_ask_at_once_share_one_look() -> None:
    look = Planted(well(ours()))
    with serving(look, look_seconds="60") as url:
        threads = [threading.Thread(target=httpx.get, args=(f"{url}/live.json",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert look.looks == 1


def test_the_page_follows_what_runs_and_says_when_its_server_is_gone(chromium: Tab) -> None:
    chromium.look(1280, 900)
    chromium.errors.clear()
    look = Planted(well(ours()))
    with serving(look) as url:
        chromium.open(f"{url}/")
        chromium.wait("document.querySelector('.findings').innerText.includes('What is declared and what runs agree')")
        assert chromium.text("#state").startswith("all answered · looked at 00:53:20")
        chromium.run("document.querySelector('main a.tile').focus()")
        look.seen = planted(well(ours()))
        chromium.wait("document.querySelector('.findings').innerText.includes('orders-copy-of-tuesday')")
        assert chromium.run("document.activeElement.getAttribute('href')") == "#/findings"  # who stands there stays there
        chromium.go("#/group/notification")
        chromium.wait("document.querySelector('main').innerText.includes('1,340')")
        look.seen = dataclasses.replace(look.seen, groups=None, silent={"groups": "It did not answer in time."})
        chromium.wait("document.querySelector('#state').innerText.includes('no answer: groups')")
        chromium.wait("document.querySelector('main').innerText.includes('Nobody could look')")
        assert chromium.errors == []
    chromium.wait("document.querySelector('#state').innerText.includes('server does not answer')")
    assert "this is of 2026-11-30 00:53:20 UTC" in chromium.text("#state")
    chromium.go("#/topics")
    assert "orders" in chromium.text()
    chromium.errors.clear()  # of the requests that nobody answered


NEW_FIELD = "field:user-actions/UserAction/1/data.referrer"


def test_what_is_declared_while_it_runs_is_known_at_once(tmp_path: Path) -> None:
    folder = copied(tmp_path / "contracts")
    current = Current(load_settings({}), folder)
    look = Planted(well(ours()))
    with serving(look, look_seconds="60", current=current) as url:

        def told() -> tuple[str, bool, bool, int, list[tuple[str, str]]]:
            live = httpx.get(f"{url}/live.json").json()
            known = ["data.referrer" in httpx.get(f"{url}/{name}").text for name in ("catalogue.json", "")]
            assert ("referrer" in httpx.get(f"{url}/asyncapi.yaml").text) == known[0]
            hits = httpx.get(f"{url}/impact", params={"node": NEW_FIELD}).status_code
            return live["version"], *known, hits, [(one["kind"], one["node"]) for one in live["findings"]]

        first, *before = told()
        assert before == [False, False, 404, []]
        COMPATIBLE["a text"](folder)
        second, *after = told()
        assert (first != second, after) == (True, [True, True, 200, []])
        (table,) = (one for one in httpx.get(f"{url}/catalogue.json").json()["tables"] if one["name"] == "user_actions")
        assert "referrer" in [column["name"] for column in table["columns"]]
        hit = {(one["kind"], one["name"]) for one in httpx.get(f"{url}/impact", params={"node": NEW_FIELD}).json()["hits"]}
        assert ("column", "user_actions.referrer") in hit

        file = folder / "topics" / "orders.yaml"
        text = file.read_text("utf-8")
        file.write_text(text[: len(text) // 2] + "\n  : [", "utf-8")
        broken = [("unreadable_contracts", "files:infra/contracts")]
        assert told() == (second, True, True, 200, broken), "the last that could be read"
        (said,) = httpx.get(f"{url}/live.json").json()["findings"]
        assert "orders.yaml: expected YAML" in said["text"]
        file.write_text(text, "utf-8")
        assert told() == (second, True, True, 200, [])


def test_an_open_page_shows_what_is_declared_since_but_not_under_the_hands_of_who_types(chromium: Tab, tmp_path: Path) -> None:
    chromium.look(1280, 900)
    chromium.leave()  # the page before asks its own server, whose port may be this one's
    chromium.errors.clear()
    folder = copied(tmp_path / "contracts")
    current = Current(load_settings({}), folder)
    with serving(Planted(well(ours())), current=current) as url:
        chromium.open(f"{url}/")
        chromium.wait("document.querySelector('#state').innerText.startsWith('all answered')")
        chromium.go("#/event/user-actions%2FUserAction")
        assert "data.referrer" not in chromium.text()
        chromium.press("/")
        chromium.type("orders")
        COMPATIBLE["a text"](folder)
        known = chromium.run("heardAt")
        chromium.wait(f"heardAt > {known} + 3500")  # two answers later
        assert chromium.run("document.getElementById('search').value") == "orders"
        chromium.press("Escape")
        chromium.press("Escape")
        chromium.wait("document.querySelector('main')?.innerText.includes('data.referrer')")  # it is made anew meanwhile
        assert chromium.run("location.hash") == "#/event/user-actions%2FUserAction"
        (folder / "topics" / "orders.yaml").write_text("name: [", "utf-8")
        chromium.go("#/findings")
        chromium.wait("document.querySelector('main').innerText.includes('Unreadable contracts')")
        assert "infra/contracts contract files They cannot be read" in " ".join(chromium.text().split())
        assert chromium.errors == []
    chromium.errors.clear()  # of the requests that nobody answered
