"""What ECTicket says is published before it is answered, under an id that does not change; and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from jsonschema import Draft202012Validator

from adapter.errors import BrokerUnavailable, EnvelopeError, NotAnEnvelope, UnreadableReply
from adapter.flows import receive
from adapter.flows.messages.schemas import schema_files
from adapter.flows.receive import MAX_PUBLICATIONS, PUBLISHED, REASONS, Receiver
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.envelope import open_response, seal_request
from adapter.protocol.notification import CallbackKind
from adapter.stream.records import ProducerRecord

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""Noon in Taipei."""
MERCHANT = Merchant(
    merchant_id="3085676", credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
)
OTHER = Merchant(
    merchant_id="3362787", credentials=Credentials(hash_key="c539115ea7674f20", hash_iv="86f625e60cb1473a")
)
NUMBER, TICKET = "CBX20220302153064851", "CB2SY20220302153"
REFUND = {"MerchantTradeNo": NUMBER, "TradeAmount": 1000, "TotalRefundAmount": 500, "RefundAmount": 200}
STATUS = {"MerchantTradeNo": NUMBER, "TicketTradeNo": "2022030215301234", "TicketNo": TICKET, "UseStatus": 2}


@dataclass
class _Harness:
    """A receiver among fakes; `happened` is what it did, in order."""

    now: datetime = NOON
    away: BaseException | None = None
    twin: Merchant | None = None
    published: list[ProducerRecord] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.receiver = Receiver(
            topic="ecticket.tickets", merchants=self, publisher=self, observer=self, now=lambda: self.now
        )

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._merchants)

    def find(self, merchant_id: str) -> Merchant | None:
        return self._merchants.get(merchant_id)

    @property
    def _merchants(self) -> Mapping[str, Merchant]:
        return {each.merchant_id: each for each in (MERCHANT, OTHER, self.twin) if each is not None}

    async def publish(self, producer_record: ProducerRecord) -> None:
        if self.away is not None:
            raise self.away
        self.published.append(producer_record)

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        self.happened.append(f"{posted_to}: {outcome}")

    def notification_verified(self, merchant_id: str, encoder: str) -> None:
        self.happened.append(f"verified for {merchant_id} under {encoder}")

    async def send(
        self,
        fields: Mapping[str, object] = STATUS,
        *,
        merchant: Merchant = MERCHANT,
        to: CallbackKind = CallbackKind.USE_STATUS,
    ) -> bytes:
        payload = {"MerchantID": merchant.merchant_id, **fields}
        return (await self.receiver.receive(seal_request(payload, merchant, timestamp=1_700_000_000), to)).body

    @property
    def data(self) -> Mapping[str, object]:
        """What the one event says."""
        (event,) = self.published
        schema = json.loads(schema_files()[f"{self.context['dataschema'].rsplit(':', 1)[1]}.json"])
        data: Mapping[str, object] = json.loads(event.value or b"")
        Draft202012Validator(schema).validate(data)
        return data

    @property
    def context(self) -> dict[str, str]:
        return {name.removeprefix("ce_"): (value or b"").decode() for name, value in self.published[-1].headers}


@pytest.fixture
def harness() -> _Harness:
    return _Harness()


async def test_a_status_change_is_published_with_everything_it_may_mean(harness: _Harness) -> None:
    """The number as it came; neither the ticket's number nor anything that gives it away."""
    await harness.send(STATUS)

    assert harness.data == {
        "merchant_id": "3085676",
        "trade_no": NUMBER,
        "trade_no_kind": "merchant",
        "ticket_trade_no": "2022030215301234",
        "raw": {
            "MerchantID": "3085676",
            "MerchantTradeNo": NUMBER,
            "TicketTradeNo": "2022030215301234",
            "UseStatus": 2,
        },
        "withheld": ["TicketNo"],
        "ticket_ref": harness.data["ticket_ref"],
        "use_status": 2,
        "may_mean": ["redeemed", "refunded"],
    }
    assert harness.context["type"] == "ecticket.ticket.status-changed.v1"
    assert harness.context["time"] == "2026-03-01T04:00:00.000Z"
    assert TICKET not in repr(harness.published)


