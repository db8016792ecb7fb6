"""Seals payloads into the envelope of an HTTP body, and opens envelopes.

Nothing is trusted that the checksum does not cover. Received bytes raise `EnvelopeError`s and nothing else; their
messages contain no key and no part of the payload. Does not check whether a Timestamp is recent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from adapter.errors import (
    EnvelopeError,
    NotAnEnvelope,
    Undecryptable,
    UnknownAddressee,
    UnreadableReply,
    WrongChecksum,
)
from adapter.protocol.checksum import check_mac, matching_encoder
from adapter.protocol.cipher import decrypt, decrypt_blocks, encrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import decode
from adapter.protocol.fields import Payload, optional_integer, optional_text
from adapter.protocol.json_text import read_json, write_encoded_json, write_string
from adapter.values import PartlyShown

ACCEPTED = 1
"""The only TransCode that means the envelope was accepted."""

TIMESTAMP_LIMIT_SECONDS = 600
"""ECPay rejects an envelope that arrives later than this after its Timestamp (docs/ecticket-protocol.md, 1.4)."""

MAX_MEMBERS = 1000
"""The most members of all objects and arrays of an envelope; the protocol's own number is 8. Without this limit, 64 KiB
of empty objects would take as long to read as a thousand envelopes."""

_BOM = b"\xef\xbb\xbf"


class Response(PartlyShown, frozen=True, kw_only=True):
    """An opened answer.

    `payload` and `plaintext` are None if `trans_code` is not 1, because nothing was executed and nothing is signed.
    `encoder` names the percent-encoder under which the checksum matches. MerchantID, PlatformID, Timestamp and
    TransCode are not covered by the checksum.
    """

    PRIVATE = ("payload", "plaintext")

    merchant_id: str | None
    platform_id: str | None
    timestamp: int | None
    trans_code: int
    trans_msg: str
    payload: Mapping[str, object] | None
    plaintext: str | None
    encoder: str | None


class Request(PartlyShown, frozen=True, kw_only=True):
    """An opened request or notification and the merchant whose keys match; `timestamp` in Unix seconds, unchecked.

    `credentials` are the matching pair, the platform's or the merchant's own.
    """

    PRIVATE = ("payload", "plaintext")

    merchant: Merchant
    credentials: Credentials
    timestamp: int
    payload: Mapping[str, object]
    plaintext: str
    encoder: str


def seal_request(payload: Mapping[str, object], merchant: Merchant, *, timestamp: int) -> bytes:
    """Return the whole HTTP body of a request; `timestamp` in Unix seconds starts ECPay's ten minutes.

    "For general merchants, please set [PlatformID] as null": the text of all four pages, although OrderDetail's example
    shows "".
    """
    return _envelope(merchant, f'"RqHeader":{{"Timestamp":{timestamp:d}}}', *_sealed(payload, merchant.signing))


def seal_response(
    payload: Mapping[str, object] | None,
    merchant: Merchant,
    *,
    timestamp: int,
    trans_code: int = ACCEPTED,
    trans_msg: str = "",
    credentials: Credentials | None = None,
) -> bytes:
    """Return the whole HTTP body of an answer; without a payload, Data and CheckMacValue are empty.

    `credentials` are the pair to sign with, if it is known which one the other side uses.
    """
    sealed = ("", "") if payload is None else _sealed(payload, credentials or merchant.signing)
    outcome = f'"TransCode":{trans_code:d},"TransMsg":{write_string(trans_msg)}'
    return _envelope(merchant, f'"RpHeader":{{"Timestamp":{timestamp:d}}},{outcome}', *sealed)


def open_response(body: bytes, merchant: Merchant) -> Response:
    """Open the answer to a request of this merchant.

    Raises:
        NotAnEnvelope: not JSON, not the envelope's fields, or an answer to another merchant.
        Undecryptable: Data matches none of the merchant's keys, or holds no JSON object.
        WrongChecksum: CheckMacValue matches the decrypted text under none of the keys and encoders.
    """
    envelope = _read(body)
    header = _Header.of(envelope)
    if header.trans_code is None:
        raise NotAnEnvelope("TransCode is missing: this is no answer of ECTicket's.")
    if header.merchant_id not in (None, merchant.merchant_id, merchant.platform_id):
        raise NotAnEnvelope(f"The answer is for another merchant than {merchant.merchant_id}, who asked.")
    opened = _opened(envelope, merchant.accepted) if header.trans_code == ACCEPTED else None
    return Response(
        merchant_id=header.merchant_id,
        platform_id=header.platform_id,
        timestamp=header.timestamp,
        trans_code=header.trans_code,
        trans_msg=header.trans_msg,
        payload=opened.payload if opened else None,
        plaintext=opened.plaintext if opened else None,
        encoder=opened.encoder if opened else None,
    )


def open_request(body: bytes, find_merchant: Callable[[str, str | None], Merchant | None]) -> Request:
    """Open a request as ECTicket gets it, or a notification as a merchant gets it.

    `find_merchant` is called with MerchantID and PlatformID (None if absent or empty). The time is read from RqHeader
    or RpHeader, and TransCode is checked only if present: the pages (32228, 46921) show notifications as requests,
    ECPay's sample code as answers.

    A server must not reveal whether the padding of a text was right, or the text UTF-8: enough such answers reveal the
    text. So both are `WrongChecksum`, and both cost the same work as a text whose checksum alone is wrong.

    Raises:
        NotAnEnvelope: not JSON, not the envelope's fields, or a TransCode other than 1.
        UnknownAddressee: `find_merchant` knows no such merchant.
        Undecryptable: Data is not base64 of whole blocks, or a text with a right checksum is no JSON object.
        WrongChecksum: CheckMacValue matches the decrypted text under none of the keys and encoders.
    """
    envelope = _read(body)
    header = _Header.of(envelope)
    if header.merchant_id is None or header.timestamp is None:
        missing = "MerchantID" if header.merchant_id is None else "Timestamp"
        raise NotAnEnvelope(f"{missing} is missing: this is no request of the protocol.")
    if header.trans_code not in (None, ACCEPTED):
        raise NotAnEnvelope(f"TransCode is {header.trans_code}: there is nothing in it to be read.")
    merchant = find_merchant(header.merchant_id, header.platform_id)
    if merchant is None:
        raise UnknownAddressee("MerchantID or PlatformID is not known here.")
    opened = _opened_alike(envelope, merchant.accepted)
    return Request(
        merchant=merchant,
        credentials=opened.credentials,
        timestamp=header.timestamp,
        payload=opened.payload,
        plaintext=opened.plaintext,
        encoder=opened.encoder,
    )


class _Header(Struct, frozen=True, kw_only=True):
    """The fields of an envelope that nothing signs."""

    merchant_id: str | None
    platform_id: str | None
    timestamp: int | None
    trans_code: int | None
    trans_msg: str

    @classmethod
    def of(cls, envelope: Payload) -> _Header:
        """Read the fields, each in any form that means the same."""
        try:
            return cls(
                merchant_id=optional_text(envelope, "MerchantID"),
                platform_id=optional_text(envelope, "PlatformID"),
                timestamp=optional_integer(_time_header(envelope), "Timestamp"),
                trans_code=optional_integer(envelope, "TransCode"),
                trans_msg=optional_text(envelope, "TransMsg") or "",
            )
        except UnreadableReply as error:
            raise NotAnEnvelope(f"{error} This is no message of the protocol.") from error


class _Opened(Struct, frozen=True, kw_only=True):
    """The part of a message that the checksum covers."""

    payload: Mapping[str, object]
    plaintext: str
    encoder: str
    credentials: Credentials


def _envelope(merchant: Merchant, between: str, data: str, checksum: str) -> bytes:
    """Write an envelope as compact JSON; `between` are its fields between MerchantID and Data."""
    platform = write_string(merchant.platform_id) if merchant.platform_id else "null"
    return (
        f'{{"PlatformID":{platform},"MerchantID":{write_string(merchant.merchant_id)},{between},'
        f'"Data":"{data}","CheckMacValue":"{checksum}"}}'
    ).encode()


def _sealed(payload: Mapping[str, object], credentials: Credentials) -> tuple[str, str]:
    """Return Data and CheckMacValue, which need no escapes in JSON; one encoded text serves both."""
    encoded = write_encoded_json(payload)
    return encrypt(encoded, credentials), check_mac(encoded, credentials)


def _read(body: bytes) -> Payload:
    """Read the envelope's JSON object; the Content-Type does not matter."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_MEMBERS:
        raise NotAnEnvelope(f"{len(body)} bytes came with more than {MAX_MEMBERS} members.")
    text = _utf8(body.removeprefix(_BOM))
    envelope = None if text is None else read_json(text)
    if not isinstance(envelope, dict):
        raise NotAnEnvelope(f"{len(body)} bytes came that are no JSON object.")
    return envelope


