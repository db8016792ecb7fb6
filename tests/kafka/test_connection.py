"""What a connection refuses before anything connects, and what it hands to the clients."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from aiokafka.conn import collect_hosts
from cryptography.hazmat.primitives import serialization

from adapter.errors import SettingsError
from adapter.kafka.connection import KafkaConnection
from adapter.secret import Secret


def test_a_plain_connection_needs_nothing_but_addresses() -> None:
    """Without security settings, clients get addresses, the deployment's name and PLAINTEXT, and nothing else."""
    connection = KafkaConnection(bootstrap_servers="a:9092, b:9093")

    assert connection.client_options() == {
        "bootstrap_servers": "a:9092, b:9093",
        "client_id": "ecticket-adapter",
        "security_protocol": "PLAINTEXT",
    }


def test_a_password_in_an_address_is_not_repeated() -> None:
    """The address is refused, and the sentence shows only what follows the user info."""
    with pytest.raises(SettingsError) as refused:
        KafkaConnection(bootstrap_servers="user:topsecret@a:9092")

    assert "topsecret" not in str(refused.value)
    assert "a:9092" in str(refused.value)


def test_an_ipv6_address_in_brackets_is_an_address() -> None:
    """As aiokafka reads it: the port is what follows the brackets."""
    connection = KafkaConnection(bootstrap_servers="[::1]:9092, [fd00::2]:9093")

    hosts = sorted(collect_hosts(str(connection.client_options()["bootstrap_servers"])))
    assert [(host, port) for host, port, _ in hosts] == [("::1", 9092), ("fd00::2", 9093)]


def test_the_login_goes_to_the_clients_under_their_names() -> None:
    """SASL over TLS: mechanism, user, password, and a context that verifies the broker."""
    options = KafkaConnection(
        bootstrap_servers="a:9092",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="adapter",
        sasl_password=Secret("secret"),
    ).client_options()
    context = options.pop("ssl_context")

    assert options == {
        "bootstrap_servers": "a:9092",
        "client_id": "ecticket-adapter",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "adapter",
        "sasl_plain_password": "secret",
    }
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_the_password_does_not_show() -> None:
    """Neither its repr nor its complaints hold the password."""
    connection = KafkaConnection(
        bootstrap_servers="a:9092",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="adapter",
        sasl_password=Secret("secret"),
    )

    assert "secret" not in repr(connection)
    with pytest.raises(SettingsError) as refused:
        KafkaConnection(bootstrap_servers="a:9092", sasl_password=Secret("secret"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bootstrap_servers": ""}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "a:9092,"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "a"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "a:0"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "a:70000"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "::1"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "fd00::1:9092"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "[fd00::1]"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "[kafka]:9092"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "SASL_SSL://a:9092"}, ["bootstrap_servers"]),
        ({"bootstrap_servers": "user:secret@a:9092"}, ["bootstrap_servers"]),
        ({"security_protocol": "TLS"}, ["security_protocol"]),
        ({"security_protocol": "SASL_SSL"}, ["sasl_mechanism", "sasl_username", "sasl_password"]),
        (
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "GSSAPI",
                "sasl_username": "a",
                "sasl_password": "b",
            },
            ["sasl_mechanism"],
        ),
        ({"sasl_username": "a", "sasl_password": "b"}, ["sasl_username", "sasl_password"]),
        ({"ssl_ca_file": Path("ca.pem")}, ["ssl_ca_file"]),
        ({"session_timeout_seconds": 0.0}, ["session_timeout_seconds"]),
        ({"transaction_timeout_seconds": float("nan")}, ["transaction_timeout_seconds"]),
    ],
)
def test_every_mistake_gets_a_sentence_that_names_its_setting(options: dict[str, object], named: list[str]) -> None:
    """Contradictions are refused when the value is made, all at once."""
    with pytest.raises(SettingsError) as refused:
        KafkaConnection(**{"bootstrap_servers": "a:9092", **options})  # type: ignore[arg-type]  # mistakes on purpose

    assert [problem.split(" ", 1)[0] for problem in refused.value.problems] == [f"kafka.{name}" for name in named]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_used_are_refused_by_name(tmp_path: Path, content: str | None) -> None:
    """A missing or unreadable CA file is a mistake in the settings and not a broker that is away."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content, encoding="utf-8")
    connection = KafkaConnection(bootstrap_servers="a:9092", security_protocol="SSL", ssl_ca_file=ca_file)

    with pytest.raises(SettingsError, match=r"ca\.pem cannot be used"):
        connection.client_options()


def test_a_token_login_needs_tokens_and_no_password() -> None:
    """Both are said at once."""
    with pytest.raises(SettingsError) as refused:
        KafkaConnection(
            bootstrap_servers="a:9092",
            security_protocol="SASL_SSL",
            sasl_mechanism="OAUTHBEARER",
            sasl_username="adapter",
        )

    assert [each.split()[0] for each in refused.value.problems] == ["kafka.sasl_username", "kafka.sasl_mechanism"]


@pytest.mark.parametrize("name", ["ssl_ca_file", "ssl_cert_file"])
def test_a_certificate_without_tls_is_refused(name: str, tmp_path: Path) -> None:
    """It would not be used."""
    with pytest.raises(SettingsError, match=f"kafka.{name}"):
        KafkaConnection(bootstrap_servers="a:9092", **{name: tmp_path / "file.pem"})  # type: ignore[arg-type]


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    """The certificate may be missing by mistake."""
    with pytest.raises(SettingsError, match=r"kafka\.ssl_cert_file"):
        KafkaConnection(bootstrap_servers="a:9092", security_protocol="SSL", ssl_key_file=tmp_path / "key.pem")


@pytest.mark.parametrize("content", [None, "no certificate", "locked"])
def test_a_client_certificate_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    """Missing, of another form, or with a key that asks for a passphrase: nothing waits at a terminal."""
    cert_file, key_file = tmp_path / "client.crt", tmp_path / "client.key"
    issued = trustme.CA().issue_cert("client.example")
    if content is not None:
        issued.cert_chain_pems[0].write_to_path(str(cert_file))
        key_file.write_bytes(_locked(issued) if content == "locked" else content.encode())
    connection = KafkaConnection(
        bootstrap_servers="a:9092", security_protocol="SSL", ssl_cert_file=cert_file, ssl_key_file=key_file
    )

    with pytest.raises(SettingsError, match=r"kafka\.ssl_cert_file"):
        connection.client_options()


def _locked(issued: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"passphrase"))
