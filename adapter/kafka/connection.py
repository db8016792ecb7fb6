"""Describes how to reach the brokers: one value for every client, checked before anything connects.

The names in its error messages are those of the `kafka` settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adapter.errors import SettingsError
from adapter.kafka.certificates import ReloadingContext, client_context
from adapter.kafka.compression import CODECS
from adapter.kafka.tokens import TokenProvider
from adapter.secret import Secret

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
OAUTHBEARER = "OAUTHBEARER"
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)
CLIENT_ID = "ecticket-adapter"
_ADDRESS = re.compile(r"(?:[^\][:@/\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
"""A host or an IPv6 address in brackets, and a port; without brackets the client takes the port for a part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """Addresses, security and the two time-outs that decide how fast a dead process is noticed.

    `bootstrap_servers` is `host:port`, comma-separated. `ssl_ca_file` (PEM) replaces the system's trusted certificates.
    `ssl_cert_file` and `ssl_key_file` (PEM) are the client's certificate, for mutual TLS. `tokens` is for OAUTHBEARER.
    `compression` is the codec of the batches that the adapter writes, or `none`; every codec is read. Raises
    SettingsError with every problem at once.
    """

    bootstrap_servers: str
    client_id: str = CLIENT_ID
    """Names the deployment at the brokers: all its clients have this id, and no others (`group_members`)."""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: Secret[str] | None = None
    tokens: TokenProvider | None = field(default=None, repr=False)
    ssl_ca_file: Path | None = None
    ssl_cert_file: Path | None = None
    ssl_key_file: Path | None = None
    compression: str = "none"
    session_timeout_seconds: float = 10.0
    transaction_timeout_seconds: float = 15.0

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise SettingsError(*problems)

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in."""
        return self.security_protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    def client_options(self) -> dict[str, object]:
        """Return the keyword arguments that every aiokafka client accepts: addresses, TLS and login.

        Raises SettingsError if a certificate file cannot be used, and none of its content could be used before.
        """
        options: dict[str, object] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.uses_tls:
            options["ssl_context"] = self._context()
        if self.uses_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
        if self.uses_sasl and self.sasl_mechanism == OAUTHBEARER:
            options["sasl_oauth_token_provider"] = self.tokens
        elif self.uses_sasl:
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password and self.sasl_password.reveal()
        return options

    def file_problems(self) -> tuple[str, ...]:
        """Return what is wrong with the certificate files now, as sentences; what was loaded last stays in use.

        Raises SettingsError as `client_options` does.
        """
        problem = self._context().problem() if self.uses_tls else None
        return () if problem is None else (problem,)

    def _context(self) -> ReloadingContext:
        return client_context(self.ssl_ca_file, self.ssl_cert_file, self.ssl_key_file)

    @property
    def compression_type(self) -> str | None:
        """The codec as aiokafka's producers expect it; None for none."""
        return None if self.compression == "none" else self.compression

    def _problems(self) -> Iterator[str]:
        yield from _address_problems(self.bootstrap_servers)
        if self.security_protocol not in SECURITY_PROTOCOLS:
            known = ", ".join(SECURITY_PROTOCOLS)
            yield f"kafka.security_protocol is {self.security_protocol!r}; it is one of {known}."
        else:
            yield from self._sasl_problems()
            yield from self._tls_problems()
        if self.compression not in ("none", *CODECS):
            yield f"kafka.compression is {self.compression!r}; it is one of none, {', '.join(CODECS)}."
        for name in ("session_timeout_seconds", "transaction_timeout_seconds"):
            seconds = getattr(self, name)
            if not 0 < seconds < float("inf"):
                yield f"kafka.{name} is {seconds}; it is a number of seconds above 0."

    def _sasl_problems(self) -> Iterator[str]:
        by_password = self.sasl_mechanism != OAUTHBEARER
        given = {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_username": self.sasl_username,
            "sasl_password": self.sasl_password,
        }
        for name, value in given.items():
            needed = self.uses_sasl and (by_password or name == "sasl_mechanism")
            if needed and not value:
                yield f"kafka.{name} is missing; kafka.security_protocol {self.security_protocol} needs it."
            elif value and not self.uses_sasl:
                yield (
                    f"kafka.{name} is given but kafka.security_protocol {self.security_protocol} does not log in; "
                    "set it to SASL_SSL or SASL_PLAINTEXT, or leave the login out."
                )
            elif value and not needed:
                yield f"kafka.{name} is given, but kafka.sasl_mechanism {OAUTHBEARER} uses a token; leave it out."
        if self.uses_sasl and not by_password and self.tokens is None:
            yield f"kafka.sasl_mechanism {OAUTHBEARER} needs a source of tokens, such as kafka.oauth_token_url."
        if self.uses_sasl and self.sasl_mechanism and self.sasl_mechanism not in SASL_MECHANISMS:
            yield f"kafka.sasl_mechanism is {self.sasl_mechanism!r}; it is one of {', '.join(SASL_MECHANISMS)}."

    def _tls_problems(self) -> Iterator[str]:
        files = {name: getattr(self, name) for name in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")}
        for name, file in files.items():
            if file is not None and not self.uses_tls:
                yield (
                    f"kafka.{name} is given but kafka.security_protocol {self.security_protocol} does not encrypt; "
                    "set it to SSL or SASL_SSL, or leave the file out."
                )
        if self.ssl_key_file is not None and self.ssl_cert_file is None:
            yield "kafka.ssl_key_file is given without kafka.ssl_cert_file; give the client's certificate too."


def _address_problems(bootstrap_servers: str) -> Iterator[str]:
    for address in bootstrap_servers.split(","):
        found = _ADDRESS.fullmatch(address.strip())
        if found is None or not 0 < int(found["port"]) < 65536:
            yield (
                f"kafka.bootstrap_servers has {_without_user_info(address.strip())!r}; each of its comma-separated "
                "addresses is host:port, such as localhost:9092, or [fd00::1]:9092 for IPv6."
            )


def _without_user_info(address: str) -> str:
    return f"...@{address.rpartition('@')[2]}" if "@" in address else address
