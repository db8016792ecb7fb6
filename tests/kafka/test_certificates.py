"""Certificate files that change while a process runs: each new client uses what is there, or what was usable last."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest
import trustme

from adapter.errors import SettingsError
from adapter.kafka.connection import KafkaConnection

BROKER = "broker.example"
NAMES = ("ca.pem", "tls.crt", "tls.key")

Break = Callable[[Path, bytes], object]
BREAKS: Mapping[str, Break] = {
    "missing": lambda path, _old: path.unlink(),
    "empty": lambda path, _old: path.write_bytes(b""),
    "cut": lambda path, old: path.write_bytes(old[: len(old) // 2]),
    "no-certificate": lambda path, _old: path.write_bytes(b"no certificate\n"),
}
"""What a file may be for a moment, while it is replaced."""


class Files:
    """The three files of a client, and the side of the broker."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.renew("first")

    def connection(self) -> KafkaConnection:
        """A new value, as each part of the process may have its own."""
        ca_file, cert_file, key_file = (self.folder / name for name in NAMES)
        return KafkaConnection(
            bootstrap_servers="a:9092",
            security_protocol="SSL",
            ssl_ca_file=ca_file,
            ssl_cert_file=cert_file,
            ssl_key_file=key_file,
        )

    def issued(self, name: str) -> dict[str, bytes]:
        """Content of all files, with a new certificate of this name."""
        leaf = self.authority.issue_cert("client.example", common_name=name)
        contents = (self.authority.cert_pem, leaf.cert_chain_pems[0], leaf.private_key_pem)
        return {file: blob.bytes() for file, blob in zip(NAMES, contents, strict=True)}

    def renew(self, name: str) -> None:
        """Replace all files."""
        for file, content in self.issued(name).items():
            (self.folder / file).write_bytes(content)

    def shown(self) -> str:
        """The name in the certificate that a new client shows to a broker. Raises ssl.SSLError if it trusts it not."""
        broker = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(BROKER).configure_cert(broker)
        self.authority.configure_trust(broker)
        broker.verify_mode = ssl.CERT_REQUIRED
        context = self.connection().client_options()["ssl_context"]
        assert isinstance(context, ssl.SSLContext)
        return _shown(context, broker)


def _shown(context: ssl.SSLContext, broker: ssl.SSLContext) -> str:
    to_broker, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_broker, server_hostname=BROKER)
    server = broker.wrap_bio(to_broker, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = server.getpeercert()
    assert found is not None
    subject = cast(tuple[tuple[tuple[str, str]]], found["subject"])
    return dict(names[0] for names in subject)["commonName"]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_broken_for_a_moment_leaves_the_one_before_in_use(files: Files, name: str, how: str) -> None:
    """For every client that is made meanwhile; the problem names the file until it can be used again."""
    connection = files.connection()
    before = files.shown()
    BREAKS[how](files.folder / name, (files.folder / name).read_bytes())

    meanwhile, problems = files.shown(), connection.file_problems()
    files.renew("second")

    assert (before, meanwhile, files.shown()) == ("first", "first", "second")
    (problem,) = problems
    assert str(files.folder / name) in problem
    assert connection.file_problems() == ()


@pytest.mark.parametrize("name", NAMES[1:])
def test_half_of_a_renewed_pair_is_not_used(files: Files, name: str) -> None:
    """Certificate and key are replaced one after the other; the pair before shows until both are new."""
    before = files.shown()
    renewed = files.issued("second")
    (files.folder / name).write_bytes(renewed[name])

    meanwhile, problems = files.shown(), files.connection().file_problems()
    for file, content in renewed.items():
        (files.folder / file).write_bytes(content)

    assert (before, meanwhile, files.shown()) == ("first", "first", "second")
    assert len(problems) == 1


def test_a_removed_authority_is_no_longer_trusted(files: Files) -> None:
    """And an added one is, without a restart."""
    files.shown()
    (files.folder / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())

    with pytest.raises(ssl.SSLCertVerificationError):
        files.shown()
    (files.folder / "ca.pem").write_bytes(files.authority.cert_pem.bytes())
    assert files.shown() == "first"


def test_files_that_could_never_be_used_are_a_mistake_until_they_can(files: Files) -> None:
    """The start is refused; what was corrected meanwhile is used."""
    (files.folder / "tls.key").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"kafka\.ssl_key_file"):
        files.connection().client_options()

    files.renew("second")
    assert files.shown() == "second"
