"""The shop as a person runs it, on a stack of its own: purchases become orders, services come and go, books and tables agree."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.config import Settings
from infra.plain_http import NO_AUTHORITIES
from infra.stack.report import status
from infra.stack.services import SHOP
from infra.stack.stack import down, up
from tests.end_to_end.facts import wait_for
from tests.end_to_end.stacks import empty_place, stack_settings

pytestmark = pytest.mark.timeout(900)
MAPPING = '[columns]\nuser_id = "who"\nsession_id = "visit"\naction = "what"\ntimestamp = "at"\n'
PURCHASES = 12


@pytest.fixture
def place() -> Iterator[Settings]:
    settings = stack_settings("shop", SHOP_CARRIER_LEAVES_PERCENT="30", SHOP_SHIPPING_SECONDS="8", ARCHIVE_SHOP_CHECKPOINT_INTERVAL="2s")
    with empty_place(settings):
        yield settings


def run(settings: Settings, *arguments: str, expect: int = 0) -> str:
    command = [str(settings.root / "streamhouse"), *arguments]
    done = subprocess.run(command, env={**os.environ, **settings.environment}, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def test_purchases_become_orders_that_end_and_the_shop_comes_back_with_the_stack(place: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MAPPING)
    lines = [f"user-{i % 5},v{i // 4},{'purchase' if i % 3 == 2 else 'product_view'},2025-03-01 12:{i:02}:00" for i in range(3 * PURCHASES)]
    (tmp_path / "mine.csv").write_text("\n".join(["who,visit,what,at", *lines]) + "\n")
    said = run(place, "demo", "--shop", "--input", str(tmp_path / "mine.csv"))
    assert f"{PURCHASES} orders placed, one for each purchase" in said
    assert "0 findings" in said
    again = run(place, "demo", "--shop", "--input", str(tmp_path / "mine.csv"))
    assert f"{PURCHASES} were there already" in again
    totals = json.loads(run(place, "shop", "check", "--json"))
    assert (totals["findings"], totals["totals"]["orders"], totals["totals"]["open"]) == ([], PURCHASES, 0)

    found = status(place)
    assert found.troubles == []
    assert set(SHOP) <= {line.name for line in found.services}
    assert {"notification", "inventory", "analytics"} <= {group.group for group in found.groups if group.topic == "orders"}
    assert "read model order_summaries version 1 (live): 0 records behind" in run(place, "status")

    address = f"http://{place.shop_http.host}:{place.shop_http.port}/orders"
    order = httpx.get(f"{address}?userId=user-0", verify=NO_AUTHORITIES).json()["orders"][0]["orderId"]
    live = json.loads(run(place, "aggregate", "show", "order", order, "--history", "--json"))
    assert live["state"]["status"] in ("shipped", "cancelled")

    def archived() -> object:
        return json.loads(run(place, "aggregate", "show", "order", order, "--history", "--archive", "--json"))["history"]

    wait_for(lambda: archived() == live["history"])
    assert order in run(place, "saga", "show", order)
    run(place, "saga", "list", "--stuck")

    run(place, "shop", "down", "notification")
    assert status(place).not_started == ["notification"]
    down(place, lambda _: None)
    up(place, lambda _: None)
    assert status(place).not_started == ["notification"]
    run(place, "shop", "up")
    assert status(place).not_started == []
    run(place, "command", "CreditWallet", '{"userId": "ada", "cents": 5000}')
    body = {"userId": "ada", "warehouseId": "north", "items": [{"sku": "nothing", "quantity": 1, "unitCents": 100}]}
    placed = httpx.post(address, json=body, verify=NO_AUTHORITIES, timeout=30)
    assert placed.status_code == 201, placed.text
    wait_for(lambda: httpx.get(f"{address}/{placed.json()['orderId']}", verify=NO_AUTHORITIES).json().get("status") == "cancelled")
    assert json.loads(run(place, "shop", "check", "--json"))["findings"] == []
