"""A chat gets the events of its settings, in the form of an incoming webhook; a failed message is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chat_sink import FAILED, PARKED, PAUSE_MAX_SECONDS, PAUSE_SECONDS, Chat, ChatSink, Settings, text_of
from pydantic import SecretStr, ValidationError

from adapter import Event, NotDelivered, RetryAfter
from adapter.testing import ConformanceCheck, Events


class Webhook:
    """A chat's incoming webhook on loopback: gives the answers that the test sets, and keeps what arrived."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.heard: list[Mapping[str, object]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                webhook.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(webhook.status)
                for name, value in webhook.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/T0/B0/secret"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """One that accepts everything, until the test changes it."""
    found = Webhook()
    yield found
    found.close()


def settings(url: str, **fields: object) -> Settings:
    """Settings with this address."""
    return Settings.model_validate({"webhook_url": url, **fields})


def deliver(chat: Chat, event: Event) -> None:
    """As the adapter does, on a loop of the sink's own."""

    async def once() -> None:
        try:
            await chat.deliver(event)
        finally:
            await chat.aclose()

    asyncio.run(once())


def test_the_message_is_a_text(webhook: Webhook, events: Events) -> None:
    """JSON with one field, which Slack and Discord both understand."""
    event = events.failed(order_id="A-7", rtn_msg="Inventory shortage", rtn_code=10200001)
    deliver(Chat(settings(webhook.url)), event)

    expected = f"No tickets for order A-7, part 1 of 1: Inventory shortage (10200001) ({event.id})"
    assert webhook.heard == [{"text": expected}]


def test_every_type_of_event_can_be_sent(events: Events) -> None:
    """Also one that this plugin has never heard of."""
    for event in events.of_every_type():
        assert event.id in text_of(event)
    assert "7" in text_of(Event(id="7", type="new.v1", source="/s", subject="X", time=datetime.now(UTC), data={}))


def test_what_a_shop_wrote_becomes_no_link_and_mentions_no_user(events: Events) -> None:
    """Order numbers are the shop's own."""
    assert "&lt;!channel&gt; &amp;" in text_of(events.failed(order_id="<!channel> &"))


def test_only_the_types_of_the_settings_are_wanted(events: Events) -> None:
    """Failures and parked orders, unless they say otherwise."""
    usual = Chat(settings("https://chat.example/hook"))
    every = Chat(settings("https://chat.example/hook", events=["ecticket.issuance.issued.v1"]))

    assert {event.type for event in events.of_every_type() if usual.wants(event)} == {FAILED, PARKED}
    assert every.wants(events.issued())


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("-5", 0, 0),
        ("1e9", PAUSE_MAX_SECONDS, PAUSE_MAX_SECONDS),
        ("nan", PAUSE_SECONDS, PAUSE_SECONDS),
        ("soon", PAUSE_SECONDS, PAUSE_SECONDS),
        (None, PAUSE_SECONDS, PAUSE_SECONDS),
        (format_datetime(datetime.now(UTC) + timedelta(hours=9), usegmt=True), PAUSE_MAX_SECONDS, PAUSE_MAX_SECONDS),
        (format_datetime(datetime.now(UTC) - timedelta(hours=9), usegmt=True), 0, 0),
    ],
)
def test_a_chat_that_asks_for_a_pause_gets_it(
    webhook: Webhook, events: Events, given: str | None, least: float, most: float
) -> None:
    """HTTP 429, with the time as a number or a date."""
    webhook.status = 429
    webhook.headers = {} if given is None else {"Retry-After": given}

    with pytest.raises(RetryAfter) as asked:
        deliver(Chat(settings(webhook.url)), events.failed())
    assert least <= asked.value.seconds <= most


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_what_the_chat_does_not_take_is_not_delivered(webhook: Webhook, events: Events, status: int) -> None:
    """The adapter tries it again."""
    webhook.status = status

    with pytest.raises(NotDelivered, match=f"HTTP {status}"):
        deliver(Chat(settings(webhook.url)), events.failed())


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
    "a slow head": (b"HTTP/1.1 200 ", b"O"),
}


Answers = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[str]:
    """A server that answers each connection so; yields its address, and leaves no connection open."""
    handling: list[asyncio.Task[None]] = []

    async def handle(writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await answers(writer)
            await asyncio.Event().wait()  # until the server ends
        finally:
            writer.transport.abort()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.ensure_future(handle(writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn


@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_answer_ends_with_its_time(events: Events, what: str) -> None:
    """The adapter tries it again."""
    begin, piece = ENDLESS[what]

    async def answers(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async def deliver_to_it() -> None:
        async with serving(answers) as url:
            chat = Chat(settings(url, timeout_seconds=0.2))
            with pytest.raises(NotDelivered):
                await chat.deliver(events.failed())
            await chat.aclose()

    asyncio.run(deliver_to_it())


def test_the_body_of_an_answer_is_not_read(events: Events) -> None:
    """It may be endless, or inflate to any size."""

    async def answers(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n")

    async def deliver_to_it() -> None:
        async with serving(answers) as url:
            chat = Chat(settings(url, timeout_seconds=60))
            await chat.deliver(events.failed())
            await chat.aclose()

    asyncio.run(deliver_to_it())


def test_a_missing_chat_is_reported_without_its_address(webhook: Webhook, events: Events) -> None:
    """The address is the secret."""
    webhook.close()

    with pytest.raises(NotDelivered, match="ConnectError") as caught:
        deliver(Chat(settings(webhook.url)), events.failed())
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("wrong", [{"webhook_url": "chat.example"}, {"webhook_url": "https://x", "nme": "x"}, {}])
def test_wrong_settings_are_refused_without_the_secret(wrong: dict[str, object]) -> None:
    """By the model."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)
    assert "chat.example" not in str(caught.value)


def test_the_address_does_not_show() -> None:
    """In no log."""
    assert "hook" not in repr(Settings(webhook_url=SecretStr("https://chat.example/hook")).webhook_url)


def test_it_keeps_the_rules_of_plugins(conforms: ConformanceCheck) -> None:
    """The conformance suite, its sink included."""
    conforms(ChatSink(), settings={"webhook_url": "https://chat.example/hook"})


def test_the_address_can_be_a_file(tmp_path: Path) -> None:
    """As a mounted Secret; with a line's end, as editors write it."""
    file = tmp_path / "webhook_url"
    file.write_text("https://hooks.example/services/T0\n", encoding="utf-8")

    settings = Settings.model_validate({"webhook_url_file": str(file)})
    assert settings.webhook_url.get_secret_value() == "https://hooks.example/services/T0"


@pytest.mark.parametrize("more", [{}, {"webhook_url": "https://hooks.example/topsecret"}])
def test_an_address_file_that_is_absent_or_one_too_many_is_refused(tmp_path: Path, more: Mapping[str, str]) -> None:
    """At the start, by the names of the settings, and without the address."""
    with pytest.raises(ValidationError, match="webhook_url_file") as refused:
        Settings.model_validate({"webhook_url_file": str(tmp_path / "none"), **more})

    assert "topsecret" not in str(refused.value)
