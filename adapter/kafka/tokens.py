"""Tokens for SASL OAUTHBEARER: from an identity provider with client credentials (RFC 6749, 4.4), kept while valid.

Clients ask for a token at each connection. Brokers may end a connection when its token expires; clients then connect
again, with a new token.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import quote_plus

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from msgspec import Struct
from pydantic import BaseModel, Field, ValidationError

from adapter.errors import SettingsError, TokenUnavailable
from adapter.kafka.certificates import client_context
from adapter.secret import Secret

TIMEOUT_SECONDS: Final = 10.0
"""How long the identity provider may take."""
MAX_ANSWER_BYTES: Final = 64 * 1024
"""The longest answer of the identity provider that is read; tokens have a few kilobytes."""
RENEW_AT: Final = 0.8
"""The part of its lifetime for which a token is used."""
UNKNOWN_LIFETIME_SECONDS: Final = 60.0
"""How long a token is used whose lifetime is not known."""

_PLAIN: Final = {"Accept-Encoding": "identity"}


class IssuedToken(Protocol):
    """A token, of the token endpoint or of a plugin."""

    @property
    def value(self) -> str: ...
    @property
    def lifetime_seconds(self) -> float | None:
        """Seconds from its issue for which it is valid; None if that is not known."""
        ...


class Token(Struct, frozen=True, kw_only=True):
    """A token and the seconds from its issue for which it is valid; None if that is not known."""

    value: str
    lifetime_seconds: float | None = None

    def __repr__(self) -> str:
        """Without the value."""
        return f"Token(lifetime_seconds={self.lifetime_seconds})"


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # the client has no types
    """Gives all clients the current token, and fetches a new one in time."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[IssuedToken]],
        *,
        extensions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fetch` raises TokenUnavailable. `extensions` go to the brokers with each token (RFC 7628, 3.1)."""
        self._fetch = fetch
        self._extensions = dict(extensions or {})
        self._clock = clock
        self._token = ""
        self._renew_at = float("-inf")

    async def token(self) -> str:
        """Return a valid token. Raises KafkaConnectionError, which the client takes as a connection that failed."""
        asked_at = self._clock()
        if asked_at >= self._renew_at:
            try:
                token = await self._fetch()
            except TokenUnavailable as error:
                raise KafkaConnectionError(str(error)) from error
            lifetime = UNKNOWN_LIFETIME_SECONDS if token.lifetime_seconds is None else token.lifetime_seconds
            self._token, self._renew_at = token.value, asked_at + lifetime * RENEW_AT
        return self._token

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions."""
        return self._extensions


class ClientCredentials(Struct, frozen=True, kw_only=True):
    """What the identity provider knows the adapter by."""

    client_id: str
    client_secret: Secret[str]


class _Answer(BaseModel):
    """The answer of a token endpoint (RFC 6749, 5.1)."""

    access_token: str = Field(pattern=r"^[ -~]+$")
    expires_in: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class _Refusal(BaseModel):
    """Its refusal (RFC 6749, 5.2)."""

    error: str = Field(pattern=r"^[a-z_]{1,64}$")


class TokenEndpoint:
    """Fetches tokens with client credentials, sent as HTTP Basic authentication (RFC 6749, 2.3.1)."""

    def __init__(
        self,
        url: str,
        credentials: Callable[[], ClientCredentials],
        *,
        form: Mapping[str, str],
        tls: Callable[[], ssl.SSLContext] = lambda: client_context(None),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`credentials` is called for each token, so that changed ones are used at once; raises SettingsError.

        `form` are additional fields, such as `scope`. `tls` is called for each token, too, and may raise the same.
        """
        self._url = url
        self._credentials = credentials
        self._form = {"grant_type": "client_credentials", **form}
        self._tls = tls
        self._transport = transport

    async def fetch(self) -> Token:
        """Return a new token. Raises TokenUnavailable with the cause, never with a secret."""
        try:
            credentials = self._credentials()
            async with httpx.AsyncClient(
                verify=self._tls(),
                transport=self._transport,
                timeout=TIMEOUT_SECONDS,
                trust_env=False,
            ) as client:
                auth = (quote_plus(credentials.client_id), quote_plus(credentials.client_secret.reveal()))
                async with (
                    asyncio.timeout(TIMEOUT_SECONDS),  # httpx's own time-outs are for each piece of an answer
                    client.stream("POST", self._url, data=self._form, auth=auth, headers=_PLAIN) as answer,
                ):
                    content = await _content(answer)
        except (httpx.HTTPError, SettingsError, OSError) as error:
            raise TokenUnavailable(f"No token comes from kafka.oauth_token_url: {_cause(error)}.") from error
        if answer.status_code != httpx.codes.OK:
            raise TokenUnavailable(f"kafka.oauth_token_url refuses a token: HTTP {answer.status_code}{_code(content)}.")
        try:
            found = _Answer.model_validate_json(content)
        except ValidationError:
            raise TokenUnavailable("kafka.oauth_token_url answered without an access_token.") from None
        return Token(value=found.access_token, lifetime_seconds=found.expires_in)


def _cause(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


async def _content(answer: httpx.Response) -> bytes:
    """The body as it was sent. Raises TokenUnavailable if it is too long."""
    content = bytearray()
    async for piece in answer.aiter_raw():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise TokenUnavailable(f"kafka.oauth_token_url answered more than {MAX_ANSWER_BYTES} bytes.")
    return bytes(content)


def _code(content: bytes) -> str:
    """The error code of RFC 6749, such as `invalid_client`; anything else is not repeated."""
    try:
        return f" ({_Refusal.model_validate_json(content).error})"
    except ValidationError:
        return ""
