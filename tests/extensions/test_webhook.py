"""The webhook over real sockets: what arrives, what an answer means, and where nothing is posted to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache
from ipaddress import ip_network
from pathlib import Path

import pytest
from log_lines import capture_logs
from provider.server import Behaviour, RawServer, Visit, self_signed, unused_port

from adapter import NotDelivered, RetryAfter, Undeliverable
from adapter.extensions.builtin_sinks.addresses import Network
from adapter.extensions.builtin_sinks.secrets import Secrets
from adapter.extensions.builtin_sinks.signature import read_secret, signed_headers
from adapter.extensions.builtin_sinks.webhook import ANSWER_BYTES, Webhook
from adapter.values import replace
from extensions.test_sinks import event

OLD, NEW = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
NOW = 1_772_337_600.0
"""2026-03-01 04:00 UTC."""


@cache
def _usual_tls() -> ssl.SSLContext:
    """Made once: reading the system's certificates takes a tenth of a second."""
    return ssl.create_default_context()


@asynccontextmanager
async def posting(
    url: str,
    *,
    secrets: Secrets | None = None,
    seconds: float = 60.0,
    tls: ssl.SSLContext | None = None,
    allowed: Sequence[Network] = LOOPBACK,
    types: frozenset[str] | None = None,
) -> AsyncIterator[Webhook]:
    """A webhook to this address."""
    webhook = Webhook(
        name="webhook-shop",
        url=url,
        secrets=secrets or Secrets([NEW], []),
        types=types,
        timeout_seconds=seconds,
        tls=tls or _usual_tls(),
        allowed=allowed,
        now=lambda: NOW,
    )
    try:
        yield webhook
    finally:
        await webhook.aclose()


def answering(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Behaviour:
    async def answer(visit: Visit) -> None:
        await visit.answer(body, status=status, headers=dict(headers or {}))

    return answer


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A receiver that takes everything."""
    async with RawServer() as running:
        running.behave = answering(204)
        yield running


def headers_of(visit: Visit) -> dict[str, str]:
    lines = visit.head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def verified(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether a message is signed with this secret, after the words of Standard Webhooks and not after our code."""
    content = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    digest = hmac.digest(base64.b64decode(secret.split("_", 1)[1]), content, hashlib.sha256)
    expected = "v1," + base64.standard_b64encode(digest).decode("ascii")
    return any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split(" "))


async def delivered(server: RawServer, **options: object) -> Visit:
    """The only request that a delivery made."""
    async with posting(f"{server.url}/hooks?shop=7", **options) as webhook:  # type: ignore[arg-type]  # a shorthand
        await webhook.deliver(event())
    (visit,) = server.visits
    return visit


async def test_an_event_is_posted_as_a_cloudevent_with_a_signature(server: RawServer) -> None:
    """The holder of the secret can verify sender and time; the id is the event's."""
    visit = await delivered(server)

    headers = headers_of(visit)
    assert visit.head.split(b"\r\n")[0] == b"POST /hooks?shop=7 HTTP/1.1"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["host"] == server.url.removeprefix("http://")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("e-1", "1772337600")
    assert json.loads(visit.body) == json.loads(event().to_json())
    assert verified(headers, visit.body, NEW)
    assert not verified(headers, visit.body, OLD)
    assert not verified(headers, visit.body + b" ", NEW)


