"""Sealing and opening: what comes back is what was sent, and what was changed is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import EnvelopeError, NotAnEnvelope, Undecryptable, WrongChecksum
from adapter.protocol.checksum import AS_DECRYPTED, check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder, encode
from adapter.protocol.envelope import open_request, open_response, seal_request, seal_response
from adapter.protocol.json_text import write_encoded_json

from .samples import (
    ELECTRONIC,
    KEYS,
    MERCHANT,
    NOW,
    ODD_KEYS,
    OTHER_KEYS,
    OTHER_MERCHANT,
    PLATFORM_KEYS,
    PLATFORM_MERCHANT,
    fast,
    payloads,
    sent_by,
    unicode_text,
)

PAYLOAD = {"RtnCode": 1, "RtnMsg": "成功 (ok)!"}
ODD_MERCHANT = Merchant(merchant_id="3085676", credentials=ODD_KEYS)
merchants = st.sampled_from([MERCHANT, OTHER_MERCHANT, PLATFORM_MERCHANT, ODD_MERCHANT])


def _always(merchant: Merchant | None) -> Callable[[str, str | None], Merchant | None]:
    """Find this merchant whatever is asked."""
    return lambda merchant_id, platform_id: merchant


def _answer(**changed: object) -> bytes:
    """Make an answer of ECTicket's with some fields of the envelope changed; None leaves one out."""
    envelope: dict[str, object] = json.loads(seal_response(PAYLOAD, MERCHANT, timestamp=NOW))
    envelope.update(changed)
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def _notification(**changed: object) -> bytes:
    """Make a request or notification, as `_answer`."""
    envelope: dict[str, object] = json.loads(seal_request(PAYLOAD, MERCHANT, timestamp=NOW))
    envelope.update(changed)
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _payload_of_response(body: bytes) -> Mapping[str, object] | None:
    return open_response(body, MERCHANT).payload


def _payload_of_request(body: bytes) -> Mapping[str, object] | None:
    return open_request(body, _always(MERCHANT)).payload


# -- the identity --------------------------------------------------------------------------------------------------


@fast
@given(payloads, merchants, st.integers(0, 2**40))
def test_opening_a_sealed_request_is_the_identity(
    payload: dict[str, object], merchant: Merchant, timestamp: int
) -> None:
    """For every Unicode text in a payload, and every encoder."""
    request = open_request(seal_request(payload, merchant, timestamp=timestamp), _always(merchant))

    assert request.payload == payload
    assert json.loads(request.plaintext) == payload
    assert request.timestamp == timestamp
    assert request.merchant is merchant
    assert request.encoder == Encoder.ESCAPE_DATA_STRING


@fast
@given(payloads, merchants, unicode_text)
def test_opening_a_sealed_answer_is_the_identity(payload: dict[str, object], merchant: Merchant, message: str) -> None:
    """The other direction, with what the envelope says about it."""
    body = seal_response(payload, merchant, timestamp=NOW, trans_msg=message)

    response = open_response(body, merchant)
    assert response.payload == payload
    assert response.plaintext is not None
    assert json.loads(response.plaintext) == payload
    assert (response.trans_code, response.trans_msg, response.timestamp) == (1, message, NOW)
    assert (response.merchant_id, response.platform_id) == (merchant.merchant_id, merchant.platform_id)


@fast
@given(payloads, st.sampled_from(Encoder), st.sampled_from([KEYS, ODD_KEYS]))
def test_answers_of_every_encoder_are_opened(payload: dict[str, object], encoder: Encoder, keys: Credentials) -> None:
    """Texts with any characters, literal or escaped, from any of the four senders."""
    text = json.dumps(payload, ensure_ascii=False)
    data, checksum = sent_by(encoder, text, keys)

    response = open_response(
        _answer(Data=data, CheckMacValue=checksum), Merchant(merchant_id="3085676", credentials=keys)
    )
    assert response.payload == payload
    assert response.plaintext == text


# -- the form ------------------------------------------------------------------------------------------------------


ids = st.text(st.characters(), max_size=10)


