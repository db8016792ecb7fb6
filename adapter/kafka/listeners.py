"""Finds what a listener of a broker expects of its clients, to name the cause of a connection that failed.

A broker does not explain a client of another security protocol: it closes the connection, or waits. So this connects
once more, without a login and without a check of the certificate, and asks for nothing but the logins there are.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.protocol.admin import SaslHandShakeRequest
from msgspec import Struct

_FAILURES: Final = (OSError, errors.KafkaError, AssertionError)
"""What the client raises for a connection that does not come about, or breaks; TimeoutError is an OSError."""
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
"""OpenSSL's reasons for an answer that is not one of TLS."""


class Listener(Struct, frozen=True, kw_only=True):
    """What a listener expects; `logins` are its SASL mechanisms, none if it takes no login, and None if not known."""

    tls: bool
    logins: tuple[str, ...] | None

    def mismatch(self, security_protocol: str) -> str | None:
        """Return why a client of this security protocol cannot use the listener, with the remedy; None if it can."""
        tls, login = security_protocol.endswith("SSL"), security_protocol.startswith("SASL_")
        if tls == self.tls and (self.logins is None or login == bool(self.logins)):
            return None
        encrypted = "SSL" if self.tls else "PLAINTEXT"
        expected = [f"SASL_{encrypted}"] if self.logins else [encrypted]
        if self.logins is None:
            expected.append(f"SASL_{encrypted}")
        mechanism = f", with kafka.sasl_mechanism {' or '.join(sorted(self.logins))}" if self.logins else ""
        return (
            f"is a listener for {' or '.join(expected)}, and kafka.security_protocol is {security_protocol}; set it to "
            f"that{mechanism}, or give the port of another listener"
        )


async def find_listener(host: str, port: int, *, seconds: float) -> Listener | None:
    """Return what listens there; None if it is no broker, or does not answer in time."""
    try:
        async with asyncio.timeout(seconds):
            if await _speaks_tls(host, port):
                return Listener(tls=True, logins=await _logins(host, port, "SSL"))
            logins = await _logins(host, port, "PLAINTEXT")
            return None if logins is None else Listener(tls=False, logins=logins)
    except TimeoutError:
        return None


async def _speaks_tls(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=_trusting_everyone())
    except ssl.SSLError as error:
        return error.reason not in _NOT_TLS  # an alert is TLS
    except OSError:
        return False
    writer.close()
    return True


async def _logins(host: str, port: int, security_protocol: str) -> tuple[str, ...] | None:
    """The mechanisms of a listener, none if it takes no login; None if it does not answer."""
    context = _trusting_everyone() if security_protocol == "SSL" else None
    try:
        connection = await create_conn(host, port, security_protocol=security_protocol, ssl_context=context)
    except _FAILURES:
        return None
    try:
        answer = await connection.send(SaslHandShakeRequest("PLAIN"))
    except _FAILURES:
        return None
    finally:
        connection.close()
    takes_no_login = answer.error_code == errors.IllegalSaslStateError.errno
    return () if takes_no_login else tuple(answer.enabled_mechanisms)


def _trusting_everyone() -> ssl.SSLContext:
    """Nothing secret is sent with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
