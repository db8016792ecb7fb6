"""What the door turns away: HTTP 200, TransCode ≠ 1, Data empty, nothing done."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.codes import ASSUMED, Reason
from adapter.protocol.checksum import check_mac
from adapter.protocol.cipher import encrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder, encode
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.envelope import seal_request

from .conftest import Start
from .helpers import BY_PLATFORM, MERCHANT, START, Client, Clock, paper

NOW = int(START.timestamp())
OTHER_KEYS = Credentials(hash_key="0123456789abcdef", hash_iv="fedcba9876543210")


def sealed(merchant: Merchant = MERCHANT, *, timestamp: int = NOW) -> bytes:
    return seal_request(paper(), merchant, timestamp=timestamp)


def changed(**changes: object) -> bytes:
    """A good envelope with changed fields; None leaves one out."""
    envelope = {**json.loads(sealed()), **changes}
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def with_data(text: str) -> bytes:
    """An envelope whose Data is this text, well encrypted and signed."""
    encoded = encode(text, Encoder.ESCAPE_DATA_STRING)
    keys = MERCHANT.credentials
    return changed(Data=encrypt(encoded, keys), CheckMacValue=check_mac(encoded, keys))


BROKEN = {
    "empty": (b"", Reason.NOT_AN_ENVELOPE),
    "not JSON": (b"Data=x&CheckMacValue=y", Reason.NOT_AN_ENVELOPE),
    "not UTF-8": (b"\xff\xfe{}", Reason.NOT_AN_ENVELOPE),
    "deep": (b"[" * 100_000, Reason.NOT_AN_ENVELOPE),
    "an array": (b"[]", Reason.NOT_AN_ENVELOPE),
    "MerchantID missing": (changed(MerchantID=None), Reason.NOT_AN_ENVELOPE),
    "MerchantID a number": (changed(MerchantID=3085676), Reason.NOT_AN_ENVELOPE),
    "MerchantID of 11": (changed(MerchantID="30856763085"), Reason.NOT_AN_ENVELOPE),
    "PlatformID a number": (changed(PlatformID=3085672), Reason.NOT_AN_ENVELOPE),
    "RqHeader missing": (changed(RqHeader=None), Reason.NOT_AN_ENVELOPE),
    "RqHeader a number": (changed(RqHeader=NOW), Reason.NOT_AN_ENVELOPE),
    "RpHeader instead": (changed(RqHeader=None, RpHeader={"Timestamp": NOW}), Reason.NOT_AN_ENVELOPE),
    "Timestamp a text": (changed(RqHeader={"Timestamp": str(NOW)}), Reason.NOT_AN_ENVELOPE),
    "Timestamp a fraction": (changed(RqHeader={"Timestamp": NOW + 0.5}), Reason.NOT_AN_ENVELOPE),
    "Timestamp enormous": (changed(RqHeader={"Timestamp": 10**400}), Reason.NOT_AN_ENVELOPE),
    "Timestamp negative": (changed(RqHeader={"Timestamp": -NOW}), Reason.NOT_AN_ENVELOPE),
    "Data missing": (changed(Data=None), Reason.NOT_AN_ENVELOPE),
    "Data an object": (changed(Data={"MerchantID": "3085676"}), Reason.NOT_AN_ENVELOPE),
    "Data empty": (changed(Data=""), Reason.NOT_AN_ENVELOPE),
    "CheckMacValue missing": (changed(CheckMacValue=None), Reason.NOT_AN_ENVELOPE),
    "unknown merchant": (changed(MerchantID="2000132"), Reason.UNKNOWN_MERCHANT),
    "unknown platform": (changed(PlatformID="2000132"), Reason.UNKNOWN_MERCHANT),
    "too old": (sealed(timestamp=NOW - 601), Reason.TIMESTAMP),
    "too new": (sealed(timestamp=NOW + 601), Reason.TIMESTAMP),
    "milliseconds": (sealed(timestamp=NOW * 1_000), Reason.TIMESTAMP),
    "Data no base64": (changed(Data="%%%"), Reason.UNDECRYPTABLE),
    "Data of other keys": (
        sealed(Merchant(merchant_id="3085676", credentials=OTHER_KEYS)),
        Reason.UNDECRYPTABLE,
    ),
    "Data no JSON": (with_data("MerchantID=3085676"), Reason.UNDECRYPTABLE),
    "Data an array": (with_data("[]"), Reason.UNDECRYPTABLE),
    "CheckMacValue wrong": (changed(CheckMacValue="0" * 64), Reason.CHECKSUM),
    "CheckMacValue empty": (changed(CheckMacValue=""), Reason.CHECKSUM),
    "platform's merchant with its own keys": (changed(PlatformID="3085672"), Reason.UNDECRYPTABLE),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_bad_envelope_is_answered_with_a_trans_code(client: Client, name: str) -> None:
    """The header of the answer is there; nothing is encrypted or signed."""
    body, reason = BROKEN[name]

    response = await client.send(Endpoint.ISSUE, body)

    envelope: Mapping[str, object] = response.json()
    assert response.status_code == 200
    assert envelope["TransCode"] == ASSUMED[reason], envelope
    assert envelope["TransMsg"]
    assert (envelope["Data"], envelope["CheckMacValue"]) == ("", "")
    assert envelope["RpHeader"] == {"Timestamp": NOW}
    assert len(client.sandbox.order_store) == 0
    assert client.sandbox.stats.refusals == {reason: 1}


@pytest.mark.parametrize("endpoint", Endpoint)
async def test_every_endpoint_has_the_same_envelope_check(client: Client, endpoint: Endpoint) -> None:
    """OrderDetail, too, answers a bad envelope with an envelope."""
    response = await client.send(endpoint, changed(CheckMacValue="0" * 64))

    assert response.json()["TransCode"] == ASSUMED[Reason.CHECKSUM]


@pytest.mark.parametrize("offset", [-600, 600])
async def test_exactly_ten_minutes_off_is_accepted(client: Client, offset: int) -> None:
    """The page says "more than"."""
    opened = client.opened(await client.send(Endpoint.ISSUE, sealed(timestamp=NOW + offset)))

    assert (opened.trans_code, opened.payload and opened.payload["RtnCode"]) == (1, 1)


@pytest.mark.parametrize(("offset", "trans_code"), [(86_400, 1), (-601, 0)])
async def test_only_late_timestamps_can_be_refused(start: Start, offset: int, trans_code: int) -> None:
    """The English page speaks of late ones only."""
    client = await start(SandboxSettings(port=0, timestamp_late_only=True))

    opened = client.opened(await client.send(Endpoint.ISSUE, sealed(timestamp=NOW + offset)))

    assert opened.trans_code == trans_code


@pytest.mark.parametrize(("legacy", "trans_code"), [(False, 999), (True, 1)])
async def test_another_encoders_checksum_is_accepted_only_on_request(
    start: Start, legacy: bool, trans_code: int
) -> None:
    """The page names Uri.EscapeDataString; a space distinguishes the encoders."""
    client = await start(SandboxSettings(port=0, legacy_checksums=legacy))
    text = json.dumps(paper())
    encoded = encode(text, Encoder.PHP_URLENCODE)
    keys = MERCHANT.credentials
    body = changed(Data=encrypt(encoded, keys), CheckMacValue=check_mac(encoded, keys, Encoder.PHP_URLENCODE))

    opened = client.opened(await client.send(Endpoint.ISSUE, body))

    assert opened.trans_code == trans_code


@pytest.mark.parametrize("platform_id", [None, ""])
async def test_a_general_merchant_leaves_platform_id_out_or_empty(client: Client, platform_id: str | None) -> None:
    """Absent, null and "" are one."""
    opened = client.opened(await client.send(Endpoint.ISSUE, changed(PlatformID=platform_id)))

    assert opened.trans_code == 1


async def test_a_null_platform_id_is_a_general_merchants(client: Client) -> None:
    """The English page says "null"."""
    body = json.dumps({**json.loads(sealed()), "PlatformID": None}).encode()

    assert client.opened(await client.send(Endpoint.ISSUE, body)).trans_code == 1


async def test_a_platforms_merchant_signs_and_is_answered_with_the_platforms_keys(client: Client, clock: Clock) -> None:
    """docs/ecticket-protocol.md, 1.5; what it issued is known to the merchant itself, too."""
    platform = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=BY_PLATFORM)
    response = await platform.post(Endpoint.ISSUE, paper("P1"))

    keys_of_platform = Merchant(merchant_id="3085676", credentials=BY_PLATFORM.signing)
    opened = Client(http=client.http, sandbox=client.sandbox, clock=clock, merchant=keys_of_platform).opened(response)

    assert opened.payload is not None
    assert (opened.payload["RtnCode"], opened.platform_id) == (1, "3085672")
    assert (await client.query("P1"))["RtnCode"] == 1
    assert (await client.issue(paper("P1")))["RtnCode"] == ASSUMED[Reason.REPEATED_TRADE_NO]


async def test_a_body_too_large_is_not_read(start: Start) -> None:
    """Memory is bounded."""
    client = await start(SandboxSettings(port=0, max_body_bytes=2_048))

    assert (await client.send(Endpoint.ISSUE, b"x" * 100_000)).status_code == 413
