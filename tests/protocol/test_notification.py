"""A notification is believed for what is signed and for nothing else, and then read whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.errors import (
    EnvelopeError,
    NotAnEnvelope,
    NotANotification,
    Undecryptable,
    UnknownAddressee,
    WrongAddressee,
    WrongChecksum,
)
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder
from adapter.protocol.envelope import open_response, seal_request, seal_response
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.notification import CallbackKind, Notification, open_notification, pseudonym, seal_answer
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.query_issue_result import ResultRequest
from adapter.protocol.query_item_info import ItemRequest

from .samples import (
    EXAMPLES,
    KEYS,
    MERCHANT,
    NOW,
    NUMBER,
    OTHER_KEYS,
    OTHER_MERCHANT,
    PLATFORM_KEYS,
    PLATFORM_MERCHANT,
    fast,
    json_values,
    payloads,
    raised_by,
    sent_by,
)

REFUND: Mapping[str, object] = {
    "MerchantID": "3085676",
    "MerchantTradeNo": "CBX20220302153064851",
    "TradeAmount": 1000,
    "TotalRefundAmount": 500,
    "RefundAmount": 200,
}
"""The page's example (32228), with the test merchant's number."""
STATUS: Mapping[str, object] = {
    "MerchantID": "3085676",
    "MerchantTradeNo": "CBX20220302153064851",
    "TicketTradeNo": "2022030215301234",
    "TicketNo": "CB2SY20220302153",
    "UseStatus": 2,
}
FIELDS = (*REFUND, *STATUS, "FreeTradeNo", "RtnCode", "CustomerName")

thorough = settings(max_examples=examples(150), deadline=None)


def _find(*merchants: Merchant) -> Callable[[str], Merchant | None]:
    return {merchant.merchant_id: merchant for merchant in merchants}.get


def _open(body: bytes, *merchants: Merchant, posted_to: CallbackKind = CallbackKind.USE_STATUS) -> Notification:
    here = merchants or (MERCHANT,)

    def of_one(credentials: Credentials) -> bool:
        return [credentials in merchant.accepted for merchant in here].count(True) == 1

    return open_notification(body, _find(*here), of_one=of_one, posted_to=posted_to)


def _body(payload: Mapping[str, object] = STATUS, merchant: Merchant = MERCHANT, **changed: object) -> bytes:
    envelope = json.loads(seal_request(payload, merchant, timestamp=NOW)) | changed
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def _notification(**fields: object) -> Notification:
    return _open(_body({"MerchantID": "3085676", "UseStatus": 1, **fields}))


# -- what is read --------------------------------------------------------------------------------------------------


def test_a_refund_is_read() -> None:
    """All that the page's example has."""
    notification = _open(_body(REFUND), posted_to=CallbackKind.REFUND)

    assert (notification.kind, notification.trade_no, notification.merchant) == (CallbackKind.REFUND, NUMBER, MERCHANT)
    assert (notification.trade_amount, notification.total_refund_amount, notification.refund_amount) == (1000, 500, 200)
    assert notification.raw == REFUND
    assert notification.withheld == ()


def test_a_status_change_is_read_and_its_ticket_is_withheld() -> None:
    """The ticket's number is known, and is neither among the raw values nor in the repr."""
    notification = _open(_body(STATUS))

    assert (notification.kind, notification.trade_no, notification.use_status) == (CallbackKind.USE_STATUS, NUMBER, 2)
    assert (notification.ticket_no, notification.ticket_trade_no) == ("CB2SY20220302153", "2022030215301234")
    assert notification.raw == {name: value for name, value in STATUS.items() if name != "TicketNo"}
    assert notification.withheld == ("TicketNo",)
    assert "CB2SY" not in repr(notification)


@pytest.mark.parametrize(
    ("number", "meanings"),
    [
        (1, {UseStatus.UNUSED, UseStatus.REDEEMED}),
        (2, {UseStatus.REDEEMED, UseStatus.REFUNDED}),
        (3, {UseStatus.REFUNDED}),
        (4, {UseStatus.EXPIRED}),
        ("2", {UseStatus.REDEEMED, UseStatus.REFUNDED}),
        (0, set()),
        (5, set()),
        (None, set()),
        ("redeemed", set()),
    ],
)
def test_a_disputed_status_may_mean_all_documented_meanings(number: object, meanings: set[UseStatus]) -> None:
    """ECPay's sample code and ECPay's queries disagree about 1 and 2; neither is trusted alone."""
    notification = _notification(UseStatus=number)

    assert set(notification.may_mean) == meanings
    assert notification.raw["UseStatus"] == number


