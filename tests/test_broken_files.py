"""Files that the running adapter reads again, each broken for a moment: neither the process nor a stage ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path

import pytest
import trustme
from kafka.test_certificates import BREAKS
from log_lines import capture_logs

from adapter.app import Adapter
from adapter.settings import load, merchants

CERTIFICATES = ("ca.pem", "oauth_ca.pem", "tls.crt", "tls.key")
SECRETS = (
    "signing_key",
    "kafka/oauth_client_id",
    "kafka/oauth_client_secret",
    "provider/proxy_username",
    "provider/proxy_password",
    "merchants/1/hash_key",
    "merchants/1/hash_iv",
)
CONNECTIONS = 3
"""So many clients connect between two changes: of the start and of the publisher, both of which go on."""


class Port:
    """Accepts connections of clients, counts them and closes them at once."""

    def __init__(self) -> None:
        self.accepted = 0
        self._more = asyncio.Condition()

    async def accept(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        async with self._more:
            self.accepted += 1
            self._more.notify_all()

    async def further(self, count: int) -> None:
        """Wait until so many more clients have connected."""
        until = self.accepted + count
        async with self._more:
            await self._more.wait_for(lambda: self.accepted >= until)


def _write(folder: Path) -> Mapping[Path, bytes]:
    authority = trustme.CA()
    leaf = authority.issue_cert("client.example")
    blobs = (authority.cert_pem, authority.cert_pem, leaf.cert_chain_pems[0], leaf.private_key_pem)
    contents = {folder / name: blob.bytes() for name, blob in zip(CERTIFICATES, blobs, strict=True)}
    contents |= {folder / "secrets" / name: b"k" * (16 if "merchants" in name else 40) for name in SECRETS}
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return contents


async def test_files_that_are_broken_for_a_moment_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with them, and while nothing but closed connections comes from the brokers."""
    monkeypatch.setattr(merchants, "RELOAD_SECONDS", 0.0)
    contents, port, stop = _write(tmp_path), Port(), asyncio.Event()
    server = await asyncio.start_server(port.accept, "127.0.0.1", 0)
    values = {
        "kafka.bootstrap_servers": f"127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "kafka.security_protocol": "SASL_SSL",
        "kafka.sasl_mechanism": "OAUTHBEARER",
        "kafka.oauth_token_url": "https://127.0.0.1:1/token",
        "kafka.oauth_ca_file": str(tmp_path / "oauth_ca.pem"),
        "kafka.ssl_ca_file": str(tmp_path / "ca.pem"),
        "kafka.ssl_cert_file": str(tmp_path / "tls.crt"),
        "kafka.ssl_key_file": str(tmp_path / "tls.key"),
        "provider.proxy": "http://127.0.0.1:2",
        "secrets_dir": str(tmp_path / "secrets"),
        "submit.operator": "web",
        "admin.port": "0",
        "callbacks.port": "0",
        "console.enabled": "false",
    }
    adapter = Adapter(load(None, values))
    problems = {}

    with capture_logs() as lines:
        running = asyncio.create_task(adapter.run(stop))
        async with asyncio.timeout(60):
            for how, make in BREAKS.items():
                await _until(running, port.further(CONNECTIONS))
                for path, content in contents.items():
                    make(path, content)
                adapter.look_at_secret_files()
                problems[how] = len(adapter.info()["secret_file_problems"])  # type: ignore[arg-type]  # a list
                await _until(running, port.further(CONNECTIONS))
                for path, content in contents.items():
                    path.write_bytes(content)
                adapter.look_at_secret_files()
                assert adapter.info()["secret_file_problems"] == []
        stop.set()
        await running
    server.close()

    assert min(problems.values()) >= 3
    assert {line["event"] for line in lines if line["log_level"] == "error"} == set()


async def _until(running: asyncio.Task[None], happened: Coroutine[object, object, None]) -> None:
    """Wait for this; fail with the adapter's error if it ends before."""
    waiting = asyncio.ensure_future(happened)
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
        raise AssertionError("the adapter ended by itself")
