"""What the operator of a sandbox can see and do: `/_/orders`, `/_/stats`, `/_/items`, `/_/faults`.

Answers are JSON; what is wrong with a request is told in sentences, with HTTP 400. No customer data is shown.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import islice
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adapter.errors import SettingsError
from adapter.sandbox.books import BookedOrder, Key
from adapter.sandbox.catalogue import describe
from adapter.sandbox.desk import Desk
from adapter.sandbox.fault_document import describe_faults, read_faults

PAGE_SIZE: Final = 100
LARGEST_PAGE: Final = 1_000
REPEATS_SHOWN: Final = 100
MAX_BODY: Final = 1_048_576

Handler = Callable[[Request], Awaitable[JSONResponse]]


def operator_routes(desk: Desk, now: Callable[[], datetime]) -> list[Route]:
    """The routes, to be mounted at `/_`."""
    operator = Operator(desk, now)
    return [
        Route("/orders", operator.orders, methods=["GET"]),
        Route("/stats", operator.stats, methods=["GET"]),
        Route("/items", operator.items, methods=["GET"]),
        Route("/items/{item_no}", _telling(operator.put_item), methods=["PUT"]),
        Route("/faults", _telling(operator.faults), methods=["GET", "PUT", "DELETE"]),
    ]


class Operator:
    """Handles the operator's requests at a desk."""

    def __init__(self, desk: Desk, now: Callable[[], datetime]) -> None:
        self._desk = desk
        self._now = now

    async def orders(self, request: Request) -> JSONResponse:
        """One page of orders, first come first; `offset` and `limit` in the query."""
        now = self._now()
        self._desk.catch_up(now)
        offset = _natural(request.query_params.get("offset"), 0)
        limit = _natural(request.query_params.get("limit"), PAGE_SIZE)
        if offset is None or limit is None or not 1 <= limit <= LARGEST_PAGE:
            return _told(400, f"offset must be 0 or more, limit from 1 to {LARGEST_PAGE}")
        books = self._desk.books
        page = [describe_order(books.issuances(key), now) for key in islice(books.numbers(), offset, offset + limit)]
        return JSONResponse({"total": books.number_count, "offset": offset, "limit": limit, "orders": page})

    async def stats(self, request: Request) -> JSONResponse:
        """All counters."""
        self._desk.catch_up(self._now())
        books, faults, stats = self._desk.books, self._desk.faults, self._desk.stats
        repeated = books.repeated()
        late_effects = {**stats.late_effects_described(), "pending": self._desk.late_pending}
        return JSONResponse(
            {
                **stats.describe(),
                "late_effects": late_effects,
                "orders": books.number_count,
                "tickets": books.ticket_count,
                "repeats": {"count": len(repeated), "orders": [_named(key) for key in repeated[:REPEATS_SHOWN]]},
                "faults": dict(faults.fired),
            }
        )

    async def items(self, request: Request) -> JSONResponse:
        """Every item of the catalogue."""
        return JSONResponse({"items": [describe(item) for item in self._desk.catalogue.items()]})

    async def put_item(self, request: Request) -> JSONResponse:
        """Put an item on or off the shelf, change it, or make a new one."""
        change = await _json(request)
        if not isinstance(change, dict):
            raise SettingsError('the body must be a JSON object like {"listed": false}')
        return JSONResponse(describe(self._desk.catalogue.put(request.path_params["item_no"], change, self._now())))

    async def faults(self, request: Request) -> JSONResponse:
        """Show the faults in force, after putting others in their place or clearing them."""
        if request.method == "PUT":
            faults, seed = read_faults(await _json(request))
            self._desk.faults.arm(*faults, seed=seed)
        elif request.method == "DELETE":
            self._desk.faults.clear()
        return JSONResponse(describe_faults(self._desk.faults))


def describe_order(issuances: tuple[BookedOrder, ...], now: datetime) -> dict[str, object]:
    """One trade number with every time it was issued; what describes it is the first of them."""
    first = issuances[0]
    return {
        **_named(first.key),
        "issue_type": first.request.issue_type.name.lower(),
        "items": [
            {"item_no": line.item_no, "name": line.name, "price": line.price, "quantity": line.quantity}
            for line in first.lines
        ],
        "ticket_count": sum(order.ticket_count for order in issuances),
        "times_issued": len(issuances),
        "status": first.status(now).name.lower(),
        "remark": first.remark(now),
        "ticket_trade_no": first.ticket_trade_no,
        "received_at": first.received_at.isoformat(),
        "refund_notify_url": first.request.refund_notify_url,
        "use_status_notify_url": first.request.use_status_notify_url,
    }


def _named(key: Key) -> dict[str, str]:
    merchant_id, trade_no = key
    return {"merchant_id": merchant_id, "trade_no": trade_no.value, "trade_no_kind": trade_no.kind.value}


def _natural(text: str | None, default: int) -> int | None:
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


async def _json(request: Request) -> object:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise SettingsError(f"the body must not be larger than {MAX_BODY} bytes")
    try:
        document: object = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise SettingsError("the body must be JSON") from None
    return document


def _told(status: int, *problems: str) -> JSONResponse:
    return JSONResponse({"problems": problems}, status)


def _telling(handler: Handler) -> Handler:
    """Answer 400 with every problem, where a handler refuses what it was given."""

    async def tell(request: Request) -> JSONResponse:
        try:
            return await handler(request)
        except SettingsError as error:
            return _told(400, *error.problems)

    return tell
