"""A sink that posts each event to a URL, signed as Standard Webhooks specifies.

The body is the event in the JSON format of CloudEvents. Status 2xx means delivered, 410 that the receiver wants no more
events; any other answer is retried, at the time of `Retry-After` if there is one. Redirects are not followed: an event
goes only to the configured host (`addresses`).

The host name is resolved for every event, and the connection goes to an address that was checked. The certificate must
still be the host's. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from adapter.extensions.builtin_sinks.addresses import Address, Forbidden, Network, resolved
from adapter.extensions.builtin_sinks.bounded_transport import BoundedTransport
from adapter.extensions.builtin_sinks.secrets import Secrets
from adapter.extensions.builtin_sinks.signature import signed_headers
from adapter.extensions.sinks import Event, NotDelivered, RetryAfter, Undeliverable

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
ANSWER_BYTES = 64 * 1024
"""How much of an answer is read so that the connection can be reused."""
GONE = 410


class Webhook:
    """One endpoint. `types` are the events that it asks for (`Sink`); `now` returns seconds since the epoch."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        secrets: Secrets,
        types: frozenset[str] | None,
        timeout_seconds: float,
        tls: ssl.SSLContext,
        allowed: Sequence[Network],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._url = httpx.URL(url)
        self._secrets = secrets
        self.types = types
        self._timeout = timeout_seconds
        self._tls = tls
        self._allowed = allowed
        self._now = now
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, event: Event) -> None:
        """Post the event. Raises NotDelivered, RetryAfter, Undeliverable."""
        body = event.to_json().encode()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._post(body, self._headers(event, body))
        except TimeoutError:
            raise NotDelivered(f"did not get an answer within {self._timeout:g} s") from None
        self._raise_for_status(response)

    async def aclose(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        try:
            secrets = self._secrets.now()
        except (OSError, ValueError) as error:
            raise NotDelivered(f"has no secret to sign with: {error}") from None
        signed = signed_headers(body, message_id=event.id, timestamp=int(self._now()), secrets=secrets)
        own = {"content-type": CONTENT_TYPE, "user-agent": "ecticket-adapter", "host": self._host}
        return {**event.trace_headers, **own, **signed}

    @property
    def _host_name(self) -> str:
        """The host as httpx sends it: Python encodes names with non-ASCII characters in another way."""
        return self._url.raw_host.decode("ascii")

    @property
    def _host(self) -> str:
        return self._url.netloc.decode("ascii")

    async def _post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        host, port = self._host_name, self._url.port or (443 if self._url.scheme == "https" else 80)
        try:
            addresses = await resolved(host, port, allowed=self._allowed)
        except Forbidden as error:
            raise NotDelivered(str(error)) from None
        except OSError as error:
            raise NotDelivered(f"has a host whose name cannot be resolved ({type(error).__name__})") from None
        try:
            return await self._post_to_one_of(addresses, body, headers)
        except httpx.HTTPError as error:
            raise NotDelivered(f"could not be reached ({_describe_error(error)})") from None

    async def _post_to_one_of(
        self, addresses: Sequence[Address], body: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        """Post to the first address that accepts a connection; all but the last share half of the time.

        Otherwise an address that never answers, such as IPv6 behind a firewall, would leave no time for the next one.
        """
        share = self._timeout / 2 / len(addresses)
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post_to(address, body, headers, connect_seconds=share)
        return await self._post_to(addresses[-1], body, headers, connect_seconds=self._timeout)

    async def _post_to(
        self, address: Address, body: bytes, headers: dict[str, str], *, connect_seconds: float
    ) -> httpx.Response:
        """Post to this address; the certificate must be the host's."""
        if self._client is None:
            transport = BoundedTransport(tls=self._tls)
            self._client = httpx.AsyncClient(transport=transport, trust_env=False, cookies=_no_cookies())
        client = self._client
        url = self._url.copy_with(host=str(address))
        extensions = {"sni_hostname": self._host_name}
        timeout = httpx.Timeout(self._timeout, connect=connect_seconds)
        request = client.build_request(
            "POST", url, content=body, headers=headers, extensions=extensions, timeout=timeout
        )
        response = await client.send(request, stream=True)
        try:
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        return response

    def _raise_for_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status == GONE:
            raise Undeliverable("was answered with HTTP 410: the receiver wants no more events")
        if response.is_redirect:
            raise NotDelivered(f"was redirected (HTTP {status}), which is not followed; set the final address as url")
        seconds = _retry_after(response.headers.get("retry-after"), self._now())
        if seconds is not None:
            raise RetryAfter(seconds, f"was answered with HTTP {status} and Retry-After")
        raise NotDelivered(f"was answered with HTTP {status}")


def _no_cookies() -> CookieJar:
    """A jar that stores no cookie, so that no answer affects the next request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _retry_after(text: str | None, now: float) -> float | None:
    """The seconds in a `Retry-After` header, a number or a date; None if it is absent or unreadable."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit() and len(text.strip()) <= 9:
        return float(text.strip())
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.fromtimestamp(now, UTC)).total_seconds())


def _describe_error(error: httpx.HTTPError) -> str:
    """The type of the failure; for a certificate also the setting that names trusted ones."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{type(error).__name__}: its certificate is not accepted; see ca_file"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
