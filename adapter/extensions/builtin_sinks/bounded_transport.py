"""An httpx transport that reads a bounded number of bytes for each request.

A receiver may send interim answers, headers, chunk extensions or trailers without end. httpx and its layers below bound
the size of one of them, and the caller bounds the time; but until then parsing them takes all of a CPU, and in Python
that is the adapter's too. So the connection is closed as soon as more has come than any answer needs.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

import httpcore
import httpx

MAX_READ_BYTES = 256 * 1024
"""The most bytes that come after a request: the answer's head and the beginning of its body, of which 64 KiB are read.
"""


class BoundedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 as `httpx.AsyncHTTPTransport` speaks it. A longer answer raises `httpx.ReadError`."""

    def __init__(self, *, tls: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=_BoundedBackend())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, whose body is still to be read."""
        if not isinstance(request.stream, httpx.AsyncByteStream):
            raise httpx.StreamError("the request cannot be sent asynchronously")
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with _httpx_errors():
            answer = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    target,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._answer.aclose()


class _BoundedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections that count what they read."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _BoundedStream(stream)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _BoundedStream(httpcore.AsyncNetworkStream):
    """One connection; what it reads counts from the last write on."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._read = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        data = await self._stream.read(max_bytes, timeout)
        self._read += len(data)
        if self._read > MAX_READ_BYTES:
            raise httpcore.ReadError("the answer is too long")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        self._read = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as httpx's of the same name, which callers expect of a transport."""
    try:
        yield
    except _ERRORS as error:
        names = (kind.__name__ for kind in type(error).__mro__)
        kind = next((getattr(httpx, name) for name in names if name in httpx.__all__), httpx.TransportError)
        raise kind(str(error)) from error
