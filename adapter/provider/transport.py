"""Make the HTTP transport: `direct`, our own, or `httpx`, the one that httpx brings.

The interface is httpx's, so any httpx transport can be used. Its own transport is slow with many calls in progress
(`benchmarks/provider_transport.py` measures both).

What `direct` promises beyond an ordinary httpx transport:

* It calls `request.extensions["authorize_send"]`, a function without arguments, once it has a connection and in the
  same step as the write, with no other task in between. What the function raises is not changed, and nothing is
  written.
* A failure before that is `ConnectError` or `UnsupportedProtocol`; a failure after it never is.
* It sends nothing twice, follows no redirect, decompresses nothing, keeps no cookies, and reads no environment.
* It does not use a pooled connection on which unexpected data arrived.
* A cancelled or failed call closes its connection.
"""

from __future__ import annotations

import ssl
from enum import StrEnum, unique
from pathlib import Path

import httpx

from adapter.errors import SettingsError
from adapter.provider.asyncio_transport import AsyncioTransport
from adapter.provider.proxy import Proxy


@unique
class TransportKind(StrEnum):
    """The transports that come with the adapter (setting `provider.transport`)."""

    DIRECT = "direct"
    HTTPX = "httpx"


def make_transport(
    kind: TransportKind,
    *,
    tls: ssl.SSLContext | None = None,
    keep_alive_seconds: float = 3.0,
    proxy: Proxy | None = None,
) -> httpx.AsyncBaseTransport:
    """Make one of the transports; `tls` None is `tls_context()`.

    Raises SettingsError for a proxy with httpx's transport, whose answer to a plain http call may be the proxy's own.
    """
    if kind is TransportKind.DIRECT:
        return AsyncioTransport(tls=tls or tls_context(), keep_alive_seconds=keep_alive_seconds, proxy=proxy)
    if proxy is not None:
        raise SettingsError("`provider.transport: httpx` calls through no proxy. Use the transport direct.")
    return httpx.AsyncHTTPTransport(
        verify=tls or tls_context(),
        trust_env=False,
        limits=httpx.Limits(keepalive_expiry=keep_alive_seconds),
    )


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that verifies certificates, with TLS 1.2 or later.

    It trusts the CAs of `ca_file` (PEM); without one, those of the system and of certifi.
    """
    if ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