async def test_the_receiver_can_continue_the_trace(server: RawServer) -> None:
    """By the headers of the delivery's own context; the event in the body has the one in which it was made."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with posting(f"{server.url}/hooks") as webhook:
        await webhook.deliver(replace(event(), trace_headers={"traceparent": trace, "host": "not-this"}))

    (visit,) = server.visits
    assert headers_of(visit)["traceparent"] == trace
    assert headers_of(visit)["host"] == server.url.removeprefix("http://")
    assert json.loads(visit.body) == json.loads(event().to_json())


def test_signatures_are_those_of_the_standard() -> None:
    """Its own example."""
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        b'{"test": 2432232314}', message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, secrets=[secret]
    )

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_while_a_secret_is_changed_both_sign(server: RawServer, tmp_path: Path) -> None:
    """So that a receiver may change at any moment of it; a file that was changed counts from the next event on."""
    file = tmp_path / "next"
    file.write_text(OLD + "\n")
    async with posting(server.url, secrets=Secrets([NEW], [file])) as webhook:
        await webhook.deliver(event())
        file.write_text("whsec_" + base64.b64encode(b"3" * 24).decode())
        await webhook.deliver(event())

    first, second = ((headers_of(visit), visit.body) for visit in server.visits)
    assert [verified(*first, secret) for secret in (NEW, OLD)] == [True, True]
    assert [verified(*second, secret) for secret in (NEW, OLD)] == [True, False]
    assert verified(*second, "whsec_" + base64.b64encode(b"3" * 24).decode())


async def test_without_a_secret_nothing_is_posted(server: RawServer, tmp_path: Path) -> None:
    """Nothing is posted unsigned; it is tried again, and the file may be there by then."""
    file = tmp_path / "secret"
    for change, expected_text in ((file.touch, "holds no secret"), (file.unlink, "No such file")):
        change()
        async with posting(server.url, secrets=Secrets([], [file])) as webhook:
            with pytest.raises(NotDelivered, match=expected_text):
                await webhook.deliver(event())
    assert server.visits == []


async def test_a_secret_file_that_breaks_leaves_the_secret_that_it_had(server: RawServer, tmp_path: Path) -> None:
    """The log names the file, and not what is in it."""
    file = tmp_path / "secret"
    file.write_text(OLD)
    secrets = Secrets([], [file])
    async with posting(server.url, secrets=secrets) as webhook:
        await webhook.deliver(event())
        with capture_logs() as lines:
            for change in (lambda: file.write_text("hush"), file.unlink):
                change()
                await webhook.deliver(event())

    assert [verified(headers_of(visit), visit.body, OLD) for visit in server.visits] == [True] * 3
    assert [line["event"] for line in lines] == ["webhook-secret-unusable"] * 2
    assert str(file) in str(lines[0])
    assert "hush" not in str(lines)


async def test_a_connection_is_used_again(server: RawServer) -> None:
    """A handshake for each event would cost more than the event; a long answer is not read to its end."""
    async with posting(server.url) as webhook:
        await webhook.deliver(event())
        await webhook.deliver(event())
        server.behave = answering(200, body=b"x" * (4 * ANSWER_BYTES))
        await webhook.deliver(event())

    assert server.connections == 1


async def test_nothing_of_an_answer_comes_along_with_the_next_event(server: RawServer) -> None:
    """A receiver that sets a cookie at every answer would else make each post larger than the one before."""
    server.behave = answering(204, {"Set-Cookie": "session=7; Path=/"})
    async with posting(server.url) as webhook:
        await webhook.deliver(event())
        await webhook.deliver(event())

    assert "cookie" not in headers_of(server.visits[1])


@pytest.mark.parametrize(
    ("status", "headers", "kind", "seconds", "expected_text"),
    [
        (400, {}, NotDelivered, None, "HTTP 400"),
        (404, {}, NotDelivered, None, "HTTP 404"),
        (500, {}, NotDelivered, None, "HTTP 500"),
        (410, {}, Undeliverable, None, "HTTP 410"),
        (429, {"Retry-After": "17"}, RetryAfter, 17, "HTTP 429 and Retry-After"),
        (503, {"Retry-After": "Sun, 01 Mar 2026 04:02:00 GMT"}, RetryAfter, 120, "HTTP 503"),
        (503, {"Retry-After": "Sun, 01 Mar 2026 03:00:00 GMT"}, RetryAfter, 0, "HTTP 503"),
        (503, {"Retry-After": "soon"}, NotDelivered, None, "HTTP 503"),
        (503, {"Retry-After": "-5"}, NotDelivered, None, "HTTP 503"),
        (503, {"Retry-After": "Sun, 01 Mar 2026 04:02:00 +99999999999999"}, NotDelivered, None, "HTTP 503"),
        (429, {}, NotDelivered, None, "HTTP 429"),
        (302, {"Location": "http://127.0.0.1/elsewhere"}, NotDelivered, None, "redirected (HTTP 302)"),
        (307, {"Location": "/elsewhere"}, NotDelivered, None, "redirected (HTTP 307)"),
    ],
)
async def test_an_answer_says_whether_and_when_to_try_again(
    server: RawServer,
    status: int,
    headers: dict[str, str],
    kind: type[NotDelivered],
    seconds: int | None,
    expected_text: str,
) -> None:
    """2xx is a delivery, 410 the end, everything else is tried again; redirects are not followed."""
    server.behave = answering(status, headers, b"some words")
    with pytest.raises(NotDelivered) as failed:
        await delivered(server)

    assert type(failed.value) is kind
    assert expected_text in failed.value.reason
    assert getattr(failed.value, "seconds", None) == seconds
    assert len(server.visits) == 1


async def test_a_receiver_that_does_not_answer_is_not_waited_for(server: RawServer) -> None:
    """Nor one that answers a byte at a time."""

    async def hangs(visit: Visit) -> None:
        await asyncio.Event().wait()

    async def drips(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            visit.writer.write(b"x")
            await asyncio.sleep(0.005)

    for behave in (hangs, drips):
        server.behave = behave
        async with posting(server.url, seconds=0.1) as webhook:
            with pytest.raises(NotDelivered, match=r"0\.1 s"):
                await webhook.deliver(event())


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 10_000),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n", b"x: y\r\n" * 10_000),
    ],
    ids=["early hints", "headers", "a header", "a chunk's extension", "trailers"],
)
async def test_an_answer_without_end_is_cut_off_by_its_size(server: RawServer, begin: bytes, piece: bytes) -> None:
    """Long before the time for an answer is over: until then it would take all of a CPU."""

    async def answers(visit: Visit) -> None:
        visit.writer.write(begin)
        while True:
            visit.writer.write(piece)
            await visit.writer.drain()
            await asyncio.sleep(0)

    server.behave = answers
    async with posting(server.url, seconds=300) as webhook:
        with pytest.raises(NotDelivered, match="could not be reached"):
            await webhook.deliver(event())
    await server.until(lambda: server.open_connections == 0)


async def test_the_size_of_answers_counts_for_each_request(server: RawServer) -> None:
    """However many come over one connection."""
    server.behave = answering(200, body=b"x" * (ANSWER_BYTES - 1000))
    async with posting(server.url) as webhook:
        for _ in range(8):
            await webhook.deliver(event())

    assert server.connections == 1


async def test_an_unavailable_receiver_or_one_that_hangs_up_is_reported_by_type() -> None:
    """No address and no path, which may hold a token."""
    async with posting(f"http://127.0.0.1:{unused_port()}/token") as webhook:
        with pytest.raises(NotDelivered, match=r"^could not be reached \(ConnectError\)$"):
            await webhook.deliver(event())
    async with RawServer() as server, posting(server.url) as webhook:

        async def resets(visit: Visit) -> None:
            visit.reset()

        server.behave = resets
        with pytest.raises(NotDelivered, match="reached"):
            await webhook.deliver(event())


async def test_nothing_is_posted_to_a_private_address(server: RawServer) -> None:
    """Unless its network is allowed."""
    async with posting(server.url, allowed=()) as webhook:
        with pytest.raises(NotDelivered, match=r"127\.0\.0\.1,.*not public"):
            await webhook.deliver(event())
    async with posting("http://no-such-host.invalid/", allowed=()) as webhook:
        with pytest.raises(NotDelivered, match="host"):
            await webhook.deliver(event())

    assert server.connections == 0


async def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that has another address a moment later gains nothing: it is asked for once."""
    asked = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "169.254.169.254", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    port = server.url.rpartition(":")[2]
    async with posting(f"http://shop.example:{port}/") as webhook:
        await webhook.deliver(event())
        with pytest.raises(NotDelivered, match=r"169\.254\.169\.254"):
            await webhook.deliver(event())

    assert asked == ["shop.example"] * 2
    assert headers_of(server.visits[0])["host"] == f"shop.example:{port}"
    assert len(server.visits) == 1