@fast
@given(ids, st.none() | ids, st.integers(-(2**40), 2**40), st.integers(-1, 999), st.text(st.characters()))
def test_envelope_is_the_compact_json_of_its_fields(
    merchant_id: str, platform_id: str | None, timestamp: int, trans_code: int, message: str
) -> None:
    """Byte for byte, whatever a number or a message contains."""
    platform_keys = None if platform_id is None else PLATFORM_KEYS
    merchant = Merchant(
        merchant_id=merchant_id, credentials=KEYS, platform_id=platform_id, platform_credentials=platform_keys
    )
    encoded = write_encoded_json(PAYLOAD)
    addresses = {"PlatformID": platform_id or None, "MerchantID": merchant_id}
    outcome = {"RpHeader": {"Timestamp": timestamp}, "TransCode": trans_code, "TransMsg": message}
    sealed = {"Data": encrypt(encoded, merchant.signing), "CheckMacValue": check_mac(encoded, merchant.signing)}

    request = seal_request(PAYLOAD, merchant, timestamp=timestamp)
    answer = seal_response(PAYLOAD, merchant, timestamp=timestamp, trans_code=trans_code, trans_msg=message)

    assert request == _compact({**addresses, "RqHeader": {"Timestamp": timestamp}, **sealed})
    assert answer == _compact({**addresses, **outcome, **sealed})


def test_request_has_the_documented_fields_and_no_others() -> None:
    """In the page's order. "For general merchants, please set as null" (PlatformID, all four pages)."""
    envelope = json.loads(seal_request(ELECTRONIC.to_payload(), MERCHANT, timestamp=NOW))

    assert list(envelope) == ["PlatformID", "MerchantID", "RqHeader", "Data", "CheckMacValue"]
    assert envelope["PlatformID"] is None
    assert envelope["MerchantID"] == "3085676"
    assert envelope["RqHeader"] == {"Timestamp": NOW}
    assert len(envelope["CheckMacValue"]) == 64
    assert envelope["CheckMacValue"] == envelope["CheckMacValue"].upper()


def test_answer_has_the_documented_fields_and_no_others() -> None:
    """In the page's order."""
    envelope = json.loads(seal_response(PAYLOAD, PLATFORM_MERCHANT, timestamp=NOW))

    assert list(envelope) == [
        "PlatformID",
        "MerchantID",
        "RpHeader",
        "TransCode",
        "TransMsg",
        "Data",
        "CheckMacValue",
    ]
    assert envelope["PlatformID"] == "3085672"
    assert json.loads(seal_response(PAYLOAD, MERCHANT, timestamp=NOW))["PlatformID"] is None
    assert envelope["RpHeader"] == {"Timestamp": NOW}
    assert (envelope["TransCode"], envelope["TransMsg"]) == (1, "")


def test_sealed_texts_are_official_and_encoder_proof() -> None:
    """What is sent is the official encoding of a text on which no encoder disagrees."""
    envelope = json.loads(seal_request({"CustomerName": "Jo O'Hara (2) ~!*"}, MERCHANT, timestamp=NOW))
    text = r'{"CustomerName":"Jo\u0020O\u0027Hara\u0020\u00282\u0029\u0020\u007E\u0021\u002A"}'

    for encoder in Encoder:
        assert envelope["CheckMacValue"] == check_mac(encode(text, encoder), KEYS, encoder)
    assert envelope["Data"] == encrypt(encode(text, Encoder.ESCAPE_DATA_STRING), KEYS)


def test_refusal_without_payload_has_empty_data_and_checksum() -> None:
    """Faults of the envelope are answered with nothing in it."""
    body = seal_response(None, MERCHANT, timestamp=NOW, trans_code=999, trans_msg="CheckMacValue Error")

    envelope = json.loads(body)
    assert (envelope["Data"], envelope["CheckMacValue"]) == ("", "")
    response = open_response(body, MERCHANT)
    assert (response.trans_code, response.trans_msg) == (999, "CheckMacValue Error")
    assert (response.payload, response.plaintext, response.encoder) == (None, None, None)


# -- platforms -----------------------------------------------------------------------------------------------------


def test_platform_merchant_signs_with_the_platforms_keys() -> None:
    """Page 32155: with a PlatformID, its HashKey and HashIV sign."""
    envelope = json.loads(seal_request(PAYLOAD, PLATFORM_MERCHANT, timestamp=NOW))

    as_platform = Merchant(merchant_id="3085676", credentials=PLATFORM_KEYS)
    assert open_request(json.dumps(envelope).encode(), _always(as_platform)).payload == PAYLOAD
    with pytest.raises((Undecryptable, WrongChecksum)):
        open_request(json.dumps(envelope).encode(), _always(MERCHANT))