async def test_a_refund_is_published_with_its_amounts(harness: _Harness) -> None:
    """This time, and in all."""
    await harness.send(REFUND, to=CallbackKind.REFUND)

    assert harness.context["type"] == "ecticket.order.refunded.v1"
    assert (harness.data["refund_amount"], harness.data["total_refund_amount"]) == (200, 500)
    assert harness.data["trade_amount"] == 1000


async def test_two_tickets_of_one_order_are_distinguished_and_each_is_recognised(harness: _Harness) -> None:
    """By a reference that is the same for the same ticket, on another day and with another status too."""
    await harness.send(STATUS)
    await harness.send({**STATUS, "TicketNo": "CB2SY20220302154"})
    harness.now += timedelta(days=40)
    await harness.send({**STATUS, "UseStatus": 3})

    first, second, later = (json.loads(event.value or b"")["ticket_ref"] for event in harness.published)
    assert first == later != second
    assert len({event.key for event in harness.published}) == 1


async def test_customers_and_codes_are_left_out(harness: _Harness) -> None:
    """Whatever ECPay adds one day."""
    await harness.send({**STATUS, "CustomerName": "王小明", "WriteOffNo": "LEU4loiSZ9TDTWAtxL"})

    assert harness.data["withheld"] == ["CustomerName", "TicketNo", "WriteOffNo"]
    assert "王小明" not in repr(harness.published) + (harness.published[0].value or b"").decode()
    assert "LEU4loi" not in repr(harness.published)


async def _id(harness: _Harness, fields: Mapping[str, object] = STATUS, merchant: Merchant = MERCHANT) -> str:
    await harness.send(fields, merchant=merchant)
    return harness.context["id"]


async def test_the_same_text_has_the_same_id_until_midnight_in_taipei(harness: _Harness) -> None:
    """ECPay sends again on the same day; the same words on another day are another fact."""
    noon = await _id(harness)
    harness.now = datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC)
    before_midnight = await _id(harness)
    harness.now = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
    after_midnight = await _id(harness)

    assert noon == before_midnight != after_midnight


async def test_another_text_or_merchant_has_another_id(harness: _Harness) -> None:
    """Each is its own fact."""
    ids = [
        await _id(harness),
        await _id(harness, {**STATUS, "UseStatus": 3}),
        await _id(harness, {**STATUS, "TicketNo": "CB2SY20220302154"}),
        await _id(harness, merchant=OTHER),
    ]

    assert len(set(ids)) == 4


async def test_an_event_is_published_as_often_as_ecpay_sends_it_and_not_more(harness: _Harness) -> None:
    """Anyone who has recorded a notification can post it for ever; each post is answered alike."""
    answers = {await harness.send() for _ in range(300)}
    await harness.send({**STATUS, "UseStatus": 3})

    assert len(harness.published) == MAX_PUBLICATIONS + 1
    assert len(answers) == 1
    assert [each for each in harness.happened if "verified" not in each].count("use-status: repeated") == 295


async def test_only_what_was_published_counts_as_a_repetition(harness: _Harness) -> None:
    """The answer to a repetition acknowledges the notification."""
    harness.away = BrokerUnavailable("no broker")
    for _ in range(MAX_PUBLICATIONS + 1):
        with pytest.raises(BrokerUnavailable):
            await harness.send()
    harness.away = None

    await harness.send()

    assert len(harness.published) == 1


