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

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from loopback_server import LoopbackServer


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


class RawServer(LoopbackServer):
    """Hands every request to `behave`; while `deaf` it reads nothing of what is sent."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(tls=tls, port=port)
        self.visits: list[Visit] = []
        self.bytes_received = 0
        self.connections = 0
        self.behave: Behaviour = _nothing
        self.deaf = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection, buffer, turn = self.connections, b"", 0
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
