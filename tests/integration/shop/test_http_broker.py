"""Orders over HTTP while the broker is away: reads go on, writes are told so, and none is accepted twice."""

from __future__ import annotations

from pathlib import Path

from infra.config import load_settings
from infra.contracts import topics
from tests.brokers import broker_of
from tests.integration.shop.running import answers, programs, until
from tests.integration.shop.test_http import ORDER, Shop, client_of, configured, problem
from tests.ports import free_ports


def test_a_broker_that_is_away_at_the_start_and_dies_later_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clients, controller, http = free_ports(3)
    there = load_settings(
        {
            "STREAMHOUSE_STATE": str(tmp_path / "state"),
            "STREAMHOUSE_KAFKA_PORT": clients,
            "STREAMHOUSE_KAFKA_CONTROLLER_PORT": controller,
        }
    )
    broker = broker_of(there)
    patient = {"STREAMHOUSE_SHOP_PAYMENT_SECONDS": "900"}  # no payment service runs: a busy machine's order is not to be wound down
    settings = configured(there, there.state, STREAMHOUSE_SHOP_HTTP_PORT=http, **patient)
    with programs(settings, tmp_path) as started, client_of(settings) as client:
        started.start("jobs.shop.http_service")
        until(lambda: answers(client, "/openapi.json", 200))
        problem(client.post("/orders", json=ORDER, headers={"Idempotency-Key": "early"}), 503, "broker_away")
        broker.start()
        try:
            topics.apply(settings)
            shop = Shop(settings, started, started.start("jobs.serve", "order"), started.start("jobs.shop.project"), client)
            until(lambda: shop.place(Idempotency_Key="early").status_code == 201)
            early = shop.place(Idempotency_Key="early").json()
            until(lambda: shop.read(early["orderId"], version=early["version"]).status_code == 200)  # the read model is built first
            broker.kill()
            away = shop.place(Idempotency_Key="late")
            assert (away.status_code, away.json()["reason"] in ("broker_away", "no_answer")) == (503, True)
            assert shop.read(early["orderId"], version=early["version"]).status_code == 200
            until(lambda: client.get("/health").json() == {"broker": "down", "orderService": "down", "readModel": "up"})
            broker.start()
            until(lambda: shop.place(Idempotency_Key="late").status_code == 201)
            late = shop.place(Idempotency_Key="late").json()
            assert late["orderId"] == away.json()["orderId"]
            assert [shop.events(one["orderId"]) for one in (early, late)] == [["OrderPlaced"]] * 2
        finally:
            broker.stop()