@pytest.mark.parametrize("keys", [KEYS, PLATFORM_KEYS])
def test_platform_merchant_believes_both_pairs_of_keys(keys: Credentials) -> None:
    """Which pair signs answers is not documented."""
    body = seal_response(PAYLOAD, Merchant(merchant_id="3085676", credentials=keys), timestamp=NOW)

    assert open_response(body, PLATFORM_MERCHANT).payload == PAYLOAD


def test_merchant_is_looked_up_by_number_and_platform() -> None:
    """A platform's merchant is another one than the same merchant alone."""
    asked: list[tuple[str, str | None]] = []

    def find(merchant_id: str, platform_id: str | None) -> Merchant:
        asked.append((merchant_id, platform_id))
        return PLATFORM_MERCHANT if platform_id else MERCHANT

    assert open_request(seal_request(PAYLOAD, PLATFORM_MERCHANT, timestamp=NOW), find).merchant is PLATFORM_MERCHANT
    assert open_request(seal_request(PAYLOAD, MERCHANT, timestamp=NOW), find).merchant is MERCHANT
    assert asked == [("3085676", "3085672"), ("3085676", None)]


# -- leniency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"PlatformID": None}, {"PlatformID": ""}, {"MerchantID": None}, {"MerchantID": ""}, {"MerchantID": 3085676},
        {"RpHeader": None}, {"RpHeader": ""}, {"RpHeader": {}}, {"RpHeader": {"Timestamp": "1700000000"}},
        {"RpHeader": {"Timestamp": 1.7e9}}, {"TransCode": "1"}, {"TransCode": 1.0}, {"TransMsg": None}, {"Extra": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_answers_are_read_whatever_form_the_unsigned_fields_have(changed: dict[str, object]) -> None:
    """Absent, null and "" are one; 1, "1" and 1.0 are one; unknown fields are passed over."""
    assert open_response(_answer(**changed), MERCHANT).payload == PAYLOAD


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n\t", b"\xef\xbb\xbf \n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"  "])
def test_answers_are_read_with_byte_order_mark_and_white_space(before: bytes, after: bytes) -> None:
    """Servers that send JSON as text/html are not shy of either."""
    assert open_response(before + _answer() + after, MERCHANT).payload == PAYLOAD


def test_refusal_is_read_with_next_to_nothing_in_it() -> None:
    """When TransCode is not 1, nothing else needs to be there, and nothing is decrypted."""
    for body in (b'{"TransCode":0}', _answer(TransCode=0), _answer(TransCode="10", Data="!", CheckMacValue=7)):
        response = open_response(body, MERCHANT)
        assert response.trans_code != 1
        assert response.payload is None


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"RqHeader": None, "RpHeader": {"Timestamp": NOW}},
        {"RqHeader": "", "RpHeader": {"Timestamp": str(NOW)}, "TransCode": 1, "TransMsg": ""},
        {"TransCode": "1"},
        {"PlatformID": None},
    ],
    ids=str,
)
def test_notifications_are_read_in_either_shape(changed: dict[str, object]) -> None:
    """As a request, which the pages show, or as an answer, which ECPay's sample code shows."""
    request = open_request(_notification(**changed), _always(MERCHANT))

    assert request.payload == PAYLOAD
    assert request.timestamp == NOW


def test_checksum_is_taken_over_the_text_and_never_over_json_written_again() -> None:
    """Spaces, escapes and the order of keys are the sender's own affair."""
    text = '{ "b" : "\\u738b\\/" ,\n"a":1.0, "b":"\\u738b" }'
    data, checksum = sent_by(Encoder.ESCAPE_DATA_STRING, text)

    response = open_response(_answer(Data=data, CheckMacValue=checksum), MERCHANT)
    assert response.plaintext == text
    assert response.payload == {"b": "王", "a": 1.0}


