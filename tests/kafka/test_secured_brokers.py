"""Connections to brokers with TLS, client certificates and every kind of login; a refusal names its cause."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping

import pytest
import trustme
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from adapter import wiring
from adapter.errors import BrokerUnavailable, TokenUnavailable
from adapter.kafka.admin import admin_session
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.tokens import Token, TokenProvider
from adapter.secret import Secret
from adapter.settings import load

from .secured_kafka import PASSWORD, USER, ClientFiles, SecuredKafka, unsigned_token

PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def secured(local_kafka_ready: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker of this module."""
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


async def _answers(connection: KafkaConnection) -> None:
    async with admin_session(connection) as admin:
        await admin.topics([])  # no right is needed to ask for none


async def _refusal(connection: KafkaConnection) -> str:
    with pytest.raises(BrokerUnavailable) as refused:
        await _answers(connection)
    return str(refused.value)


def _tokens(value: str) -> TokenProvider:
    async def fetch() -> Token:
        return Token(value=value)

    return TokenProvider(fetch)


async def test_a_trusted_certificate_is_accepted_and_another_one_named(secured: SecuredKafka) -> None:
    """With the CA's file; without it, the setting is named."""
    await _answers(secured.connection("TLS"))

    assert "kafka.ssl_ca_file" in await _refusal(secured.connection("TLS", ssl_ca_file=None))


@pytest.mark.parametrize("mechanism", PASSWORD_MECHANISMS)
async def test_a_password_logs_in_and_a_wrong_one_is_named(secured: SecuredKafka, mechanism: str) -> None:
    """By Kafka's own error; the password itself is not repeated."""
    login = {"sasl_mechanism": mechanism, "sasl_username": USER}
    await _answers(secured.connection("LOGIN", **login, sasl_password=Secret(PASSWORD)))

    refusal = await _refusal(secured.connection("LOGIN", **login, sasl_password=Secret("another-one")))
    assert "SaslAuthenticationFailed" in refusal
    assert "another-one" not in refusal


async def test_a_mechanism_that_the_broker_does_not_have_is_named(secured: SecuredKafka) -> None:
    """By Kafka's own error."""
    login = {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": Secret(PASSWORD)}

    assert "UnsupportedSaslMechanism" in await _refusal(secured.connection("TOKENS", **login))


async def test_a_token_logs_in_and_what_is_wrong_with_one_is_named(secured: SecuredKafka) -> None:
    """An expired token, and none at all; the client itself takes a refused token for an accepted one."""

    async def none() -> Token:
        raise TokenUnavailable("the identity provider is closed")

    def connection(tokens: TokenProvider) -> KafkaConnection:
        return secured.connection("TOKENS", sasl_mechanism="OAUTHBEARER", tokens=tokens)

    await _answers(connection(_tokens(unsigned_token(USER, lifetime_seconds=60))))

    expired = unsigned_token(USER, lifetime_seconds=-5)
    refusal = await _refusal(connection(_tokens(expired)))
    assert "refuses the token" in refusal
    assert expired not in refusal
    assert "the identity provider is closed" in await _refusal(connection(TokenProvider(none)))


@pytest.mark.parametrize("case", ["none", "expired", "foreign"])
async def test_a_client_certificate_that_is_refused_is_named(secured: SecuredKafka, case: str) -> None:
    """None, an expired one, and one of an authority that the broker does not know."""
    await _answers(_mutual(secured, secured.client_certificate("good")))
    files = None
    if case != "none":
        authority = trustme.CA() if case == "foreign" else None
        files = secured.client_certificate(case, authority=authority, expired=case == "expired")

    assert "kafka.ssl_cert_file" in await _refusal(_mutual(secured, files))


async def test_client_credentials_log_in(secured: SecuredKafka) -> None:
    """From the settings over a token endpoint to the broker; the secret goes to the endpoint alone."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        token = {"access_token": unsigned_token(USER, lifetime_seconds=60), "expires_in": 60}
        body = json.dumps(token).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    values = {
        **secured.values("TOKENS"),
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token",
        "oauth_client_id": "shop",
        "oauth_client_secret": PASSWORD,
    }
    settings = load(None, {f"kafka.{name}": str(value) for name, value in values.items()})
    async with server:
        await _answers(wiring.kafka_connection(settings))

    assert base64.b64encode(f"shop:{PASSWORD}".encode()) in asked[0]


LISTENERS: Mapping[str, Callable[[SecuredKafka], str]] = {
    "PLAINTEXT": lambda kafka: kafka.bootstrap_servers,
    "SSL": lambda kafka: str(kafka.values("TLS")["bootstrap_servers"]),
    "SASL_PLAINTEXT": lambda kafka: kafka.users_bootstrap_servers,
    "SASL_SSL": lambda kafka: str(kafka.values("LOGIN")["bootstrap_servers"]),
}
PAIRS = [(client, listener) for client in LISTENERS for listener in LISTENERS if client != listener]


async def test_a_listener_of_another_security_protocol_is_named(secured: SecuredKafka) -> None:
    """For every pair: what the listener is, and which setting is another."""
    refusals = await asyncio.gather(*(_refusal(_client(secured, *pair)) for pair in PAIRS))

    wrong = {}
    for (client, listener), refusal in zip(PAIRS, refusals, strict=True):
        named = f"is a listener for {listener}, and kafka.security_protocol is {client}" in refusal
        if not named or ("PLAIN or SCRAM" in refusal) != (listener == "SASL_SSL"):
            wrong[client, listener] = refusal
    assert wrong == {}


async def test_a_listener_for_certificates_is_named_to_a_client_without_tls(secured: SecuredKafka) -> None:
    """Whether it asks for a login, too, shows only after its handshake."""
    connection = KafkaConnection(bootstrap_servers=str(secured.values("MUTUAL")["bootstrap_servers"]))

    assert "is a listener for SSL or SASL_SSL" in await _refusal(connection)


def _client(secured: SecuredKafka, protocol: str, listener: str) -> KafkaConnection:
    options: dict[str, object] = {"ssl_ca_file": secured.ca_file} if protocol.endswith("SSL") else {}
    if protocol.startswith("SASL_"):
        options |= {"sasl_mechanism": "PLAIN", "sasl_username": USER, "sasl_password": Secret(PASSWORD)}
    address = LISTENERS[listener](secured)
    return KafkaConnection(bootstrap_servers=address, security_protocol=protocol, **options)  # type: ignore[arg-type]


async def test_a_renewed_client_certificate_is_used_by_the_next_connection(secured: SecuredKafka) -> None:
    """Without a restart; while only one of the two files is new, the pair before stays in use."""
    old = secured.client_certificate("renewed", authority=trustme.CA())
    assert not await _connects(_mutual(secured, old))

    before = old.key_file.read_bytes()
    secured.client_certificate("renewed")
    after = old.key_file.read_bytes()
    old.key_file.write_bytes(before)
    assert not await _connects(_mutual(secured, old))

    old.key_file.write_bytes(after)
    assert await _connects(_mutual(secured, old))


async def _connects(connection: KafkaConnection) -> bool:
    client = AIOKafkaClient(**connection.client_options())
    try:
        await client.bootstrap()
    except KafkaConnectionError:
        return False
    finally:
        await client.close()
    return True


def _mutual(secured: SecuredKafka, files: ClientFiles | None) -> KafkaConnection:
    certificate = {} if files is None else {"ssl_cert_file": files.cert_file, "ssl_key_file": files.key_file}
    return secured.connection("MUTUAL", **certificate)
