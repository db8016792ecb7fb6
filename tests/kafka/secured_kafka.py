"""A local Kafka that also listens with TLS, mutual TLS and every kind of login, for tests of connections.

The certificates are made here. Users of SCRAM are created through the listener without a login.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import LOOPBACK, free_ports
from adapter.kafka.connection import KafkaConnection

USER, PASSWORD = "adapter", "only-on-this-machine"
REAUTHENTICATE_SECONDS = 3.0
"""A login with a token lasts no longer; then the broker ends the connection."""

_PROTOCOLS = {"TLS": "SSL", "MUTUAL": "SSL", "LOGIN": "SASL_SSL", "TOKENS": "SASL_SSL"}
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFiles:
    """Files of a client's certificate and key."""

    cert_file: Path
    key_file: Path


class SecuredKafka(LocalKafka):
    """Listeners by name: `TLS`, `MUTUAL` (asks for a client certificate), `LOGIN` (PLAIN and SCRAM), `TOKENS`.

    Those who log in, or show a certificate, have only the rights that ACLs give them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(users={})
        self._secured_ports = dict(zip(_PROTOCOLS, free_ports(len(_PROTOCOLS)), strict=True))
        self._folder = folder
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self._server = self.authority.issue_cert(LOOPBACK)

    def values(self, listener: str) -> dict[str, object]:
        """The `kafka` settings with which a listener can be reached and is trusted; the login is missing."""
        return {
            "bootstrap_servers": f"{LOOPBACK}:{self._secured_ports[listener]}",
            "security_protocol": _PROTOCOLS[listener],
            "ssl_ca_file": self.ca_file,
        }

    def connection(self, listener: str, **changes: object) -> KafkaConnection:
        """A connection to a listener, which trusts its certificate."""
        return KafkaConnection(**{**self.values(listener), **changes})  # type: ignore[arg-type]  # keyword by keyword

    def client_certificate(
        self, name: str, *, authority: trustme.CA | None = None, expired: bool = False
    ) -> ClientFiles:
        """Write the files of a client's certificate of this name; a second call replaces them."""
        until = datetime.now(UTC) + (timedelta(days=-1) if expired else timedelta(days=1))
        issued = (authority or self.authority).issue_cert(f"{name}.example", common_name=name, not_after=until)
        files = ClientFiles(cert_file=self._folder / f"{name}.crt", key_file=self._folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(str(files.cert_file))
        issued.private_key_pem.write_to_path(str(files.key_file))
        return files

    def start(self) -> None:
        """Start, and create the users of SCRAM."""
        super().start()
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # one user once in a request
            change = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for done in admin.alter_user_scram_credentials([change]).values():
                done.result(timeout=60)

    def _lay_out(self, ports: tuple[int, ...]) -> Path:
        path = super()._lay_out(ports)
        key = self._folder / "broker.pem"
        chain = b"".join(each.bytes() for each in self._server.cert_chain_pems)
        key.write_bytes(_pkcs8(self._server.private_key_pem.bytes()) + chain)
        lines = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
        secured = ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in self._secured_ports.items())
        more = {
            "listeners": f"{lines['listeners']},{secured}",
            "advertised.listeners": f"{lines['advertised.listeners']},{secured}",
            "listener.security.protocol.map": ",".join(
                (lines["listener.security.protocol.map"], *(f"{name}:{kind}" for name, kind in _PROTOCOLS.items()))
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(key),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.login.plain.sasl.jaas.config": (
                f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            "listener.name.login.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.tokens.oauthbearer.sasl.jaas.config": (
                f'{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
            "listener.name.tokens.oauthbearer.connections.max.reauth.ms": str(int(REAUTHENTICATE_SECONDS * 1000)),
        }
        path.write_text("".join(f"{name}={value}\n" for name, value in (lines | more).items()), encoding="utf-8")
        return path


def unsigned_token(subject: str, *, lifetime_seconds: float) -> str:
    """A token that Kafka's validator for tests accepts: a JWT without a signature (RFC 7519, 6)."""
    now = time.time()
    claims = {"sub": subject, "iat": int(now) - 1, "exp": int(now + lifetime_seconds)}
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _pkcs8(pem: bytes) -> bytes:
    """A private key in the only form that Kafka reads from PEM."""
    key = serialization.load_pem_private_key(pem, None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _part(content: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
