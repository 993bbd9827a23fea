"""Orders over HTTP against the real order service, broker and read model: each answer, and that what was accepted once stays one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.clock import system_clock
from infra.config import Settings, load_settings
from jobs.patterns.commands import Commands
from jobs.patterns.kafka_store import KafkaEventStore
from jobs.patterns.message import derived_id
from jobs.patterns.replies import CommandAccepted
from jobs.shop.messages import NoteStep
from jobs.shop.order import Patience, order_aggregate
from tests.brokers import empty_topics
from tests.integration.shop.running import Programs, answers, programs, until
from tests.ports import free_ports
from tests.postgres import running_postgres

LINE = {"sku": "lamp", "quantity": 2, "unitCents": 1999}
ORDER: dict[str, Any] = {"userId": "Zoë", "warehouseId": "berlin", "items": [LINE]}
REPLY_SECONDS, READ_SECONDS, BODY_SECONDS = 10, 10, 2  # as long as a busy machine needs for an answer


@dataclass
class Shop:
    """The order service, the read model's service and the HTTP service, each a process."""

    settings: Settings
    running: Programs
    order: subprocess.Popen[bytes]
    project: subprocess.Popen[bytes]
    client: httpx.Client

    def place(self, order: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Send an order."""
        return self.client.post(
            "/orders", json=ORDER if order is None else order, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def read(self, order_id: str, **query: str | int) -> httpx.Response:
        """Ask for an order."""
        return self.client.get(f"/orders/{order_id}", params=query)

    def events(self, order_id: str) -> list[str]:
        """What was appended for an order, from the log itself."""
        store = KafkaEventStore(self.settings, order_aggregate(Patience()))
        return [event.envelope.type for event in store.history(order_id)]

    def note(self, order_id: str, step: Any, outcome: Any) -> None:
        """Say what a participant would have said."""
        with Commands(self.settings, system_clock, "test", seconds=30) as commands:
            reply = commands.execute(NoteStep(order_id, step, outcome, "said"), derived_id(order_id, f"{step} {outcome}"))
        assert isinstance(reply, CommandAccepted)

    @property
    def address(self) -> tuple[str, int]:
        """Where the HTTP service listens."""
        return self.settings.shop_http.host, self.settings.shop_http.port


def configured(broker: Settings, state: Path, **more: str) -> Settings:
    """The broker's settings with a state folder and a port for the service."""
    http = {
        "STREAMHOUSE_SHOP_HTTP_PORT": str(free_ports(1)[0]),
        "STREAMHOUSE_SHOP_HTTP_REPLY_SECONDS": str(REPLY_SECONDS),
        "STREAMHOUSE_SHOP_HTTP_READ_SECONDS": str(READ_SECONDS),
        "STREAMHOUSE_SHOP_HTTP_BODY_SECONDS": str(BODY_SECONDS),
        "STREAMHOUSE_SHOP_HTTP_COMMANDS": "8",
    }
    return load_settings({**broker.environment, "STREAMHOUSE_STATE": str(state), **http, **more})


@contextmanager
def client_of(settings: Settings) -> Iterator[httpx.Client]:
    """Speaks to the service of these settings."""
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.shop_http.port}", timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests of a database."""
    empty_topics(broker)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "postgresql":
        with running_postgres() as server, running(configured(broker, folder, STREAMHOUSE_READ_MODELS_URL=server.url), folder) as shop:
            yield shop
    else:
        with running(configured(broker, folder), folder) as shop:
            yield shop


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[Shop]:
    """Until all three answer."""
    with programs(settings, folder) as started, client_of(settings) as client:
        order, project = started.start("jobs.serve", "order"), started.start("jobs.shop.project")
        started.start("jobs.shop.http_service")
        until(lambda: answers(client, "/health", 200))
        shop = Shop(settings, started, order, project, client)
        until(lambda: shop.place().status_code == 201)  # the group has its partitions
        yield shop


