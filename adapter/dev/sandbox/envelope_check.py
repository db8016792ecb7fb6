"""Checks whether an envelope is accepted, on the bytes as received.

The protocol's `open_request` is lenient, as a receiver should be. ECTicket is strict, so the types on the wire, the
clock and the one official encoder are checked here, before and after it. A rejected envelope is answered with
TransCode ≠ 1 and an empty Data. Does not interpret the payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapter.dev.sandbox.codes import MESSAGE_LENGTH, CallRefusal, Reason
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.errors import EnvelopeError, Undecryptable, WrongChecksum
from adapter.protocol.cipher import decrypt
from adapter.protocol.credentials import Merchant
from adapter.protocol.encoding import Encoder, decode
from adapter.protocol.envelope import open_request
from adapter.strict_json import parse_json

ID_LENGTH = 10
"""MerchantID and PlatformID are String(10)."""

_LARGEST_TIMESTAMP = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The envelope's own fields, None or empty where they cannot be read."""

    merchant_id: str = ""
    platform_id: str | None = None
    timestamp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An accepted envelope."""

    merchant: Merchant
    payload: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidEnvelope:
    """A rejected envelope, with its header and merchant as far as they are known."""

    refusal: CallRefusal
    header: Header
    merchant: Merchant | None = None


class EnvelopeCheck:
    """Opens requests of the merchants in `settings`."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._merchants = {(each.merchant_id, each.platform_id): each for each in settings.merchants}

    def receive(self, body: bytes, now: datetime) -> Received | InvalidEnvelope:
        """Open a request, or return why it is rejected."""
        header = _header(body)
        if isinstance(header, CallRefusal):
            return InvalidEnvelope(refusal=header, header=Header())
        merchant = self._merchants.get((header.merchant_id, header.platform_id))
        if merchant is None:
            refusal = CallRefusal(reason=Reason.UNKNOWN_MERCHANT, message="MerchantID or PlatformID is not known")
            return InvalidEnvelope(refusal=refusal, header=header)
        refused = self._clock_problem(header.timestamp, now)
        opened = refused or self._open(body, merchant)
        if isinstance(opened, CallRefusal):
            return InvalidEnvelope(refusal=opened, header=header, merchant=merchant)
        return opened

    def _clock_problem(self, timestamp: int, now: datetime) -> CallRefusal | None:
        late = int(now.timestamp()) - timestamp
        tolerance = self._settings.timestamp_tolerance_seconds
        if late > tolerance:
            return CallRefusal(reason=Reason.TIMESTAMP, message=f"Timestamp is {late} seconds old")
        if -late > tolerance and not self._settings.timestamp_late_only:
            return CallRefusal(reason=Reason.TIMESTAMP, message=f"Timestamp is {-late} seconds in the future")
        return None

    def _open(self, body: bytes, merchant: Merchant) -> Received | CallRefusal:
        # A merchant of a platform signs with the platform's keys (docs/ecticket-protocol.md, 1.5), never with its own.
        signer = Merchant(merchant_id=merchant.merchant_id, credentials=merchant.signing)
        try:
            request = open_request(body, lambda _merchant_id, _platform_id: signer)
        except Undecryptable as error:
            return CallRefusal(reason=Reason.UNDECRYPTABLE, message=str(error))
        except WrongChecksum as error:
            if not _is_readable(body, signer):
                return CallRefusal(reason=Reason.UNDECRYPTABLE, message="Data is not encrypted with these keys")
            return CallRefusal(reason=Reason.CHECKSUM, message=f"CheckMacValue Error: {error}")
        except EnvelopeError as error:
            return CallRefusal(reason=Reason.NOT_AN_ENVELOPE, message=str(error))
        if request.encoder != Encoder.ESCAPE_DATA_STRING and not self._settings.legacy_checksums:
            message = f"CheckMacValue Error: encoded as {request.encoder} does, not as Uri.EscapeDataString"
            return CallRefusal(reason=Reason.CHECKSUM, message=message)
        return Received(merchant=merchant, payload=request.payload)


def _is_readable(body: bytes, merchant: Merchant) -> bool:
    """Whether Data decrypts to a text; a real server must not reveal this, a sandbox helps a developer with it."""
    envelope = parse_json(body)
    data = envelope.get("Data") if isinstance(envelope, dict) else None
    encoded = decrypt(data, merchant.signing) if isinstance(data, str) else None
    return encoded is not None and decode(encoded).whole


def invalid_envelope_body(invalid: InvalidEnvelope, trans_code: int, now: datetime) -> bytes:
    """The answer to a rejected envelope: nothing in it is encrypted or signed."""
    envelope = {
        "PlatformID": invalid.header.platform_id,
        "MerchantID": invalid.header.merchant_id,
        "RpHeader": {"Timestamp": int(now.timestamp())},
        "TransCode": trans_code,
        "TransMsg": invalid.refusal.message[:MESSAGE_LENGTH],
        "Data": "",
        "CheckMacValue": "",
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def _header(body: bytes) -> Header | CallRefusal:
    try:
        envelope = parse_json(body)
    except ValueError:
        return CallRefusal(reason=Reason.NOT_AN_ENVELOPE, message="the body is not JSON")
    if not isinstance(envelope, dict):
        return CallRefusal(reason=Reason.NOT_AN_ENVELOPE, message="the body is no JSON object")
    problem = _wire_problem(envelope)
    if problem:
        return CallRefusal(reason=Reason.NOT_AN_ENVELOPE, message=problem)
    return Header(
        merchant_id=envelope["MerchantID"],
        platform_id=envelope.get("PlatformID") or None,
        timestamp=int(envelope["RqHeader"]["Timestamp"]),
    )


def _wire_problem(envelope: Mapping[str, object]) -> str | None:
    """The first field whose type on the wire is not the documented one."""
    merchant_id, platform_id = envelope.get("MerchantID"), envelope.get("PlatformID") or ""
    if not isinstance(merchant_id, str) or not 1 <= len(merchant_id) <= ID_LENGTH:
        return "MerchantID must be a String(10)"
    if not isinstance(platform_id, str) or len(platform_id) > ID_LENGTH:
        return "PlatformID must be a String(10), or null"
    header = envelope.get("RqHeader")
    timestamp = header.get("Timestamp") if isinstance(header, dict) else None
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp < _LARGEST_TIMESTAMP:
        return "RqHeader.Timestamp must be a whole Number"
    missing = [name for name in ("Data", "CheckMacValue") if not isinstance(envelope.get(name), str)]
    return f"{missing[0]} must be a String" if missing else None