async def test_few_events_are_remembered(harness: _Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first, and then published again."""
    monkeypatch.setattr(receive, "MAX_REMEMBERED", 3)
    texts = [{**STATUS, "TicketNo": f"CB{number}"} for number in range(5)]
    for text in texts * (MAX_PUBLICATIONS + 1):
        await harness.send(text)

    assert len(harness.published) == 5 * (MAX_PUBLICATIONS + 1)
    assert len(harness.receiver._published) == 3


async def test_it_is_published_before_it_is_answered(harness: _Harness) -> None:
    """The answer is the envelope with RtnCode 1, under the merchant's keys."""
    answer = await harness.send()

    assert len(harness.published) == 1
    assert open_response(answer, MERCHANT).payload == {"RtnCode": 1, "RtnMsg": "成功"}
    assert open_response(answer, MERCHANT).timestamp == int(NOON.timestamp())
    assert harness.happened == ["verified for 3085676 under escape_data_string", "use-status: published"]


async def test_what_could_not_be_published_is_not_answered(harness: _Harness) -> None:
    """ECPay sends it again."""
    harness.away = BrokerUnavailable("no broker")

    with pytest.raises(BrokerUnavailable):
        await harness.send()

    assert harness.happened[-1] == "use-status: not-published"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"MerchantID": "1"}, "unknown-merchant"),
        ({"MerchantID": "3362787"}, "wrong-checksum"),
        ({"Data": "AAAA"}, "undecryptable"),
        ({"Data": ""}, "not-an-envelope"),
        ({"TransCode": 0}, "not-an-envelope"),
        ({"CheckMacValue": "0" * 64}, "wrong-checksum"),
    ],
    ids=str,
)
async def test_what_is_not_believed_is_counted_and_never_published(
    harness: _Harness, changed: dict[str, str], reason: str
) -> None:
    """By what was wrong with it."""
    envelope = json.loads(seal_request({"MerchantID": "3085676", **STATUS}, MERCHANT, timestamp=1)) | changed

    with pytest.raises(EnvelopeError):
        await harness.receiver.receive(json.dumps(envelope).encode(), CallbackKind.USE_STATUS)

    assert harness.happened == [f"use-status: {reason}"]
    assert harness.published == []


async def test_a_text_for_another_merchant_is_counted_apart(harness: _Harness) -> None:
    """Signed, and not for the one whom the envelope names."""
    with pytest.raises(EnvelopeError):
        await harness.send({"MerchantID": OTHER.merchant_id})

    assert harness.happened == ["use-status: wrong-addressee"]


async def test_a_text_without_merchant_is_published_where_only_one_merchant_has_the_keys(harness: _Harness) -> None:
    """As ECPay's AI guides have it: TicketNo, UseStatus and RtnCode."""
    await harness.send({"MerchantID": "", "TicketNo": TICKET, "UseStatus": 2, "RtnCode": 1})

    assert (harness.data["merchant_id"], harness.data["use_status"]) == ("3085676", 2)


async def test_a_text_without_merchant_is_not_published_where_two_merchants_have_the_keys(harness: _Harness) -> None:
    """It cannot be known whose it is."""
    harness.twin = Merchant(merchant_id="3085672", credentials=MERCHANT.credentials)

    for merchant in (MERCHANT, harness.twin):
        with pytest.raises(EnvelopeError):
            await harness.send({"MerchantID": "", "TicketNo": TICKET, "UseStatus": 2}, merchant=merchant)

    assert harness.happened == ["use-status: wrong-addressee"] * 2
    assert harness.published == []


def _all_kinds(kind: type[EnvelopeError]) -> set[type[EnvelopeError]]:
    return {kind}.union(*(_all_kinds(below) for below in kind.__subclasses__()))


def test_every_refusal_has_a_name_in_the_count() -> None:
    """Each class of the envelope's errors that opening raises, the narrower before the wider."""
    raised = _all_kinds(EnvelopeError) - {EnvelopeError, UnreadableReply}

    assert raised <= set(REASONS)
    assert [*REASONS].index(NotAnEnvelope) > max([*REASONS].index(below) for below in NotAnEnvelope.__subclasses__())
    assert PUBLISHED not in REASONS.values()