@pytest.mark.parametrize(
    ("payload", "posted_to", "kind"),
    [
        (REFUND, CallbackKind.USE_STATUS, CallbackKind.REFUND),
        (STATUS, CallbackKind.REFUND, CallbackKind.USE_STATUS),
        ({**STATUS, "RefundAmount": 1}, CallbackKind.REFUND, CallbackKind.REFUND),
        ({**STATUS, "RefundAmount": 1}, CallbackKind.USE_STATUS, CallbackKind.USE_STATUS),
    ],
)
def test_the_fields_say_what_it_is_about_and_the_address_where_they_do_not(
    payload: Mapping[str, object], posted_to: CallbackKind, kind: CallbackKind
) -> None:
    """One of ECPay's documents sends both kinds to one address; nothing that is signed is thrown away."""
    assert _open(_body(payload), posted_to=posted_to).kind is kind


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"FreeTradeNo": "FREE1"}, TradeNo(kind=TradeNoKind.FREE, value="FREE1")),
        ({"MerchantTradeNo": "", "FreeTradeNo": "FREE1"}, TradeNo(kind=TradeNoKind.FREE, value="FREE1")),
        ({"MerchantTradeNo": 17}, TradeNo(kind=TradeNoKind.MERCHANT, value="17")),
        ({"MerchantTradeNo": "A/B"}, None),
        ({"MerchantTradeNo": "A" * 26}, None),
        ({"MerchantTradeNo": "Ａ１"}, None),
        ({"MerchantTradeNo": {}}, None),
        ({}, None),
    ],
)
def test_the_number_is_read_or_left_open(fields: Mapping[str, object], number: TradeNo | None) -> None:
    """What can be no trade number does not become part of a key; as it came it is still there."""
    assert _notification(**fields).trade_no == number


@pytest.mark.parametrize("value", [{}, [], [1], "x", True, 1.5, 10**20, -(10**20), "１"])
def test_amounts_of_another_form_are_left_open(value: object) -> None:
    """A verified notification is published, whatever its content; a guess is not."""
    assert _notification(RefundAmount=value).refund_amount is None


def test_what_is_new_is_named_and_not_shown() -> None:
    """An unknown field may hold customer data."""
    notification = _notification(
        CustomerName="王小明", WriteOffNo="LEU4loiSZ9TDTWAtxL", ItemName="x" * 201, RtnMsg={"a": 1}
    )

    assert notification.raw == {"MerchantID": "3085676", "UseStatus": 1}
    assert notification.withheld == ("CustomerName", "ItemName", "RtnMsg", "WriteOffNo")


def test_names_that_are_none_are_left_out() -> None:
    """The names of fields are limited in length and number."""
    notification = _notification(**{"a b": 1, "x" * 65: 1, "王小明": 1, **{f"F{number}": 1 for number in range(100)}})

    assert len(notification.withheld) == 50
    assert {name[0] for name in notification.withheld} == {"F"}


# -- whose it is ---------------------------------------------------------------------------------------------------


def test_an_unknown_merchant_has_its_own_error() -> None:
    """For the count, not for the answer."""
    with pytest.raises(UnknownAddressee):
        _open(_body(STATUS), OTHER_MERCHANT)


@pytest.mark.parametrize("keys", [KEYS, PLATFORM_KEYS])
@pytest.mark.parametrize("platform_id", ["", "3085672", "9999999", None])
def test_both_pairs_of_keys_are_believed_whatever_the_platform_is_called(
    keys: Credentials, platform_id: str | None
) -> None:
    """Which pair signs notifications is not documented, and PlatformID is not signed."""
    body = _body(STATUS, Merchant(merchant_id="3085676", credentials=keys), PlatformID=platform_id)

    assert _open(body, PLATFORM_MERCHANT).trade_no == NUMBER


@pytest.mark.parametrize("keys", [KEYS, PLATFORM_KEYS])
def test_the_answer_is_sealed_with_the_keys_that_asked(keys: Credentials) -> None:
    """The answer uses the pair of keys of the request."""
    sender = Merchant(merchant_id="3085676", credentials=keys)

    answer = seal_answer(_open(_body(STATUS, sender), PLATFORM_MERCHANT), timestamp=NOW)

    opened = open_response(answer, sender)
    assert opened.payload == {"RtnCode": 1, "RtnMsg": "成功"}
    assert (opened.timestamp, opened.platform_id) == (NOW, "3085672")