def test_answer_says_under_which_encoder_it_was_believed() -> None:
    """An operator can see the day on which ECPay changes it."""
    text = '{"RtnMsg":"a b!"}'
    encoders = []
    for encoder in Encoder:
        data, checksum = sent_by(encoder, text)
        encoders.append(open_response(_answer(Data=data, CheckMacValue=checksum), MERCHANT).encoder)
    fifth = b"%7B%22RtnMsg%22:%22a+b%21%22}"
    data = encrypt(fifth, KEYS)
    checksum = check_mac(b"%7b%22rtnmsg%22:%22a+b%21%22}", KEYS)
    encoders.append(open_response(_answer(Data=data, CheckMacValue=checksum), MERCHANT).encoder)

    assert encoders == [*(encoder.value for encoder in Encoder), AS_DECRYPTED]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotAnEnvelope),
        (b"   ", NotAnEnvelope),
        (b"\xff\xfe{\x00}\x00", NotAnEnvelope),
        ("王".encode("cp950"), NotAnEnvelope),
        (b"<html>Service Unavailable</html>", NotAnEnvelope),
        (b"1|OK", NotAnEnvelope),
        (b"[]", NotAnEnvelope),
        (b'"text"', NotAnEnvelope),
        (b"1", NotAnEnvelope),
        (b"null", NotAnEnvelope),
        (b"{}", NotAnEnvelope),
        (b'{"Message":"An error has occurred."}', NotAnEnvelope),
        (b"[" * 200_000, NotAnEnvelope),
        (b'{"TransCode":' + b"9" * 10_000 + b"}", NotAnEnvelope),
        (_answer()[:-1], NotAnEnvelope),
        (_answer(TransCode=None), NotAnEnvelope),
        (_answer(TransCode=""), NotAnEnvelope),
        (_answer(TransCode=True), NotAnEnvelope),
        (_answer(TransCode="eins"), NotAnEnvelope),
        (_answer(TransCode=1.5), NotAnEnvelope),
        (_answer(TransMsg={}), NotAnEnvelope),
        (_answer(MerchantID="3362787"), NotAnEnvelope),
        (_answer(MerchantID=[]), NotAnEnvelope),
        (_answer(RpHeader={"Timestamp": "soon"}), NotAnEnvelope),
        (_answer(Data=None), NotAnEnvelope),
        (_answer(Data=""), NotAnEnvelope),
        (_answer(Data={"RtnCode": 1}), NotAnEnvelope),
        (_answer(Data="no base64"), Undecryptable),
        (_answer(Data="AAAA"), Undecryptable),
        (_answer(Data=encrypt(b"%FF", KEYS)), Undecryptable),
        (_answer(Data=encrypt(b"", KEYS)), WrongChecksum),
        (_answer(Data=encrypt(b"%7B%7D", KEYS)), WrongChecksum),
        (_answer(CheckMacValue=None), WrongChecksum),
        (_answer(CheckMacValue=""), WrongChecksum),
        (_answer(CheckMacValue=7), WrongChecksum),
        (_answer(CheckMacValue="0" * 64), WrongChecksum),
        (_answer(CheckMacValue="\ud800" * 64), WrongChecksum),
    ],
    ids=lambda value: None if isinstance(value, type) else ascii(value[:60]),
)
def test_broken_answers_are_refused(body: bytes, error: type[EnvelopeError]) -> None:
    """Each kind of breakage by its own error, and none by any other."""
    with pytest.raises(EnvelopeError) as caught:
        open_response(body, MERCHANT)

    assert type(caught.value) is error


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "1", '"text"', "{", '{"RtnCode":NaN}', '{"RtnCode":1e999}', "[" * 5000]
)
def test_verified_text_that_is_no_json_object_is_refused(text: str) -> None:
    """Signed and sealed by the right keys, and still not a message of the protocol."""
    data, checksum = sent_by(Encoder.ESCAPE_DATA_STRING, text)

    with pytest.raises(Undecryptable, match="no JSON object"):
        open_response(_answer(Data=data, CheckMacValue=checksum), MERCHANT)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotAnEnvelope),
        (_notification(MerchantID=None), NotAnEnvelope),
        (_notification(RqHeader=None), NotAnEnvelope),
        (_notification(RqHeader={"Timestamp": None}), NotAnEnvelope),
        (_notification(RqHeader={"Timestamp": {}}), NotAnEnvelope),
        (_notification(RqHeader=7), NotAnEnvelope),
        (_notification(TransCode=0), NotAnEnvelope),
        (_notification(Data=""), NotAnEnvelope),
        (_notification(Data="AAAA"), Undecryptable),
        (_notification(CheckMacValue="0" * 64), WrongChecksum),
        (seal_request(PAYLOAD, OTHER_MERCHANT, timestamp=NOW), WrongChecksum),
        (b'{"a":[' + b"{}," * 1000 + b"{}]}", NotAnEnvelope),
    ],
    ids=lambda value: None if isinstance(value, type) else ascii(value[:60]),
)
def test_broken_requests_are_refused(body: bytes, error: type[EnvelopeError]) -> None:
    """As with answers; a request must also say who asks, and when."""
    with pytest.raises(EnvelopeError) as caught:
        open_request(body, _always(MERCHANT))

    assert type(caught.value) is error


