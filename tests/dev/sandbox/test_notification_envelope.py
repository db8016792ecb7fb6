"""The envelope of a notification, and what answers to it come to."""

from __future__ import annotations

import json

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.notification_envelope import judge, seal_notification
from adapter.dev.sandbox.notifications import NotificationKind, OutgoingNotification
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.errors import WrongChecksum
from adapter.protocol.credentials import Merchant
from adapter.protocol.encoding import Encoder
from adapter.protocol.envelope import open_request, seal_response
from adapter.protocol.issue import TradeNo, TradeNoKind

from .helpers import BY_PLATFORM, FAMILY_B, MERCHANT

DATA = {"MerchantID": "3085676", "MerchantTradeNo": "A1", "TradeAmount": 1000, "RefundAmount": 200}
NOW = 1_700_000_000


def sealed(merchant: Merchant = MERCHANT, *, tampered: bool = False, settings: SandboxSettings | None = None) -> bytes:
    notification = OutgoingNotification(
        kind=NotificationKind.REFUND,
        url="http://shop.tw/refund",
        merchant_id=merchant.merchant_id,
        platform_id=merchant.platform_id,
        trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value="A1"),
        ticket_no=None,
        data=DATA,
    )
    return seal_notification(notification, merchant, settings or SandboxSettings(), timestamp=NOW, tampered=tampered)


def answered(payload: dict[str, object] | None = None, **changes: object) -> bytes:
    body = seal_response({"RtnCode": 1} if payload is None else payload, MERCHANT, timestamp=NOW)
    return json.dumps({**json.loads(body), **changes}).encode()


@pytest.mark.parametrize("merchant", [MERCHANT, BY_PLATFORM])
def test_a_notification_has_the_shape_of_a_request(merchant: Merchant) -> None:
    """RqHeader and no TransCode; signed with the merchant's keys, or the platform's where there is one."""
    envelope = json.loads(sealed(merchant))
    signer = Merchant(merchant_id=merchant.merchant_id, credentials=merchant.signing)

    opened = open_request(sealed(merchant), lambda _merchant_id, _platform_id: signer)

    assert list(envelope) == ["PlatformID", "MerchantID", "RqHeader", "Data", "CheckMacValue"]
    assert (envelope["PlatformID"], envelope["MerchantID"]) == (merchant.platform_id, merchant.merchant_id)
    assert (opened.timestamp, opened.payload, opened.encoder) == (NOW, DATA, Encoder.ESCAPE_DATA_STRING)


def test_the_guides_shape_has_an_answers_header_and_trans_code() -> None:
    """A receiver must understand both."""
    body = sealed(settings=SandboxSettings(notify_header="RpHeader"))

    envelope = json.loads(body)

    assert (envelope["RpHeader"], envelope["TransCode"], "RqHeader" in envelope) == ({"Timestamp": NOW}, 1, False)
    assert open_request(body, lambda _merchant_id, _platform_id: MERCHANT).payload == DATA


@pytest.mark.parametrize("encoder", [Encoder.DOTNET_HTTP_UTILITY, Encoder.PHP_URLENCODE])
def test_another_encoder_makes_another_checksum(encoder: Encoder) -> None:
    """The spaces in the JSON distinguish them, which reveals a receiver that knows only one encoder."""
    body = sealed(settings=SandboxSettings(notify_encoder=encoder))

    opened = open_request(body, lambda _merchant_id, _platform_id: MERCHANT)

    assert opened.payload == DATA
    assert opened.encoder != Encoder.ESCAPE_DATA_STRING


def test_a_tampered_notification_has_a_checksum_that_does_not_fit() -> None:
    """Of the right form, so that nothing but verifying it helps."""
    true, false = json.loads(sealed()), json.loads(sealed(tampered=True))

    assert (false["Data"], len(false["CheckMacValue"])) == (true["Data"], 64)
    with pytest.raises(WrongChecksum):
        open_request(sealed(tampered=True), lambda _merchant_id, _platform_id: MERCHANT)


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (200, answered(), "accepted"),
        (200, answered({"RtnCode": 1, "RtnMsg": "成功"}), "accepted"),
        (200, answered({"RtnCode": 0}), "rtn_code"),
        (200, answered({"RtnCode": "1"}), "rtn_code"),
        (200, answered({"RtnCode": True}), "rtn_code"),
        (200, answered({}), "rtn_code"),
        (200, answered(TransCode=0), "trans_code"),
        (200, answered(CheckMacValue="0" * 64), "wrong_checksum"),
        (200, answered(Data="AAAA"), "not_an_envelope"),
        (200, answered(MerchantID="1"), "not_an_envelope"),
        (200, b"1|OK", "plain_ok"),
        (200, b'{"RtnCode": 1}', "not_an_envelope"),
        (200, b"", "not_an_envelope"),
        (200, b"\xff\x00", "not_an_envelope"),
        (201, answered(), "http_201"),
        (302, b"", "http_302"),
        (500, answered(), "http_500"),
    ],
)
def test_only_the_envelope_with_rtn_code_1_is_an_answer(status: int, body: bytes, name: str) -> None:
    """Everything else is named, and has the notification sent again."""
    verdict = judge(status, body, MERCHANT, SandboxSettings())

    assert verdict.name == name
    assert verdict.accepted is (name == "accepted")


def test_a_lenient_sandbox_takes_the_plain_ok_and_says_what_ecpay_would_do() -> None:
    """For merchants whose client answers as other services of ECPay want it."""
    verdict = judge(200, b"1|OK\n", MERCHANT, SandboxSettings(notify_lenient=True))

    assert (verdict.name, verdict.accepted) == ("accepted_leniently", True)
    assert "again" in verdict.message


def test_another_merchants_answer_is_none() -> None:
    """Its keys are others."""
    body = seal_response({"RtnCode": 1}, FAMILY_B, timestamp=NOW)

    assert not judge(200, body, MERCHANT, SandboxSettings()).accepted


def test_a_platforms_answer_is_signed_with_its_keys_or_the_merchants() -> None:
    """Which of them ECPay expects is not documented."""
    of_platform = seal_response({"RtnCode": 1}, BY_PLATFORM, timestamp=NOW)
    of_merchant = seal_response({"RtnCode": 1}, PUBLIC_TEST_MERCHANTS[0], timestamp=NOW)

    verdicts = [judge(200, body, BY_PLATFORM, SandboxSettings()) for body in (of_platform, of_merchant)]

    assert all(verdict.accepted for verdict in verdicts)