def problem(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """What a problem document says, when it is this one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    said: dict[str, Any] = response.json()
    assert (said["status"], said["reason"]) == (status, reason), said
    assert {"type", "title", "detail"} <= set(said)
    return said


def test_an_order_is_placed_read_listed_and_cancelled(shop: Shop) -> None:
    placed = shop.place({**ORDER, "userId": "one", "actionId": "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"})
    assert placed.status_code == 201, placed.text
    order_id = placed.json()["orderId"]
    assert placed.json() == {"orderId": order_id, "version": 1}
    assert (placed.headers["etag"], placed.headers["location"]) == ('"1"', f"/orders/{order_id}")
    seen = shop.client.get(placed.headers["location"], params={"version": 1})
    assert seen.status_code == 200, seen.text
    assert seen.headers["etag"] == '"1"'
    expected = {
        "orderId": order_id,
        "userId": "one",
        "status": "placed",
        "totalCents": 3998,
        "itemCount": 2,
        "version": 1,
        "closedAt": None,
    }
    assert expected.items() <= seen.json().items()
    assert shop.client.get(f"/orders/{order_id}", headers={"If-None-Match": '"1"'}).status_code == 304
    until(lambda: answers(shop.client, f"/orders/{order_id}/prediction", 200))
    prediction = shop.client.get(f"/orders/{order_id}/prediction").json()
    assert (prediction["actionId"], prediction["score"]) == ("1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9", None)
    stale = shop.client.post(f"/orders/{order_id}/cancel", json={"reason": "twice"}, headers={"If-Match": '"7"'})
    assert problem(stale, 412, "conflict")["version"] == 1
    cancelled = shop.client.post(f"/orders/{order_id}/cancel", json={"reason": "twice"}, headers={"If-Match": '"1"'})
    assert (cancelled.status_code, cancelled.json()) == (202, {"orderId": order_id, "version": 2})
    assert shop.read(order_id, version=2).json()["status"] == "cancelling"
    problem(shop.client.post(f"/orders/{order_id}/cancel", json={"reason": "twice"}), 409, "too_late")
    shop.note(order_id, "payment", "failed")
    ended = shop.read(order_id, version=3).json()
    assert (ended["status"], ended["reason"], ended["closedAt"] is not None) == ("cancelled", "twice", True)
    assert shop.client.get("/orders", params={"userId": "one"}).json() == {"orders": [ended], "next": None}
    assert shop.client.get("/orders", params={"userId": "one", "status": "shipped"}).json() == {"orders": [], "next": None}
    assert shop.events(order_id) == ["OrderPlaced", "OrderCancelling", "OrderCancelled"]


def test_pages_hold_each_order_once_the_latest_first(shop: Shop) -> None:
    placed = [shop.place({**ORDER, "userId": "pages"}).json()["orderId"] for _ in range(7)]
    shop.read(placed[-1], version=1)
    until(lambda: len(shop.client.get("/orders", params={"userId": "pages"}).json()["orders"]) == 7)
    seen, path = list[dict[str, Any]](), "/orders?userId=pages&status=placed&limit=3"
    while path:
        page = shop.client.get(path).json()
        assert len(page["orders"]) <= 3
        seen, path = seen + page["orders"], page["next"]
    assert sorted(order["orderId"] for order in seen) == sorted(placed)
    times = [datetime.fromisoformat(order["placedAt"]) for order in seen]  # a whole second has no fraction, and as text comes last
    assert times == sorted(times, reverse=True)


def test_the_aggregate_refuses_and_nothing_is_appended(shop: Shop) -> None:
    for items, reason in (
        ([], "no_items"),
        ([LINE, LINE], "repeated_item"),
        ([{**LINE, "unitCents": 0}], "no_price"),
        ([{**LINE, "sku": str(i)} for i in range(201)], "too_many_items"),
    ):
        said = problem(shop.place({**ORDER, "orderId": f"refused-{reason}", "items": items}), 422, reason)
        assert said["orderId"] == f"refused-{reason}"
        assert shop.events(f"refused-{reason}") == []


@pytest.mark.parametrize(
    ("order", "reason", "part"),
    [
        ({**ORDER, "price": 1}, "unknown_field", "`price`"),
        ({**ORDER, "items": [{**LINE, "colour": "red"}]}, "unknown_field", "`colour` - at `items[0]`"),
        ({"userId": "a", "items": [LINE]}, "missing_field", "`warehouseId`"),
        ({**ORDER, "items": [{**LINE, "quantity": "2"}]}, "invalid_value", "`items[0].quantity`"),
        ({**ORDER, "items": [{**LINE, "quantity": 0}]}, "invalid_value", "`items[0].quantity`"),
        ({**ORDER, "userId": "u" * 129}, "invalid_value", "`userId`"),
        ({**ORDER, "orderId": "a/b"}, "invalid_value", "`orderId`"),
        ([], "invalid_value", "`object`"),
    ],
)
def test_a_field_that_does_not_fit_is_named(shop: Shop, order: Any, reason: str, part: str) -> None:
    assert part in problem(shop.place(order), 422, reason)["detail"]


def test_other_requests_are_refused_each_with_its_reason(shop: Shop) -> None:
    as_json = {"Content-Type": "application/json"}
    problem(shop.client.post("/orders", content=b'{"userId": ', headers=as_json), 400, "invalid_json")
    problem(shop.client.post("/orders", content=b'{"userId": NaN}', headers=as_json), 400, "invalid_json")
    problem(shop.client.post("/orders", content=b'{"userId": "\xff"}', headers=as_json), 400, "not_utf8")
    problem(shop.client.post("/orders", data={"userId": "a"}), 415, "not_json")
    problem(shop.place(Idempotency_Key="k" * 129), 400, "invalid_header")
    problem(shop.place({**ORDER, "orderId": "mine"}, Idempotency_Key="k"), 422, "two_keys")
    problem(shop.client.post("/orders/x/cancel", json={"reason": "a"}, headers={"If-Match": "3"}), 400, "invalid_header")
    problem(shop.client.post("/orders/x/cancel", json={"reason": ""}), 422, "invalid_value")
    problem(shop.client.post("/orders/nobody/cancel", json={"reason": "a"}), 404, "unknown_order")
    problem(shop.client.post(f"/orders/{'o' * 129}/cancel", json={"reason": "a"}), 404, "unknown_order")
    problem(shop.read("nobody"), 404, "unknown_order")
    problem(shop.read("nobody", version="x"), 422, "invalid_value")
    problem(shop.read("nobody", colour="red"), 422, "unknown_field")
    problem(shop.client.get("/orders"), 422, "missing_field")
    problem(shop.client.get("/orders?userId=a&limit=0"), 422, "invalid_value")
    problem(shop.client.get("/orders?userId=a&userId=b"), 422, "invalid_value")
    problem(shop.client.get("/orders/nobody/prediction"), 404, "no_prediction")
    problem(shop.client.get("/nothing"), 404, "no_such_address")
    assert problem(shop.client.put("/orders", json=ORDER), 405, "no_such_method")
    assert shop.client.get("/docs").status_code == 404
    assert shop.client.get("/openapi.json").json()["openapi"].startswith("3.")


def test_a_key_is_one_order_however_often_and_however_concurrently_it_comes(shop: Shop) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: shop.place(Idempotency_Key="again"), range(4)))
    assert {response.status_code for response in made} == {201}
    assert len({response.text for response in made}) == 1
    order_id = made[0].json()["orderId"]
    reordered = json.dumps(dict(reversed(ORDER.items())), indent=3)
    again = shop.client.post("/orders", content=reordered, headers={"Content-Type": "application/json", "Idempotency-Key": "again"})
    assert again.text == made[0].text
    said = problem(shop.place({**ORDER, "userId": "another"}, Idempotency_Key="again"), 422, "key_reused")
    assert said["orderId"] == order_id
    assert shop.events(order_id) == ["OrderPlaced"]


def test_an_order_id_of_ones_own_is_one_order(shop: Shop) -> None:
    mine = {**ORDER, "orderId": "order-of-my-own"}
    assert shop.place(mine).json() == shop.place(mine).json() == {"orderId": "order-of-my-own", "version": 1}
    problem(shop.place({**mine, "userId": "another"}), 409, "already_placed")
    key = {"Idempotency-Key": "cancel it"}
    problem(
        shop.client.post("/orders/order-of-my-own/cancel", json={"reason": "a"}, headers={"Idempotency-Key": "a b"}), 400, "invalid_header"
    )
    key = {"Idempotency-Key": "cancel-it"}
    twice = [shop.client.post("/orders/order-of-my-own/cancel", json={"reason": "a"}, headers=key) for _ in range(2)]
    assert [response.json()["version"] for response in twice] == [2, 2]
    assert shop.events("order-of-my-own") == ["OrderPlaced", "OrderCancelling"]


def test_what_was_written_is_read_or_the_read_model_is_said_to_be_behind(shop: Shop) -> None:
    before = shop.place().json()["orderId"]
    assert shop.read(before, version=1).status_code == 200
    shop.project.send_signal(signal.SIGSTOP)
    try:
        order_id = shop.place().json()["orderId"]
        problem(shop.read(order_id), 404, "unknown_order")
        begun = time.monotonic()
        behind = shop.read(order_id, version=1)
        assert READ_SECONDS <= time.monotonic() - begun < READ_SECONDS + 10
        problem(behind, 503, "read_model_behind")
        assert int(behind.headers["retry-after"]) > 0
        assert shop.read(before, version=1).status_code == 200
        problem(shop.read(before, version=2), 503, "read_model_behind")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(shop.read, order_id, version=1)
            time.sleep(READ_SECONDS / 3)
            shop.project.send_signal(signal.SIGCONT)
            assert waiting.result(20).json()["version"] == 1
    finally:
        shop.project.send_signal(signal.SIGCONT)


def test_large_and_slow_bodies_are_cut_off(shop: Shop) -> None:
    large = {**ORDER, "items": [{**LINE, "sku": f"{i:0128}"} for i in range(500)]}
    assert len(json.dumps(large)) > 65_536
    problem(shop.place(large), 413, "too_large")
    chunks = (b"[" * 8192 for _ in range(16))
    problem(shop.client.post("/orders", content=chunks, headers={"Content-Type": "application/json"}), 413, "too_large")
    head = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert b" 413 " in exchanged(shop, head + b"Content-Length: 99999999999\r\n\r\n", 5)  # answered without the body
    begun = time.monotonic()
    assert b" 408 " in exchanged(shop, head + b"Content-Length: 100\r\n\r\n{", BODY_SECONDS + 5)
    assert exchanged(shop, head, BODY_SECONDS + 5) == b""  # a head without an end
    assert time.monotonic() - begun < 2 * BODY_SECONDS + 10
    assert b" 400 " in exchanged(shop, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 5)
    with socket.create_connection(shop.address) as endless:
        endless.settimeout(10)
        endless.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 - at which of them the connection is gone is open
            for _ in range(10_000):
                endless.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
    assert shop.place().status_code == 201


def exchanged(shop: Shop, said: bytes, seconds: float) -> bytes:
    """What the service answers to these bytes until it closes the connection."""
    with socket.create_connection(shop.address) as connection:
        connection.settimeout(seconds)
        connection.sendall(said)
        heard = b""
        while part := connection.recv(65_536):
            heard += part
        return heard


def test_without_the_order_service_it_says_so_and_the_same_key_is_accepted_once_afterwards(shop: Shop) -> None:
    shop.order.kill()
    shop.order.wait(120)
    begun = time.monotonic()
    away = shop.place(Idempotency_Key="while-away")
    assert time.monotonic() - begun < REPLY_SECONDS + 10
    said = problem(away, 503, "no_answer")
    assert (said["idempotencyKey"], int(away.headers["retry-after"]) > 0) == ("while-away", True)
    unnamed = problem(shop.place(), 503, "no_answer")
    with ThreadPoolExecutor(24) as pool:
        many = list(pool.map(lambda i: shop.place({**ORDER, "userId": f"many-{i}"}, Idempotency_Key=f"many-{i}"), range(24)))
    assert {response.json()["reason"] for response in many} == {"no_answer", "busy"}
    until(lambda: answers(shop.client, "/health", 503))
    until(lambda: shop.client.get("/health").json() == {"broker": "up", "orderService": "down", "readModel": "up"})
    shop.order = shop.running.start("jobs.serve", "order")
    until(lambda: shop.place(Idempotency_Key="while-away").status_code == 201)
    again = shop.place(Idempotency_Key=unnamed["idempotencyKey"])
    assert (again.status_code, again.json()) == (201, {"orderId": unnamed["orderId"], "version": 1})
    for order_id in (said["orderId"], unnamed["orderId"]):
        assert shop.events(order_id) == ["OrderPlaced"]
    until(lambda: answers(shop.client, "/health", 200))


def test_it_beats_and_ends_in_order(broker: Settings, tmp_path: Path) -> None:
    settings = configured(broker, tmp_path)
    with programs(settings, tmp_path) as started, client_of(settings) as client:
        service = started.start("jobs.shop.http_service")
        until(lambda: answers(client, "/openapi.json", 200))
        until((settings.jobs_folder / "shop-http.beat").exists)
        problem(client.get("/orders/a"), 503, "read_model_away")
        rival = started.start("jobs.shop.http_service")
        assert rival.wait(120) == 1
        assert "shop_http.port" in (tmp_path / "jobs.shop.http_service-1.log").read_text("utf-8")
        service.terminate()
        assert service.wait(120) == 0