def _utf8(data: bytes) -> str | None:
    """Decode, or return None: the error of the codec would contain the data."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _time_header(envelope: Payload) -> Payload:
    """Find the header that holds Timestamp: RqHeader in requests and notifications, RpHeader in answers."""
    for name in ("RqHeader", "RpHeader"):
        header = envelope.get(name)
        if isinstance(header, dict):
            return header
    return {}


_CANNOT_DECRYPT = "Data is not base64 of this merchant's AES, or not URL-encoded below it."
_CHECKSUM_DIFFERS = "CheckMacValue does not fit the decrypted text under any accepted key and encoder."


def _opened(envelope: Payload, accepted: Iterable[Credentials]) -> _Opened:
    """Decrypt, verify, and only then read, with the first keys that match."""
    data, received = _data_and_checksum(envelope)
    failure: EnvelopeError = Undecryptable(_CANNOT_DECRYPT)
    for credentials in accepted:
        encoded = decrypt(data, credentials)
        if encoded is None:
            continue
        decoded = decode(encoded)
        if not decoded.whole:
            continue
        encoder = matching_encoder(received, decoded, encoded, credentials)
        if encoder is not None:
            return _read_plaintext(decoded.text, encoder, credentials)
        failure = WrongChecksum(_CHECKSUM_DIFFERS)
    raise failure


def _opened_alike(envelope: Payload, accepted: Iterable[Credentials]) -> _Opened:
    """As `_opened`, for a sender who may be anyone: what is wrong with the text changes neither the work nor the error.

    Whether Data is base64 of whole blocks is known to its sender and need not be hidden. A text in the official
    encoding costs less, but a forged one has a corrupted block of 16 bytes that no encoder writes.
    """
    data, received = _data_and_checksum(envelope)
    failure: EnvelopeError = Undecryptable(_CANNOT_DECRYPT)
    for credentials in accepted:
        decrypted = decrypt_blocks(data, credentials)
        if decrypted is None:
            continue
        decoded = decode(decrypted.text)
        encoder = matching_encoder(received, decoded, decrypted.text, credentials)
        if encoder is not None and decoded.whole and decrypted.padded:
            return _read_plaintext(decoded.text, encoder, credentials)
        failure = WrongChecksum(_CHECKSUM_DIFFERS)
    raise failure


def _data_and_checksum(envelope: Payload) -> tuple[str, str]:
    data, received = envelope.get("Data"), envelope.get("CheckMacValue")
    if not isinstance(data, str) or not data:
        raise NotAnEnvelope("Data is missing: there is nothing to decrypt.")
    if not isinstance(received, str):
        raise WrongChecksum("CheckMacValue is missing.")
    return data, received


def _read_plaintext(text: str, encoder: str, credentials: Credentials) -> _Opened:
    """Read the verified text as the JSON object it must be."""
    payload = read_json(text)
    if not isinstance(payload, dict):
        raise Undecryptable("Data decrypts to a verified text that is no JSON object.")
    return _Opened(payload=payload, plaintext=text, encoder=encoder, credentials=credentials)
