"""A server that a test scripts: raw bytes over real sockets, on loopback only."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request as it came in; `connection` counts connections from 1, `turn` the requests on this one."""

    head: bytes
    body: bytes
    connection: int
    turn: int
    writer: asyncio.StreamWriter = field(repr=False)

    async def answer(
        self, body: bytes = b"", *, status: int = 200, headers: dict[str, str] | None = None, cut: int = 0
    ) -> None:
        """Write a whole answer, or all of it but its last `cut` bytes."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        raw = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self.writer.write(raw[: len(raw) - cut])
        await self.writer.drain()

    def close(self) -> None:
        """Close the connection cleanly."""
        self.writer.close()

    def reset(self) -> None:
        """Close the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Visit], Awaitable[None]]


class RawServer:
    """Listens on loopback and hands every request to `behave`; while `deaf` it reads nothing of what is sent."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.visits: list[Visit] = []
        self.bytes_received = 0
        self.connections = 0
        self.open_connections = 0
        self.changed = asyncio.Event()
        self.behave: Behaviour = _nothing
        self.deaf = False
        self._tls = tls
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition about the server is true."""
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open_connections += 1
        self.changed.set()
        try:
            await self._serve(reader, writer, self.connections)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self.changed.set()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        buffer, turn = b"", 0
        if self.deaf:
            await asyncio.Event().wait()
        while data := await reader.read(65536):
            self.bytes_received += len(data)
            self.changed.set()
            buffer += data
            head, separator, rest = buffer.partition(b"\r\n\r\n")
            length = _content_length(head)
            if not separator or len(rest) < length:
                continue
            buffer, turn = rest[length:], turn + 1
            visit = Visit(head=head, body=rest[:length], connection=connection, turn=turn, writer=writer)
            self.visits.append(visit)
            self.changed.set()
            await self.behave(visit)


async def _nothing(_: Visit) -> None:
    """Leave a request without an answer."""


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def self_signed(directory: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for these names, or for 127.0.0.1 without any.

    Returns its file, to be trusted as a CA, and the server's context.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certified = [x509.DNSName(each) for each in names]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(certified or [loopback]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context


def unused_port() -> int:
    """Find a port on which no server listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
