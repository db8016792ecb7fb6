"""Says why a call was not sent, and what an operator can do about it.

The texts are our own: a library's may quote what was received, and OpenSSL's are for programmers. OpenSSL's short
reason follows in brackets, so that it can be searched for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx
from msgspec import Struct


class FailureCause(Struct, frozen=True, kw_only=True):
    """Why a call failed, without a full stop."""

    cause: str
    remedy: str | None = None
    """What the operator can do, as a sentence without its full stop; None if nothing is known to help."""


class TunnelFailed(httpx.ConnectError):
    """The proxy opened no tunnel, so nothing was sent. `status` is that of the proxy's answer, if it gave one."""

    def __init__(self, failure: FailureCause, *, status: int | None = None) -> None:
        super().__init__(failure.cause)
        self.failure = failure
        self.status = status


def describe_failure(failure: BaseException) -> FailureCause:
    """Describe the failure of a call."""
    if isinstance(failure, TimeoutError):
        return FailureCause(cause="time was up")
    if isinstance(failure, TunnelFailed):
        return failure.failure
    chain = tuple(_causes(failure))
    innermost = chain[-1]
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return describe_tls_failure(cause)
        if isinstance(cause, socket.gaierror):
            return FailureCause(
                cause="the name of the host cannot be resolved (DNS)",
                remedy="Check the name server of this host, and whether ECTicket is reached only through a proxy",
            )
        if isinstance(cause, ConnectionRefusedError):
            return FailureCause(cause="the connection was refused")
        if isinstance(cause, ConnectionError) and isinstance(failure, httpx.ConnectError):
            return FailureCause(
                cause=f"the connection was lost while it was opened ({type(cause).__name__})",
                remedy="Look for a firewall; if ECTicket is reached only through a proxy, set provider.proxy",
            )
    if isinstance(innermost, ssl.SSLError):
        return describe_tls_failure(innermost)
    if innermost is failure:
        return FailureCause(cause=type(failure).__name__)
    return FailureCause(cause=f"{type(failure).__name__} after {type(innermost).__name__}")


_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_HOST = frozenset({62, 63, 64})
"""OpenSSL's verify codes (X509_V_ERR_*) for another name, mail address or IP address."""
_TOO_OLD = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"})
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


def describe_tls_failure(
    failure: ssl.SSLError, *, server: str = "the server", ca_setting: str = "provider.ssl_ca_file"
) -> FailureCause:
    """Describe a failed handshake; `ca_setting` names the setting of the certificates that are trusted there."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _describe_untrusted(failure, server, ca_setting)
    reason = failure.reason or type(failure).__name__
    if reason in _TOO_OLD:
        return FailureCause(
            cause=f"{server} does not speak TLS 1.2 or later ({reason})",
            remedy="Update it, or the proxy or firewall that ends TLS on the way",
        )
    if reason in _NOT_TLS:
        return FailureCause(
            cause=f"{server} does not speak TLS on this port ({reason})",
            remedy="Correct the port, or the scheme of the address (http or https)",
        )
    return FailureCause(
        cause=f"the TLS handshake with {server} failed ({reason})",
        remedy="Look for a proxy or firewall that breaks TLS on the way, and into the log of the other side",
    )


def _describe_untrusted(failure: ssl.SSLCertVerificationError, server: str, ca_setting: str) -> FailureCause:
    """Describe why a certificate was not accepted; another CA helps only if the authority is unknown."""
    reason = str(getattr(failure, "verify_message", "")).rstrip(".") or "no reason given"
    code = getattr(failure, "verify_code", None)
    if code in (_EXPIRED, _NOT_YET_VALID):
        state = "has expired" if code == _EXPIRED else "is not valid yet"
        return FailureCause(
            cause=f"the certificate of {server} {state} ({reason})",
            remedy="Set the clock of this host; if it is right, the other side must renew its certificate",
        )
    if code in _OTHER_HOST:
        return FailureCause(
            cause=f"the certificate of {server} is for another host ({reason})",
            remedy="Correct the address, or find out what answers in its stead, such as a proxy's page",
        )
    return FailureCause(
        cause=f"the certificate of {server} is not trusted ({reason})",
        remedy=f"Set {ca_setting} to a PEM file with the certificate of the authority that signed it: "
        "your company's, if a proxy inspects TLS",
    )


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """Yield the failure and its causes, the innermost last, even if a library has hidden them with `from None`."""
    seen: set[int] = set()
    cause: BaseException | None = failure
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
