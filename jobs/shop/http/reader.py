"""The read models as they are asked over HTTP: within bounds of time, and by a few threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, and_, literal, or_, select
from sqlalchemy.exc import DBAPIError

from jobs.patterns.database import reading
from jobs.patterns.patience import why
from jobs.patterns.projection import storable
from jobs.shop.http.bodies import ListQuery, OrderPrediction, OrderSummary
from jobs.shop.http.problems import Problem
from jobs.shop.order_predictions import ORDER_PREDICTIONS
from jobs.shop.order_summaries import ORDER_SUMMARIES

log = logging.getLogger("shop-http")

_THREADS = 8  # fewer than the database's pool has connections
_ANSWER_SECONDS = 5.0
_FIRST_LOOK, _LONGEST_LOOK = 0.01, 0.1  # seconds between two looks
_T = TypeVar("_T")


class Reader:
    """Belongs to one event loop. `seconds`: how long a version is waited for."""

    def __init__(self, database: Engine, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._threads = ThreadPoolExecutor(_THREADS, "read-model")

    async def order(self, order_id: str, version: int) -> OrderSummary | None:
        """An order in this version or a later one; version 0: as it is, None where there is none.

        Raises:
            Problem: the read model did not come so far in time, or does not answer.

        """
        clock = asyncio.get_running_loop().time
        end, pause = clock() + self._seconds, _FIRST_LOOK
        while True:
            found = await self._ask(lambda connection: _order(connection, order_id))
            if not version or (found is not None and found.version >= version):
                return found
            if (left := end - clock()) <= 0:
                seen = "does not show the order yet" if found is None else f"shows its version {found.version}"
                text = f"order {order_id!r}: expected version {version} within {self._seconds:g} s, the read model {seen}; ask again"
                raise Problem(503, "read_model_behind", text, after=1, about={"order_id": order_id})
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_LOOK)

    async def orders(self, query: ListQuery) -> list[OrderSummary]:
        """A page of a user's orders, and one more where there is a next page; raises as `order`."""
        return await self._ask(lambda connection: _orders(connection, query))

    async def prediction(self, order_id: str) -> OrderPrediction | None:
        """What is known of an order that names its action; raises as `order`."""
        return await self._ask(lambda connection: _prediction(connection, order_id))

    async def is_up(self) -> bool:
        """Whether it answers."""
        try:
            await self._ask(lambda connection: _order(connection, ""))
        except Problem:
            return False
        return True

    async def _ask(self, question: Callable[[Connection], _T]) -> _T:
        def answered() -> _T:
            with reading(self._database) as connection:
                return question(connection)

        text = "the read model does not answer, or was not built yet; see that read-models runs (`./streamhouse shop up`), and ask again"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):  # a thread that hangs is left behind, and counts until it ends
                return await asyncio.get_running_loop().run_in_executor(self._threads, answered)
        except DBAPIError as error:
            log.warning("%s", why(error))
            raise Problem(503, "read_model_away", text, after=2) from None
        except TimeoutError:
            log.warning("the database did not answer within %g s", _ANSWER_SECONDS)
            raise Problem(503, "read_model_away", text, after=2) from None


def _order(connection: Connection, order_id: str) -> OrderSummary | None:
    view = ORDER_SUMMARIES.view
    row = connection.execute(select(view).where(view.c.order_id == literal(storable(order_id)))).one_or_none()
    return None if row is None else OrderSummary(**_values(row))


def _orders(connection: Connection, query: ListQuery) -> list[OrderSummary]:
    view = ORDER_SUMMARIES.view
    c = view.c
    asked = select(view).where(c.user_id == literal(storable(query.user_id)))
    if isinstance(query.status, str):
        asked = asked.where(c.status == literal(query.status))
    if isinstance(query.before, str):
        before = literal(storable(query.before))
        last = view.alias("last")
        at = select(last.c.placed_at).where(last.c.order_id == before).scalar_subquery()
        asked = asked.where(or_(c.placed_at < at, and_(c.placed_at == at, c.order_id < before)))
    rows = connection.execute(asked.order_by(c.placed_at.desc(), c.order_id.desc()).limit(query.limit + 1))
    return [OrderSummary(**_values(row)) for row in rows]


def _prediction(connection: Connection, order_id: str) -> OrderPrediction | None:
    view = ORDER_PREDICTIONS.view
    row = connection.execute(select(view).where(view.c.order_id == literal(storable(order_id)))).one_or_none()
    return None if row is None else OrderPrediction(**_values(row))


def _values(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row
    return dict(row._mapping)
