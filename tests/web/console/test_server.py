"""What the console answers, with facts that are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest

from adapter.errors import BrokerUnavailable
from adapter.operations.dead_letter_tally import DeadLetterExample, DeadLetterGroup
from adapter.operations.explain_order import OrderNotFound
from adapter.operations.group_lag import TopicLag
from adapter.operations.ports import Progress
from adapter.operations.topic_overview import DeadLetterOverview, TopicOverview
from adapter.web.connection_limits import ConnectionLimits
from adapter.web.console.order_search import OrderSearch
from adapter.web.console.server import console_app
from adapter.web.server import WebServer

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def _found(which: str, progress: Progress) -> Mapping[str, object]:
    return {"orders": [{"order_id": which}]}


@dataclass
class Console:
    """The console's application, its time, and how often the facts of the process were read."""

    explain: Callable[[str, Progress], Awaitable[Mapping[str, object]]] = _found
    overview: TopicOverview = field(default_factory=TopicOverview)
    limit_seconds: float = 5.0
    reads: int = 0
    looks: int = 0
    time: float = 0.0

    def __post_init__(self) -> None:
        self.search = OrderSearch(self.explain, limit_seconds=self.limit_seconds)
        self.app = console_app(self._process, self._look, self.search, host="127.0.0.1", clock=lambda: self.time)

    def _process(self) -> Mapping[str, object]:
        self.reads += 1
        return {"read": self.reads}

    def _look(self) -> TopicOverview:
        self.looks += 1
        return self.overview

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://localhost:8602")

    async def get(self, path: str, **params: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, params=params)


PATHS = ("/", "/page.css", "/page.js", "/timeline.js", "/text.js", "/api/facts", "/api/orders?which=A", "/api/orders")


@pytest.mark.parametrize("path", [*PATHS, "/other"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
async def test_every_answer_is_closed_to_other_sites(path: str, method: str, host: str) -> None:
    """Also refusals and unknown addresses: a strict policy, no guessing of types, no cookie, no other reader."""
    async with Console().client() as client:
        answer = await client.request(method, path, headers={"host": host, "origin": "https://evil.example"})

    policy = dict(each.strip().partition(" ")[::2] for each in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    expected = 405 if method == "POST" else 421 if host != "localhost" else None
    assert answer.status_code == (expected or answer.status_code)
    if method == "POST":
        assert answer.headers["allow"] == "GET, HEAD"


async def test_two_host_headers_are_none() -> None:
    """The one that is checked could be another one than a proxy before it has seen."""
    async with Console().client() as client:
        answer = await client.get("/", headers=[("host", "evil.example"), ("host", "localhost")])

    assert answer.status_code == 421


async def test_browsers_share_the_facts_of_a_moment() -> None:
    """So ten browsers cost as much as one; and each look keeps the topics being read."""
    console = Console()

    answers = [(await console.get("/api/facts")).json()["read"] for _ in range(3)]
    console.time += 1.0
    answers.append((await console.get("/api/facts")).json()["read"])

    assert answers == [1, 1, 1, 2]
    assert console.looks == 4


async def test_dead_letters_have_a_next_step() -> None:
    """Also those whose reason another version has written."""
    example = DeadLetterExample(name="dead/0/7", order_id="A-1", message="what", possibly_sent=True)
    groups = tuple(
        DeadLetterGroup(stage="map", reason=reason, count=2, oldest=NOON, newest=example)
        for reason in ("gave-up", "of-the-future")
    )
    lags = (TopicLag(group="g", topic="t", partitions=3, unsettled=5),)
    overview = TopicOverview(dead_letters=DeadLetterOverview(groups=groups, read=9, complete=True), lags=lags)

    topics = (await Console(overview=overview).get("/api/facts")).json()["topics"]

    dead_letters = topics["dead_letters"]
    assert (dead_letters["open"], dead_letters["read"], dead_letters["complete"]) == (4, 9, True)
    first, second = dead_letters["groups"]
    assert first["oldest"] == "2026-03-01T12:00:00.000Z"
    assert first["newest"] == {"name": "dead/0/7", "order_id": "A-1", "message": "what", "possibly_sent": True}
    assert "replay" in first["next_step"]
    assert "dead-letters show" in second["next_step"]
    assert topics["lags"] == [{"group": "g", "topic": "t", "partitions": 3, "unsettled": 5}]


@pytest.mark.parametrize("which", ["A-1", "訂單 1", "<b>", "\u202ex"])
async def test_an_order_is_explained_by_any_id(which: str) -> None:
    """Ids are the shop's, so they may hold anything."""
    assert (await Console().get("/api/orders", which=which)).json() == {"orders": [{"order_id": which}]}


@pytest.mark.parametrize("which", ["", "   ", "A" * 65])
async def test_what_cannot_be_an_id_is_not_searched(which: str) -> None:
    """A search costs something."""
    answer = await Console().get("/api/orders", which=which)

    assert answer.status_code == 400
    assert "64" in answer.json()["problem"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(OrderNotFound("No record is about it."), 404), (BrokerUnavailable("No broker answers."), 502)],
)
async def test_a_search_that_finds_nothing_gives_its_reason(error: Exception, status: int) -> None:
    """One sentence for each."""

    async def explain(which: str, progress: Progress) -> Mapping[str, object]:
        raise error

    answer = await Console(explain=explain).get("/api/orders", which="A-1")

    assert (answer.status_code, answer.json()) == (status, {"problem": str(error)})


class Slow:
    """A search that reads until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, which: str, progress: Progress) -> Mapping[str, object]:
        progress("events", 2, 30)
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


async def test_one_search_runs_at_a_time_and_shows_its_progress() -> None:
    """The second one is refused, with a sentence."""
    slow = Slow()
    console = Console(explain=slow)
    first = asyncio.create_task(console.get("/api/orders", which="A-1"))
    await slow.began.wait()

    second = await console.get("/api/orders", which="A-2")

    assert second.status_code == 409
    assert "running" in second.json()["problem"]
    assert (await console.get("/api/facts")).json()["search"] == {"what": "events", "done": 2, "total": 30}
    first.cancel()
    await asyncio.wait({first})


async def test_a_search_ends_at_its_limit() -> None:
    """And names the command that has none; the next search can begin."""
    slow = Slow()
    console = Console(explain=slow, limit_seconds=0.05)

    answer = await console.get("/api/orders", which="A-1")

    assert answer.status_code == 504
    assert "explain" in answer.json()["problem"]
    assert slow.ended.is_set()
    assert console.search.progress is None


async def test_a_search_ends_when_the_browser_leaves() -> None:
    """Over a real connection that is closed while the search runs."""
    slow = Slow()
    console = Console(explain=slow)
    server = WebServer(console.app, host="127.0.0.1", port=0, purpose="console", limits=ConnectionLimits())
    await server.start()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /api/orders?which=A-1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            await slow.began.wait()
            writer.close()
            await slow.ended.wait()
    finally:
        await server.stop(1.0)
