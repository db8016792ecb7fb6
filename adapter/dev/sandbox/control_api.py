"""The operator's HTTP API: orders and their tickets, notifications, counters, items, faults.

Answers are JSON. HTTP 400 lists every problem of a request. No customer data is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adapter.dev.sandbox.catalogue import describe
from adapter.dev.sandbox.fault_json import describe_faults, read_faults
from adapter.dev.sandbox.order_store import Key
from adapter.dev.sandbox.redemption import Declined
from adapter.dev.sandbox.representations import describe_delivery, describe_order, describe_tickets, named
from adapter.dev.sandbox.simulator import Simulator
from adapter.dev.sandbox.ticket_states import Act
from adapter.errors import SettingsError
from adapter.protocol.issue import TradeNoKind
from adapter.strict_json import parse_json

PAGE_SIZE: Final = 100
LARGEST_PAGE: Final = 1_000
REPEATS_SHOWN: Final = 100
MAX_BODY: Final = 1_048_576

Handler = Callable[[Request], Awaitable[JSONResponse]]
_Entry = TypeVar("_Entry")
_NO_ORDER: Final = "no order has this number"


def control_routes(simulator: Simulator, now: Callable[[], datetime]) -> list[Route]:
    """The routes, to be mounted at `/_`."""
    control_api = ControlApi(simulator, now)
    return [
        Route("/orders", _with_problems(control_api.orders), methods=["GET"]),
        Route("/orders/{merchant_id}/{trade_no}", control_api.order, methods=["GET"]),
        Route("/orders/{merchant_id}/{trade_no}/{act}", _with_problems(control_api.use), methods=["POST"]),
        Route("/notifications", _with_problems(control_api.notifications), methods=["GET"]),
        Route("/stats", control_api.stats, methods=["GET"]),
        Route("/items", control_api.items, methods=["GET"]),
        Route("/items/{item_no}", _with_problems(control_api.put_item), methods=["PUT"]),
        Route("/faults", _with_problems(control_api.faults), methods=["GET", "PUT", "DELETE"]),
    ]


class ControlApi:
    """Handles the operator's requests for one simulator."""

    def __init__(self, simulator: Simulator, now: Callable[[], datetime]) -> None:
        self._simulator = simulator
        self._now = now

    async def orders(self, request: Request) -> JSONResponse:
        """One page of orders, oldest first; or the newest first, of those whose number contains `search`."""
        now = self._caught_up()
        store, query = self._simulator.order_store, request.query_params
        newest_first = "search" in query or query.get("order") == "newest"
        keys = store.newest(query.get("search", "")) if newest_first else store.numbers()
        page = _Page.of(request)
        orders = [describe_order(store.issuances(key), self._simulator.ticket_states, now) for key in page.cut(keys)]
        return JSONResponse({"total": store.number_count, **page.described(), "orders": orders})

    async def order(self, request: Request) -> JSONResponse:
        """One order with its tickets."""
        now, key = self._caught_up(), self._key(request)
        return _problems(404, _NO_ORDER) if key is None else JSONResponse(self._whole(key, now))

    async def use(self, request: Request) -> JSONResponse:
        """Redeem or refund one ticket, or every possible one of an order; the answer is the order afterwards."""
        ticket_no = _ticket_no(await _json(request, empty={}))
        act, now, key = _act(request.path_params["act"]), self._caught_up(), self._key(request)
        if act is None or key is None:
            return _problems(404, _NO_ORDER if act else f"a ticket can be: {', '.join(Act)}")
        done = self._simulator.redemptions.carry_out(act, key, ticket_no, now)
        if isinstance(done, Declined):
            return _problems(404 if done.unknown else 409, done.message)
        return JSONResponse({"used": done.ticket_nos, "notifications": done.notifications, **self._whole(key, now)})

    async def notifications(self, request: Request) -> JSONResponse:
        """The stored notifications, the newest first; of one order with `trade_no` in the query."""
        trade_no, page, queue = (
            request.query_params.get("trade_no"),
            _Page.of(request),
            self._simulator.notification_queue,
        )
        wanted = (each for each in queue.newest() if trade_no in (None, each.notification.trade_no.value))
        deliveries = [describe_delivery(each) for each in page.cut(wanted)]
        return JSONResponse({"total": len(queue), **page.described(), "notifications": deliveries})

    async def stats(self, request: Request) -> JSONResponse:
        """All counters."""
        self._caught_up()
        store, faults, stats = self._simulator.order_store, self._simulator.faults, self._simulator.stats
        repeated = store.repeated()
        late_effects = {**stats.late_effects_described(), "pending": self._simulator.late_pending}
        return JSONResponse(
            {
                **stats.describe(),
                "late_effects": late_effects,
                "orders": store.number_count,
                "tickets": store.ticket_count,
                "repeats": {"count": len(repeated), "orders": [named(key) for key in repeated[:REPEATS_SHOWN]]},
                "faults": dict(faults.fired),
                "notifications": self._simulator.notification_queue.describe(),
            }
        )

    async def items(self, request: Request) -> JSONResponse:
        """Every item of the catalogue."""
        return JSONResponse({"items": [describe(item) for item in self._simulator.catalogue.items()]})

    async def put_item(self, request: Request) -> JSONResponse:
        """List or delist an item, change it, or create one."""
        change = await _json(request)
        if not isinstance(change, dict):
            raise SettingsError('the body must be a JSON object like {"listed": false}')
        return JSONResponse(
            describe(self._simulator.catalogue.put(request.path_params["item_no"], change, self._now()))
        )

    async def faults(self, request: Request) -> JSONResponse:
        """Show the faults in force, after replacing (PUT) or clearing them (DELETE)."""
        if request.method == "PUT":
            faults, seed = read_faults(await _json(request))
            self._simulator.faults.arm(*faults, seed=seed)
        elif request.method == "DELETE":
            self._simulator.faults.clear()
        return JSONResponse(describe_faults(self._simulator.faults))

    def _caught_up(self) -> datetime:
        now = self._now()
        self._simulator.catch_up(now)
        return now

    def _key(self, request: Request) -> Key | None:
        kind = request.query_params.get("kind")
        if kind not in (None, *TradeNoKind):
            return None
        wanted = TradeNoKind(kind) if kind else None
        return self._simulator.redemptions.find(
            request.path_params["merchant_id"], request.path_params["trade_no"], wanted
        )

    def _whole(self, key: Key, now: datetime) -> dict[str, object]:
        issuances, ticket_states = self._simulator.order_store.issuances(key), self._simulator.ticket_states
        return {
            **describe_order(issuances, ticket_states, now),
            "tickets": describe_tickets(issuances, ticket_states, now),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A part of a long list."""

    offset: int
    limit: int

    @classmethod
    def of(cls, request: Request) -> _Page:
        """The part that `offset` and `limit` in the query select."""
        offset = _natural(request.query_params.get("offset"), 0)
        limit = _natural(request.query_params.get("limit"), PAGE_SIZE)
        if offset is None or limit is None or not 1 <= limit <= LARGEST_PAGE:
            raise SettingsError(f"offset must be 0 or more, limit from 1 to {LARGEST_PAGE}")
        return cls(offset=offset, limit=limit)

    def cut(self, entries: Iterable[_Entry]) -> Iterator[_Entry]:
        """Only the entries of this part."""
        return islice(entries, self.offset, self.offset + self.limit)

    def described(self) -> dict[str, int]:
        """The fields of the answer that describe the part."""
        return {"offset": self.offset, "limit": self.limit}


def _natural(text: str | None, default: int) -> int | None:
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _act(name: str) -> Act | None:
    return next((act for act in Act if act.value == name), None)


def _ticket_no(document: object) -> str | None:
    """The ticket that the body names; None for all of the order."""
    if not isinstance(document, dict) or document.keys() - {"ticket_no"}:
        raise SettingsError('the body must be {} for all tickets, or {"ticket_no": "..."} for one')
    ticket_no = document.get("ticket_no")
    if ticket_no is not None and not (isinstance(ticket_no, str) and ticket_no.isascii()):
        raise SettingsError("ticket_no must be a text in ASCII")
    return ticket_no


async def _json(request: Request, *, empty: object = None) -> object:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise SettingsError(f"the body must not be larger than {MAX_BODY} bytes")
    if not body and empty is not None:
        return empty
    try:
        return parse_json(bytes(body))
    except ValueError:
        raise SettingsError("the body must be JSON") from None


def _problems(status: int, *problems: str) -> JSONResponse:
    return JSONResponse({"problems": problems}, status)


def _with_problems(handler: Handler) -> Handler:
    """Answer 400 with every problem if a handler rejects the request."""

    async def handle(request: Request) -> JSONResponse:
        try:
            return await handler(request)
        except SettingsError as error:
            return _problems(400, *error.problems)

    return handle