SISTER = Merchant(
    merchant_id="3362787", credentials=OTHER_KEYS, platform_id="3085672", platform_credentials=PLATFORM_KEYS
)
"""Another merchant of the same platform, so that one pair of keys opens what is for either."""


def test_a_platforms_keys_do_not_move_a_notification_to_another_merchant() -> None:
    """MerchantID of the envelope is not signed; the one in the text is."""
    with pytest.raises(WrongAddressee):
        _open(_body(STATUS, PLATFORM_MERCHANT, MerchantID="3362787"), PLATFORM_MERCHANT, SISTER)


NAMELESS: Mapping[str, object] = {"TicketNo": "CB2SY20220302153", "UseStatus": 2, "RtnCode": 1}
"""A status change as ECPay's AI guides have it."""


@pytest.mark.parametrize("sender", [MERCHANT, PLATFORM_MERCHANT])
def test_a_text_without_a_merchant_is_accepted_under_keys_of_one_merchant(sender: Merchant) -> None:
    """They say whose it is, also a platform's when no other merchant here belongs to it."""
    assert _open(_body(NAMELESS, sender), PLATFORM_MERCHANT, OTHER_MERCHANT).use_status == 2


@pytest.mark.parametrize(
    "other", [SISTER, Merchant(merchant_id="3085672", credentials=PLATFORM_KEYS)], ids=["sister", "the platform itself"]
)
@pytest.mark.parametrize("to", [PLATFORM_MERCHANT, None])
def test_a_text_without_a_merchant_is_refused_under_keys_of_several(other: Merchant, to: Merchant | None) -> None:
    """It could be for any of them, whichever the envelope names, also for a merchant who is the platform."""
    envelope_merchant = (to or other).merchant_id

    with pytest.raises(WrongAddressee):
        _open(_body(NAMELESS, PLATFORM_MERCHANT, MerchantID=envelope_merchant), PLATFORM_MERCHANT, other)


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"Data": None}, NotAnEnvelope),
        ({"Data": "A" * 63}, Undecryptable),
        ({"Data": "A" * 64}, WrongChecksum),
        ({"CheckMacValue": None}, WrongChecksum),
        ({"CheckMacValue": "0" * 64}, WrongChecksum),
        ({"MerchantID": "1"}, UnknownAddressee),
        ({"TransCode": 0}, NotAnEnvelope),
        ({"RqHeader": None}, NotAnEnvelope),
    ],
    ids=str,
)
def test_a_changed_envelope_is_refused(changed: dict[str, object], error: type[EnvelopeError]) -> None:
    """Each by its own name."""
    with pytest.raises(error):
        _open(_body(STATUS, MERCHANT, **changed))


BY_A_SHOP = {"Action": "1", "StoreID": "", "Operator": "till"}
OTHER_MESSAGES: Mapping[str, bytes] = {
    "our answer": seal_answer(_open(_body(STATUS)), timestamp=NOW),
    "an answer to a query": seal_response(
        {
            "RtnCode": 1,
            "RtnMsg": "",
            "MerchantID": "3085676",
            "MerchantTradeNo": "CBX1",
            "Status": 1,
            "TicketTradeNo": "7",
        },
        MERCHANT,
        timestamp=NOW,
    ),
    "nothing but the merchant": _body({"MerchantID": "3085676"}),
    **{f"a request for {name}": _body(request.to_payload()) for name, request in EXAMPLES.items()},
    "a query": _body(ResultRequest(merchant_id="3085676", trade_no=NUMBER).to_payload()),
    "a query of a ticket": _body({"MerchantID": "3085676", "TicketNo": "CB2SY20220302153", "WriteOffNo": ""}),
    "a redemption": _body({"MerchantID": "3085676", "WriteOffNo": "123456789012345678", **BY_A_SHOP}),
    "a refund": _body({"MerchantID": "3085676", "TicketNo": "CB2SY20220302153", **BY_A_SHOP}),
    "an answer about an order": seal_response(
        {
            "RtnCode": 1,
            "MerchantID": "3085676",
            "MerchantTradeNo": "CBX1",
            "Status": 1,
            "TradeAmount": 1000,
            "RedeemCount": 0,
            "RedeemAmount": 0,
            "RefundAmount": 0,
            "TicketList": [{"TicketNo": "CB2SY20220302153", "UseStatus": 1}],
        },
        MERCHANT,
        timestamp=NOW,
    ),
    "a query of a product": _body(ItemRequest(merchant_id="3085676", item_no="VQT04959").to_payload()),
}
"""Signed with the merchant's keys, and recorded by anyone on the way."""