def test_unknown_merchant_is_refused_without_being_named() -> None:
    """What a stranger wrote is not repeated in our messages."""
    with pytest.raises(NotAnEnvelope, match="not known") as caught:
        open_request(_notification(MerchantID="<script>"), _always(None))

    assert "script" not in str(caught.value)


def test_answer_under_other_keys_is_refused() -> None:
    """The neighbour's answer is not ours, even when it names us."""
    body = seal_response(PAYLOAD, Merchant(merchant_id="3085676", credentials=OTHER_KEYS), timestamp=NOW)

    with pytest.raises((Undecryptable, WrongChecksum)):
        open_response(body, MERCHANT)


def test_checksum_by_other_keys_is_refused_although_it_decrypts() -> None:
    """Encrypting alone proves nothing."""
    encoded = encode('{"RtnCode":1}', Encoder.ESCAPE_DATA_STRING)

    with pytest.raises(WrongChecksum):
        open_response(_answer(Data=encrypt(encoded, KEYS), CheckMacValue=check_mac(encoded, OTHER_KEYS)), MERCHANT)


# -- changed bits --------------------------------------------------------------------------------------------------


def _flipped(text: str, bit: int) -> str:
    """Change one bit of a text's bytes; each byte stays one character."""
    changed = bytearray(text.encode())
    changed[bit // 8] ^= 1 << bit % 8
    return changed.decode("latin-1")


@pytest.mark.parametrize("merchant", [MERCHANT, PLATFORM_MERCHANT], ids=["merchant", "platform"])
def test_every_flipped_bit_of_data_is_refused(merchant: Merchant) -> None:
    """Not some bits: each of them, the stray ones behind the last byte included."""
    envelope = json.loads(seal_response(PAYLOAD, merchant, timestamp=NOW))

    for bit in range(8 * len(envelope["Data"])):
        body = json.dumps(envelope | {"Data": _flipped(envelope["Data"], bit)}).encode()
        with pytest.raises((Undecryptable, WrongChecksum)):
            open_response(body, merchant)


def test_every_flipped_bit_of_the_checksum_is_refused_except_for_case() -> None:
    """Hex is hex in either case; that is the one change that is let through, and it changes nothing."""
    envelope = json.loads(seal_response(PAYLOAD, MERCHANT, timestamp=NOW))
    checksum: str = envelope["CheckMacValue"]

    for bit in range(8 * len(checksum)):
        changed = _flipped(checksum, bit)
        body = json.dumps(envelope | {"CheckMacValue": changed}).encode()
        if changed.upper() == checksum:
            assert open_response(body, MERCHANT).payload == PAYLOAD
        else:
            with pytest.raises(WrongChecksum):
                open_response(body, MERCHANT)


@fast
@given(payloads, st.data())
def test_any_flipped_bit_of_a_whole_message_is_refused_or_changes_no_payload(
    payload: dict[str, object], data: st.DataObject
) -> None:
    """Requests and answers, byte by byte as they travel.

    Either an EnvelopeError, or the payload as it was (the bit was in a field that nothing signs), or, for an answer
    whose TransCode was hit, no payload at all. Never another payload.
    """
    for body, opened in (
        (seal_response(payload, MERCHANT, timestamp=NOW), _payload_of_response),
        (seal_request(payload, MERCHANT, timestamp=NOW), _payload_of_request),
    ):
        changed = bytearray(body)
        bit = data.draw(st.integers(0, 8 * len(body) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = opened(bytes(changed))
        except EnvelopeError:
            continue
        assert found is None or found == payload


@fast
@given(payloads, st.data())
def test_exchanged_blocks_are_refused(payload: dict[str, object], data: st.DataObject) -> None:
    """Cutting, repeating or swapping blocks of the ciphertext is no way to another message."""
    envelope = json.loads(seal_response(payload, MERCHANT, timestamp=NOW))
    sealed = base64.b64decode(envelope["Data"])
    blocks = [sealed[place : place + 16] for place in range(0, len(sealed), 16)]
    order = data.draw(st.lists(st.sampled_from(range(len(blocks))), min_size=1, max_size=len(blocks) + 2))
    shuffled = b"".join(blocks[place] for place in order)
    body = json.dumps(envelope | {"Data": base64.b64encode(shuffled).decode()}).encode()

    if shuffled == sealed:
        assert open_response(body, MERCHANT).payload == payload
    else:
        with pytest.raises((Undecryptable, WrongChecksum)):
            open_response(body, MERCHANT)
