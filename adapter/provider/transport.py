"""The engines below httpx's interface: `direct`, our own, and httpx's stock one.

Exists because httpx is the interface we want (any httpx transport can be plugged in) and its stock engine is slow with
many calls in flight (`benchmarks/provider_transport.py` measures both). Refuses to know what is sent: an engine writes
a request once, says so beforehand, and hands back what came.

What `direct` promises beyond an ordinary httpx transport:

* `request.extensions["authorize_send"]`, a function without arguments, is called when a connection is held and in the
  same step as the write, with no other task in between. What it raises comes out untouched, and nothing was written.
* A failure before that is `ConnectError` or `UnsupportedProtocol`, one after it never is.
* Nothing is sent twice, redirected, decompressed or remembered (no cookies); nothing is read from the environment.
* A pooled connection on which something came unasked is not used.
* A cancelled or failed call closes its connection.
"""

from __future__ import annotations

import ssl
from enum import StrEnum, unique
from pathlib import Path

import httpx

from adapter.provider.asyncio_transport import AsyncioTransport


@unique
class TransportKind(StrEnum):
    """The engines that come with the adapter (setting `provider.transport`)."""

    DIRECT = "direct"
    HTTPX = "httpx"


def make_transport(
    kind: TransportKind, *, tls: ssl.SSLContext | None = None, keep_alive_seconds: float = 3.0
) -> httpx.AsyncBaseTransport:
    """Build one of the engines; `tls` None is `tls_context()`."""
    if kind is TransportKind.DIRECT:
        return AsyncioTransport(tls=tls or tls_context(), keep_alive_seconds=keep_alive_seconds)
    return httpx.AsyncHTTPTransport(
        verify=tls or tls_context(),
        trust_env=False,
        limits=httpx.Limits(keepalive_expiry=keep_alive_seconds),
    )


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that verifies, with TLS 1.2 or later.

    `ca_file` (PEM) says whom to trust; without it the system's CAs are trusted, and certifi's.
    """
    if ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
