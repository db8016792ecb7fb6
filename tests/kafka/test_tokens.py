"""Tokens for the brokers: fetched with client credentials, kept while valid, renewed in time; no secret is repeated."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError

from adapter.errors import SettingsError, TokenUnavailable
from adapter.kafka.tokens import MAX_ANSWER_BYTES, ClientCredentials, Token, TokenEndpoint, TokenProvider
from adapter.secret import Secret

URL = "https://login.example/token"
SECRET = "s3cret/with+signs"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _endpoint(answer: httpx.Response | Exception, asked: list[httpx.Request] | None = None) -> TokenEndpoint:
    def respond(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)  # not yet read

    credentials = ClientCredentials(client_id="adapter", client_secret=Secret(SECRET))
    return TokenEndpoint(URL, lambda: credentials, form={"scope": "kafka"}, transport=httpx.MockTransport(respond))


async def test_a_token_is_fetched_with_client_credentials() -> None:
    """HTTP Basic, percent-encoded (RFC 6749, 2.3.1), and the scope in the form."""
    asked: list[httpx.Request] = []
    answer = httpx.Response(200, json={"access_token": "abc", "expires_in": 300, "token_type": "Bearer"})

    assert await _endpoint(answer, asked).fetch() == Token(value="abc", lifetime_seconds=300)

    (request,) = asked
    assert parse_qs(request.content.decode()) == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert request.headers["authorization"] == httpx.BasicAuth("adapter", "s3cret%2Fwith%2Bsigns")._auth_header


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (httpx.Response(401, json={"error": "invalid_client", "error_description": SECRET}), "invalid_client"),
        (httpx.Response(503, text=SECRET), "503"),
        (httpx.Response(302, headers={"location": "https://elsewhere.example"}), "302"),
        (httpx.Response(200, text=f"<html>{SECRET}</html>"), "access_token"),
        (httpx.Response(200, json={"access_token": ""}), "access_token"),
        (httpx.Response(200, json={"access_token": "abc", "expires_in": 0}), "access_token"),
        (httpx.ConnectTimeout("timed out"), "timed out"),
    ],
)
async def test_what_prevents_a_token_is_named_without_secrets(answer: httpx.Response | Exception, cause: str) -> None:
    """The status, the code of RFC 6749, or the failure of the connection."""
    with pytest.raises(TokenUnavailable) as unavailable:
        await _endpoint(answer).fetch()

    assert cause in str(unavailable.value)
    assert SECRET not in str(unavailable.value)


async def test_credentials_that_cannot_be_read_are_named() -> None:
    """Such as an emptied secret file."""

    def unreadable() -> ClientCredentials:
        raise SettingsError("The secret file x is empty.")

    with pytest.raises(TokenUnavailable, match="secret file x"):
        await TokenEndpoint(URL, unreadable, form={}).fetch()


@pytest.mark.parametrize(("lifetime", "used_for"), [(300.0, 240.0), (None, 48.0)])
async def test_a_token_is_used_for_four_fifths_of_its_lifetime(lifetime: float | None, used_for: float) -> None:
    """Without a known lifetime, that of a minute."""
    clock, fetched = Clock(), 0

    async def fetch() -> Token:
        nonlocal fetched
        fetched += 1
        return Token(value=str(fetched), lifetime_seconds=lifetime)

    provider = TokenProvider(fetch, extensions={"logicalCluster": "lkc-1"}, clock=clock)
    assert await provider.token() == "1"
    clock.now += used_for - 0.1
    assert await provider.token() == "1"
    clock.now += 0.2
    assert await provider.token() == "2"
    assert provider.extensions() == {"logicalCluster": "lkc-1"}


async def test_a_missing_token_is_a_failed_connection_for_the_client() -> None:
    """Which it tries again; a later token is used."""
    available = False

    async def fetch() -> Token:
        if not available:
            raise TokenUnavailable("closed")
        return Token(value="abc")

    provider = TokenProvider(fetch)
    with pytest.raises(KafkaConnectionError, match="closed"):
        await provider.token()
    available = True
    assert await provider.token() == "abc"


def test_nothing_shows_a_token_or_a_secret() -> None:
    """Neither repr."""
    assert "abc" not in repr(Token(value="abc"))
    assert SECRET not in repr(ClientCredentials(client_id="adapter", client_secret=Secret(SECRET)))


@pytest.mark.parametrize(
    "content",
    [
        b'{"access_token": "t", "expires_in": NaN}',
        b'{"access_token": "t", "expires_in": Infinity}',
        b'{"access_token": "t\\r\\nx"}',
        b'{"access_token": "\\u738b"}',
        b'{"access_token": "' + b"t" * MAX_ANSWER_BYTES + b'"}',
        gzip.compress(b'{"access_token": "t"}'),
        b"[" * 10_000,
    ],
    ids=["NaN", "infinite", "a line break", "not ASCII", "too long", "compressed", "deep"],
)
async def test_a_hostile_answer_is_no_token(content: bytes) -> None:
    """An endless or a strange one costs a connection, and no memory."""
    with pytest.raises(TokenUnavailable):
        await _endpoint(httpx.Response(200, stream=httpx.ByteStream(content))).fetch()


async def test_an_answer_without_end_is_not_read_to_it() -> None:
    """Piece by piece, each one in time."""
    pieces = itertools.repeat(b" " * 1024)

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    with pytest.raises(TokenUnavailable, match=str(MAX_ANSWER_BYTES)):
        await _endpoint(httpx.Response(200, stream=Endless())).fetch()