@pytest.mark.parametrize("message", OTHER_MESSAGES)
@pytest.mark.parametrize("posted_to", CallbackKind)
def test_other_messages_of_the_protocol_are_no_notification(message: str, posted_to: CallbackKind) -> None:
    """Each is valid under the same keys; also of endpoints that only the shop's other systems call."""
    with pytest.raises(NotANotification):
        _open(OTHER_MESSAGES[message], posted_to=posted_to)


WHOLE = json.loads(_body(STATUS))


@thorough
@given(st.integers(0, len(WHOLE["Data"]) - 1), st.characters(codec="ascii"))
def test_no_changed_character_of_data_is_ever_believed(place: int, character: str) -> None:
    """Wherever it is, whatever it becomes."""
    data = WHOLE["Data"]
    if data[place] == character:
        return

    body = json.dumps(WHOLE | {"Data": data[:place] + character + data[place + 1 :]}).encode()

    with pytest.raises((Undecryptable, WrongChecksum)):
        _open(body)


@thorough
@given(st.integers(0, 63), st.sampled_from("0123456789ABCDEF"))
def test_no_changed_digit_of_the_checksum_is_ever_believed(place: int, digit: str) -> None:
    """One digit is enough."""
    checksum = WHOLE["CheckMacValue"]
    if checksum[place] == digit:
        return

    with pytest.raises(WrongChecksum):
        _open(json.dumps(WHOLE | {"CheckMacValue": checksum[:place] + digit + checksum[place + 1 :]}).encode())


@pytest.mark.parametrize("encoder", Encoder)
@pytest.mark.parametrize("envelope", [{"RqHeader": {"Timestamp": NOW}}, {"RpHeader": {"Timestamp": NOW}}])
def test_every_accepted_encoder_is_believed_in_both_shapes(encoder: Encoder, envelope: dict[str, object]) -> None:
    """The text holds characters on which the encoders differ."""
    text = json.dumps({**STATUS, "RtnMsg": "it's (ok)! ~*"}, ensure_ascii=False)
    data, checksum = sent_by(encoder, text)

    body = json.dumps({"MerchantID": "3085676", **envelope, "Data": data, "CheckMacValue": checksum}).encode()

    assert _open(body).request.encoder == encoder.value


@pytest.mark.parametrize("trans_code", [None, 1, "1"])
def test_a_notification_in_the_shape_of_an_answer_is_read(trans_code: object) -> None:
    """ECPay's sample code shows TransCode and RpHeader; it is looked at only where it is present."""
    envelope = json.loads(seal_response(STATUS, MERCHANT, timestamp=NOW)) | {"TransCode": trans_code}
    body = json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()

    assert _open(body).trade_no == NUMBER


# -- anything ------------------------------------------------------------------------------------------------------


@fast
@given(st.binary() | payloads.map(lambda payload: json.dumps(payload).encode()), st.sampled_from(CallbackKind))
def test_garbage_is_refused_and_breaks_nothing(body: bytes, posted_to: CallbackKind) -> None:
    """Bytes, and JSON that is no envelope."""
    with pytest.raises(EnvelopeError):
        _open(body, posted_to=posted_to)


odd = json_values | st.sampled_from([1, "2", "", {}, [{}], True, 10**30, "A/B", "x" * 300])


@thorough
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), odd, max_size=8), st.sampled_from(CallbackKind))
def test_any_signed_text_is_read_or_is_another_message_or_merchants(
    payload: dict[str, object], posted_to: CallbackKind
) -> None:
    """No field of it, however odd, makes it unreadable."""
    error = raised_by(lambda: _open(_body(payload), posted_to=posted_to))

    if isinstance(error, NotANotification):
        assert payload.keys().isdisjoint({"UseStatus", "RefundAmount", "TotalRefundAmount"})
    elif error is not None:
        assert isinstance(error, WrongAddressee)
        assert str(payload.get("MerchantID")) != "3085676"


# -- pseudonyms ----------------------------------------------------------------------------------------------------


def test_a_pseudonym_never_changes_and_needs_the_keys() -> None:
    """Readers have stored it; and without the keys not all tickets can be tried."""
    assert pseudonym("CB2SY20220302153", KEYS) == "3c915ffec042b50afadcd930923ca16f"
    assert pseudonym("CB2SY20220302153", OTHER_KEYS) != pseudonym("CB2SY20220302153", KEYS)
    assert pseudonym("CB2SY20220302154", KEYS) != pseudonym("CB2SY20220302153", KEYS)
