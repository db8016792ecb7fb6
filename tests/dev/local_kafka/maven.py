"""A Maven repository on the loopback, with one small application that needs one small library."""

from __future__ import annotations

import io
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

APPLICATION = "org.example:app:1.0"


def _pom(artifact: str, version: str, dependencies: str = "") -> bytes:
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>org.example</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    ).encode()


def _needs(artifact: str, version: str, scope: str) -> str:
    return (
        f"<dependency><groupId>org.example</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version><scope>{scope}</scope></dependency>"
    )


def _jar() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Main.class", "x" * 10_000)
    return content.getvalue()


@dataclass
class Repository:
    """What it has, and what it was asked for; `broken` paths answer with half a file."""

    url: str = ""
    files: dict[str, bytes] = field(
        default_factory=lambda: {
            "/org/example/app/1.0/app-1.0.pom": _pom(
                "app", "1.0", _needs("lib", "2.0", "runtime") + _needs("testing", "3.0", "test")
            ),
            "/org/example/app/1.0/app-1.0.jar": _jar(),
            "/org/example/lib/2.0/lib-2.0.pom": _pom("lib", "2.0"),
            "/org/example/lib/2.0/lib-2.0.jar": _jar(),
        }
    )
    asked: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[Repository]:
    """A repository that answers until the block ends; jars only while its gate is open (it is)."""
    repository = Repository()
    repository.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked[self.path] += 1
            content = repository.files.get(self.path)
            if self.path.endswith(".jar"):
                repository.gate.wait(20)
            self.send_response(404 if content is None else 200)
            body = content or b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in repository.broken else body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    repository.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield repository
    finally:
        repository.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
