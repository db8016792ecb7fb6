"""Keys are replaced while orders are under way: the next envelope has the new ones, old answers still count."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from adapter.errors import InDoubt, WrongChecksum
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.endpoints import Family
from adapter.protocol.envelope import open_request, open_response, seal_request
from adapter.protocol.notification import CallbackKind, open_notification, seal_answer
from adapter.provider.client import EcticketClient, Purpose
from adapter.values import replace

from .conftest import QUICK
from .ecticket import MERCHANT, OTHER, TRADE_NO, sealed
from .server import RawServer, Visit

NEW = Credentials(hash_key="n" * 16, hash_iv="w" * 16)
ROTATED = replace(MERCHANT, credentials=NEW, retired=(MERCHANT.credentials,))
"""The merchant after its keys were replaced, while the old pair is accepted."""
KNOWN = {"RtnCode": 1, "RtnMsg": "ok", "MerchantTradeNo": TRADE_NO.value, "Status": 1}


class _Keys:
    """The merchant as it is configured now."""

    def __init__(self) -> None:
        self.merchant: Merchant | None = MERCHANT

    def __call__(self, merchant_id: str) -> Merchant | None:
        assert merchant_id == MERCHANT.merchant_id
        return self.merchant


@pytest.fixture
def keys() -> _Keys:
    """Those of the start, until the test replaces them."""
    return _Keys()


@pytest.fixture
def client(server: RawServer, transport: httpx.AsyncBaseTransport, keys: _Keys) -> EcticketClient:
    """A client that looks the keys up."""
    return EcticketClient(
        base_url=server.url, family=Family.TICKET, transport=transport, limits=QUICK, current_keys=keys
    )


def _found(merchant: Merchant, *_: object) -> Merchant:
    return merchant


def _sealed_with(visit: Visit, *candidates: Merchant) -> Merchant:
    """The candidate whose keys open the request."""
    for candidate in candidates:
        try:
            open_request(visit.body, partial(_found, candidate))
        except WrongChecksum:
            continue
        return candidate
    raise AssertionError("sealed with none of them")


async def test_the_next_envelope_has_the_new_keys(server: RawServer, client: EcticketClient, keys: _Keys) -> None:
    """Although the flow holds the merchant as it was when the order began; a roll-back works in the same way."""

    async def answer(visit: Visit) -> None:
        await visit.answer(sealed(KNOWN, merchant=keys.merchant or MERCHANT))

    server.behave = answer
    renewed, old = replace(ROTATED, retired=()), replace(MERCHANT, retired=())
    for merchant in (old, renewed, old):
        keys.merchant = merchant
        await client.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)

    assert [_sealed_with(visit, old, renewed) for visit in server.visits] == [old, renewed, old]


@pytest.mark.parametrize("replaced_during_the_call", [False, True])
async def test_an_answer_under_the_old_keys_counts(
    server: RawServer, client: EcticketClient, keys: _Keys, *, replaced_during_the_call: bool
) -> None:
    """ECTicket may have sealed it before it knew the new ones."""
    if not replaced_during_the_call:
        keys.merchant = ROTATED

    async def answer(visit: Visit) -> None:
        keys.merchant = ROTATED
        await visit.answer(sealed(KNOWN))

    server.behave = answer

    assert (await client.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)).rtn_code == 1


async def test_an_answer_under_keys_that_are_no_longer_accepted_is_a_doubt(
    server: RawServer, client: EcticketClient, keys: _Keys
) -> None:
    """`keys.accept_old_seconds` is over, or 0."""
    keys.merchant = replace(ROTATED, retired=())

    async def answer(visit: Visit) -> None:
        await visit.answer(sealed(KNOWN))

    server.behave = answer

    with pytest.raises(InDoubt):
        await client.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)


async def test_a_merchant_that_is_no_longer_configured_keeps_the_keys_of_its_order(
    server: RawServer, client: EcticketClient, keys: _Keys
) -> None:
    """An order under way is finished."""
    keys.merchant = None

    async def answer(visit: Visit) -> None:
        await visit.answer(sealed(KNOWN))

    server.behave = answer

    assert (await client.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)).rtn_code == 1


@pytest.mark.parametrize("used", [ROTATED, MERCHANT], ids=["new", "old"])
def test_a_notification_is_answered_with_the_keys_that_it_has(used: Merchant) -> None:
    """ECPay may seal it with either pair for a while, and reads the answer with the same one."""
    body = seal_request(
        {"MerchantID": MERCHANT.merchant_id, "MerchantTradeNo": TRADE_NO.value, "TicketNo": "A1", "UseStatus": 2},
        replace(used, retired=()),
        timestamp=1_700_000_000,
    )

    notification = open_notification(body, lambda _: ROTATED, of_one=lambda _: True, posted_to=CallbackKind.USE_STATUS)
    answer = open_response(seal_answer(notification, timestamp=1_700_000_000), replace(used, retired=()))

    assert notification.request.credentials == used.credentials
    assert answer.payload is not None


def test_a_notification_under_other_keys_is_refused() -> None:
    """The counterpart: a retired pair opens nothing else."""
    body = seal_request(
        {"MerchantID": MERCHANT.merchant_id}, replace(OTHER, merchant_id=MERCHANT.merchant_id), timestamp=1
    )

    with pytest.raises(WrongChecksum):
        open_notification(body, lambda _: ROTATED, of_one=lambda _: True, posted_to=CallbackKind.REFUND)
