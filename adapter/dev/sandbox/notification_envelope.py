"""A notification's envelope, and the verdict on a merchant's answer to it.

ECPay's pages show a notification as a *request* (RqHeader, no TransCode); its AI guides show it as an answer. Both
shapes are available, because a receiver must understand both. The answer must be the envelope with RtnCode 1. `1|OK`,
which other services of ECPay accept, counts only under lenient settings, and the delivery log names it.

The JSON has a space after each comma and colon, which reveals receivers that verify re-serialised text or that encode a
space differently from the sender.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from adapter.dev.sandbox.codes import SUCCESS
from adapter.dev.sandbox.notifications import OutgoingNotification
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.stats import http_outcome
from adapter.errors import EnvelopeError, WrongChecksum
from adapter.protocol.checksum import check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.credentials import Merchant
from adapter.protocol.encoding import Encoder, encode
from adapter.protocol.envelope import ACCEPTED as TRANS_CODE_ACCEPTED
from adapter.protocol.envelope import open_response

ACCEPTED: Final = "accepted"
ACCEPTED_LENIENTLY: Final = "accepted_leniently"
PLAIN_OK: Final = b"1|OK"

_OTHER_DIGIT = str.maketrans("0123456789ABCDEF", "123456789ABCDEF0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on an answer, or on its absence: one of a few names, and a message."""

    name: str
    message: str
    http_status: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether the notification is not sent again."""
        return self.name in (ACCEPTED, ACCEPTED_LENIENTLY)


def seal_notification(
    notification: OutgoingNotification, merchant: Merchant, settings: SandboxSettings, *, timestamp: int, tampered: bool
) -> bytes:
    """The body of the POST; a `tampered` one has a CheckMacValue that does not fit."""
    encoder = settings.notify_encoder
    encoded = encode(json.dumps(notification.data), encoder)
    signature = check_mac(encoded, merchant.signing, encoder)
    answer_like = {"TransCode": TRANS_CODE_ACCEPTED, "TransMsg": ""} if settings.notify_header == "RpHeader" else {}
    envelope = {
        "PlatformID": notification.platform_id or None,
        "MerchantID": notification.merchant_id,
        settings.notify_header: {"Timestamp": timestamp},
        **answer_like,
        "Data": encrypt(encoded, merchant.signing),
        "CheckMacValue": wrong_checksum(signature) if tampered else signature,
    }
    return json.dumps(envelope).encode()


def wrong_checksum(checksum: str) -> str:
    """A checksum of the same form in which every digit is another."""
    return checksum.translate(_OTHER_DIGIT)


def judge(status: int, body: bytes, merchant: Merchant, settings: SandboxSettings) -> Verdict:
    """The verdict on this HTTP answer."""
    if status != 200:
        return Verdict(name=http_outcome(status), message=f"HTTP {status} instead of 200", http_status=status)
    if body.strip() == PLAIN_OK:
        return _plain_ok(settings)
    name, message = _envelope_verdict(body, merchant, settings)
    return Verdict(name=name, message=message, http_status=status)


def _plain_ok(settings: SandboxSettings) -> Verdict:
    if settings.notify_lenient:
        message = "1|OK, accepted because the sandbox is lenient; ECPay would send the notification again"
        return Verdict(name=ACCEPTED_LENIENTLY, message=message, http_status=200)
    message = "1|OK, where ECTicket asks for the envelope with RtnCode 1"
    return Verdict(name="plain_ok", message=message, http_status=200)


def _envelope_verdict(body: bytes, merchant: Merchant, settings: SandboxSettings) -> tuple[str, str]:
    try:
        answer = open_response(body, merchant)
    except WrongChecksum as error:
        return "wrong_checksum", str(error)
    except EnvelopeError as error:
        return "not_an_envelope", str(error)
    if answer.payload is None:
        return "trans_code", f"TransCode {answer.trans_code} instead of 1"
    if answer.encoder != Encoder.ESCAPE_DATA_STRING and not settings.legacy_checksums:
        return "wrong_checksum", f"CheckMacValue is encoded as {answer.encoder} does, not as Uri.EscapeDataString"
    rtn_code = answer.payload.get("RtnCode")
    if rtn_code != SUCCESS or isinstance(rtn_code, bool):
        return "rtn_code", "RtnCode in the answer's Data is not 1"
    return ACCEPTED, "RtnCode 1"