async def test_an_address_that_does_not_answer_gives_way_to_the_next(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of IPv6 where there is none."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with posting(server.url.replace("127.0.0.1", "shop.example")) as webhook:
        await webhook.deliver(event())

    assert len(server.visits) == 1


@contextmanager
def swallowing(host: str, port: int) -> Iterator[None]:
    """An address that answers no attempt to connect: its queue is full and no process accepts from it."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((host, port))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of loopback, and a queue that is full")
async def test_an_address_that_swallows_everything_gives_way_to_the_next(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of IPv6 behind a firewall that drops it: it must not take all of the time."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    port = int(server.url.rpartition(":")[2])
    with swallowing("127.0.0.9", port):
        async with posting(f"http://shop.example:{port}/", seconds=2) as webhook:
            await webhook.deliver(event())

    assert len(server.visits) == 1


async def test_a_name_beyond_ascii_is_asked_for_as_it_is_written(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own encoding maps straße to strasse, which may belong to another owner."""
    asked = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with posting(server.url.replace("127.0.0.1", "straße.example")) as webhook:
        await webhook.deliver(event())

    assert asked == ["xn--strae-oqa.example"]
    assert headers_of(server.visits[0])["host"].startswith("xn--strae-oqa.example:")


async def test_the_certificate_must_be_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the connection goes to an address; and it must be one that is trusted."""
    file, context = self_signed(tmp_path, "shop.example")
    trusting = ssl.create_default_context(cafile=file)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with RawServer(tls=context) as server:
        server.behave = answering(200)
        port = server.url.rpartition(":")[2]
        async with posting(f"https://shop.example:{port}/", tls=trusting) as webhook:
            await webhook.deliver(event())
        for url, tls in ((f"https://other.example:{port}/", trusting), (f"https://shop.example:{port}/", None)):
            async with posting(url, tls=tls) as webhook:
                with pytest.raises(NotDelivered, match=r"ConnectError: .*ca_file"):
                    await webhook.deliver(event())

    assert len(server.visits) == 1


async def test_proxies_of_the_environment_are_not_used(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the proxy would choose the address, and the check would have no effect."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")

    await delivered(server)

    assert len(server.visits) == 1


async def test_only_events_of_the_named_types_are_wanted() -> None:
    """All, where none is named."""
    async with posting("http://127.0.0.1:9/", types=frozenset({"ecticket.issuance.issued.v1"})) as some:
        assert some.types == frozenset({"ecticket.issuance.issued.v1"})
    async with posting("http://127.0.0.1:9/") as every:
        assert every.types is None
