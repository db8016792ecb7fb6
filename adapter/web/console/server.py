"""Serves the console: the page, the facts that it polls, and the search for an order (docs/console.md).

Facts are read when a browser asks, at most once in `FACTS_SECONDS` however many browsers ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapter.errors import AdapterError
from adapter.flows.messages.events import rfc3339
from adapter.operations.dead_letter_reasons import NEXT_STEPS, UNKNOWN_REASON
from adapter.operations.topic_overview import TopicOverview
from adapter.web.connection_limits import ConnectionLimits
from adapter.web.console.guard import Guard
from adapter.web.console.order_search import (
    LIMIT_SECONDS,
    WHICH_MAX_CHARACTERS,
    OrderSearch,
    SearchBusy,
    SearchTooLong,
)
from adapter.web.page_files import page_routes

FACTS_SECONDS: Final = 0.9
"""How old facts may be: a little less than the second after which the page asks again."""
LIMITS: Final = ConnectionLimits(
    connections=24,
    request_seconds=30.0,
    answer_seconds=LIMIT_SECONDS + 10.0,
    head_bytes=8 * 1024,
    message_bytes=8 * 1024,
)
"""A browser opens up to six connections, so four can look at once. A search answers after its limit at the latest."""
_FILES: Final = {
    "/": "page.html",
    "/page.css": "page.css",
    **{f"/{name}.js": f"{name}.js" for name in ("page", "timeline", "text")},
}


def console_app(
    process: Callable[[], Mapping[str, object]],
    topics: Callable[[], TopicOverview],
    search: OrderSearch,
    *,
    host: str,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Return the console's application; `host` is the address that it listens on (`console.host`).

    `process` returns the facts of this process, `topics` what is known about all processes together.
    """
    facts = _Facts(process, topics, search, clock)

    async def answer_facts(_request: Request) -> Response:
        return JSONResponse(facts.current())

    async def answer_order(request: Request) -> Response:
        return await _order(search, request)

    return Starlette(
        routes=[
            *page_routes("adapter.web.console", _FILES, {}),
            Route("/api/facts", answer_facts, methods=["GET"]),
            Route("/api/orders", answer_order, methods=["GET"]),
        ],
        middleware=[Middleware(Guard, host=host)],
    )


class _Facts:
    """The facts that all browsers share for a moment."""

    def __init__(
        self,
        process: Callable[[], Mapping[str, object]],
        topics: Callable[[], TopicOverview],
        search: OrderSearch,
        clock: Callable[[], float],
    ) -> None:
        self._process = process
        self._topics = topics
        self._search = search
        self._clock = clock
        self._read_at = float("-inf")
        self._facts: Mapping[str, object] = {}

    def current(self) -> Mapping[str, object]:
        overview = self._topics()  # each look keeps the topics being read
        now = self._clock()
        if now - self._read_at >= FACTS_SECONDS:
            self._read_at = now
            self._facts = self._process()
        progress = self._search.progress
        search = None if progress is None else {"what": progress.what, "done": progress.done, "total": progress.total}
        return {**self._facts, "topics": topic_facts(overview), "search": search}


def topic_facts(overview: TopicOverview) -> dict[str, object]:
    """What the topics show, as JSON."""
    dead_letters = overview.dead_letters
    return {
        "dead_letters": {
            "groups": [
                {
                    "stage": group.stage,
                    "reason": group.reason,
                    "count": group.count,
                    "oldest": rfc3339(group.oldest),
                    "next_step": NEXT_STEPS.get(group.reason, UNKNOWN_REASON),
                    "newest": {
                        "name": group.newest.name,
                        "order_id": group.newest.order_id,
                        "message": group.newest.message,
                        "possibly_sent": group.newest.possibly_sent,
                    },
                }
                for group in dead_letters.groups
            ],
            "open": sum(group.count for group in dead_letters.groups),
            "read": dead_letters.read,
            "left_out": dead_letters.left_out,
            "complete": dead_letters.complete,
            "forgotten": dead_letters.forgotten,
            "problem": dead_letters.problem,
        },
        "lags": [
            {"group": lag.group, "topic": lag.topic, "partitions": lag.partitions, "unsettled": lag.unsettled}
            for lag in overview.lags
        ],
        "lag_problem": overview.lag_problem,
    }


async def _order(search: OrderSearch, request: Request) -> Response:
    from adapter.operations.explain_order import OrderNotFound  # with all that the first search imports

    which = request.query_params.get("which", "").strip()
    if not which or len(which) > WHICH_MAX_CHARACTERS:
        return _problem(
            HTTPStatus.BAD_REQUEST, f"Give an order id or a trade number, at most {WHICH_MAX_CHARACTERS} characters."
        )

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    try:
        found = await search.find(which, gone)
    except OrderNotFound as error:
        return _problem(HTTPStatus.NOT_FOUND, str(error))
    except SearchBusy as error:
        return _problem(HTTPStatus.CONFLICT, str(error))
    except SearchTooLong as error:
        return _problem(HTTPStatus.GATEWAY_TIMEOUT, str(error))
    except AdapterError as error:
        return _problem(HTTPStatus.BAD_GATEWAY, str(error))
    return JSONResponse({} if found is None else dict(found))


def _problem(status: HTTPStatus, sentence: str) -> Response:
    return JSONResponse({"problem": sentence}, status)
