"""A finally failed order reissued without a broker: planned again, under its next number, once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from flows.fakes import OTHER_MERCHANT
from flows.harness import SERIAL, Harness, derived, line, plan_of, with_headers
from key_words import mentions

from adapter import Line, Order, TicketItem, hookimpl
from adapter.flows.messages.events import rfc3339
from adapter.flows.ports import Ecticket
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.reissue import Reissue
from adapter.operations.reissue_order import AmbiguousOrder, NotReissuable, Planning, ReissueOperation, ReissueRequest
from adapter.operations.resolve import Resolution, find_pending, resolve
from adapter.protocol.issue import IssueType, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.testing.ecticket import LOST_BEFORE, REFUSED
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OutcomeEvent
from adapter.values import replace

from .memory_topics import MemoryTopics, MemoryWriter, impatient_harness, park_unresolved

SECOND = derive_trade_no(MERCHANT, "A-1", 1, reissue=1)
"""The number after the first one failed."""


class OtherItem:
    """Maps every sku to another product than the order was first issued with."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        return [TicketItem(item_no="BR103218", quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]


class Desk:
    """The command's parts around one cluster in memory."""

    def __init__(self, harness: Harness | None = None) -> None:
        self.harness = harness or Harness()
        self.topics = MemoryTopics(self.harness)
        self.writer = MemoryWriter(self.harness, self.topics)
        self.published: list[OutcomeEvent] = []
        self.origin = ""

    async def reissue(
        self,
        which: str = "A-1",
        *,
        merchant_id: str | None = None,
        order: bytes | None = None,
        changed_items: bool = False,
        dry_run: bool = False,
    ) -> Reissue:
        """Run the command once."""
        operation = ReissueOperation(
            reader=self.topics,
            topics=TOPICS,
            group_prefix="ecticket-adapter",
            trade_no_prefix="",
            make_planning=self._planning,
            make_signer=lambda: self.harness.signer,
            open_producer=self.writer.open,
            open_ecticket=self._ecticket,
            settles_after=timedelta(seconds=600),
        )
        request = ReissueRequest(
            which=which, merchant_id=merchant_id, order=order, changed_items=changed_items, dry_run=dry_run
        )
        return (await operation.run(request))[1]

    async def fail(self, *lines: dict[str, object], **content: object) -> Record:
        """An order whose first part is finally refused, with its record and its events on their topics."""
        self.harness.ecticket.faults = [REFUSED]
        record = self.harness.order(*lines, **content)
        self.topics.put(record)
        self.published += (await self.harness.run(record)).events
        self.origin = f"{record.topic}/{record.partition}/{record.offset}"
        await self.topics.put_events()
        return record

    async def forge(self, name: str, trade_no: str, **changed: object) -> None:
        """Put an event on the topic of the issuances as a program with Write there can; nothing signs events."""
        await self.topics.put_events()
        data = dict(self.published[-1].data) | {"trade_no": trade_no} | changed
        self.topics.put(
            Record(
                topic=TOPICS.issuances,
                partition=0,
                offset=9_000 + len(self.published),
                timestamp=self.harness.clock(),
                key=f"{MERCHANT}/{trade_no}".encode(),
                value=json.dumps(data).encode(),
                headers=(
                    ("ce_specversion", b"1.0"),
                    ("ce_type", f"ecticket.issuance.{name}.v1".encode()),
                    ("ce_source", f"/ecticket-adapter/merchants/{MERCHANT}".encode()),
                    ("ce_orderid", b"A-1"),
                    ("ce_orderref", str(changed.get("orderref", self.origin)).encode()),
                ),
            )
        )

    async def issue(self, *lines: dict[str, object], **content: object) -> None:
        """An order whose parts are accepted, with its record and its events on their topics."""
        record = self.harness.order(*lines, **content)
        self.topics.put(record)
        self.origin = f"{record.topic}/{record.partition}/{record.offset}"
        self.published += (await self.harness.run(record)).events
        await self.topics.put_events()

    @asynccontextmanager
    async def _ecticket(self) -> AsyncIterator[Ecticket]:
        yield self.harness.ecticket

    def _planning(self) -> Planning:
        policy = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester")
        return Planning(hook_runner=self.harness.hook_runner, policy=policy, merchants=self.harness.merchants)


async def test_a_failed_order_is_reissued_under_a_new_derived_number() -> None:
    """One process at a time writes for the order; the adapter queries the number first and issues once."""
    desk = Desk()
    record = await desk.fail()

    reissued = await desk.reissue()

    (deferred,) = desk.writer.written
    assert [(part.trade_no.value, part.reissue) for part in reissued.parts] == [(SECOND, 1)]
    assert (deferred.topic, deferred.key, deferred.value) == (TOPICS.orders_deferred, record.key, record.value)
    assert desk.writer.names == [f"ecticket-adapter.reissue.{MERCHANT}.A-1"]
    desk.harness.use()
    published = await desk.harness.run(deferred)
    assert published.event("submitted").data["trade_no"] == SECOND
    assert desk.harness.ecticket.tickets == {SECOND: 1}


async def test_only_the_failed_part_is_reissued() -> None:
    """Selected by the order, or by the number that failed."""
    desk = Desk()
    await desk.fail(line(), line("SPA", 1, **SERIAL))

    dry = await desk.reissue(dry_run=True)
    await desk.reissue(derived())

    assert [part.number for part in dry.parts] == [1]
    assert [deferred.part.number for deferred in plan_of(desk.writer.written[0]).parts] == [1]
    assert plan_of(desk.writer.written[0]).parts_done == 1


async def test_a_second_reissue_is_refused_while_the_first_waits_and_after_it_was_sent() -> None:
    """By the deferred topic, then by the events; the error names the number."""
    desk = Desk()
    await desk.fail()
    await desk.reissue()

    with pytest.raises(NotReissuable, match=SECOND):
        await desk.reissue()
    desk.harness.use()
    await desk.harness.run(desk.writer.written[0])
    await desk.topics.put_events()
    with pytest.raises(NotReissuable, match=SECOND):
        await desk.reissue()

    assert len(desk.writer.written) == 1


async def test_an_order_that_failed_twice_gets_its_third_number() -> None:
    """Counted on from the last reissue."""
    desk = Desk()
    await desk.fail()
    await desk.reissue()
    desk.harness.use()
    desk.harness.ecticket.faults = [REFUSED]
    await desk.harness.run(desk.writer.written[0])
    await desk.topics.put_events()
    desk.topics.cluster.logs.pop(
        next(each for each in desk.topics.cluster.logs if each.topic == TOPICS.orders_deferred)
    )

    reissued = await desk.reissue(SECOND)

    assert [part.trade_no.value for part in reissued.parts] == [derive_trade_no(MERCHANT, "A-1", 1, reissue=2)]


async def test_a_dry_run_writes_nothing() -> None:
    """It returns the same number, and opens no producer, which would fence another command."""
    desk = Desk()
    await desk.fail()

    reissued = await desk.reissue(dry_run=True)

    assert [part.trade_no.value for part in reissued.parts] == [SECOND]
    assert (desk.writer.written, desk.writer.names) == ([], [])


async def test_an_order_that_was_not_failed_is_refused() -> None:
    """It is submitted, so a new number would issue it twice."""
    desk = Desk()
    await desk.harness.run(desk.harness.order())
    await desk.topics.put_events()

    with pytest.raises(NotReissuable, match="A-1"):
        await desk.reissue()
    with pytest.raises(NotReissuable, match="A-2"):
        await desk.reissue("A-2")


async def test_an_order_record_that_is_gone_can_be_given() -> None:
    """Without it the error names the record and the option."""
    desk = Desk()
    record = await desk.fail()
    desk.topics.delete(TOPICS.orders_paid)

    with pytest.raises(NotReissuable) as refused:
        await desk.reissue()
    reissued = await desk.reissue(order=record.value)

    assert mentions(str(refused.value), f"{TOPICS.orders_paid}/2/{record.offset} --order")
    assert [part.trade_no.value for part in reissued.parts] == [SECOND]


async def test_changed_items_are_refused_unless_they_are_requested() -> None:
    """Today's mapping has another product than the one that failed."""
    desk = Desk()
    await desk.fail()
    desk.harness.use(shop=OtherItem())

    with pytest.raises(NotReissuable) as refused:
        await desk.reissue()
    desk.harness.use(shop=OtherItem())
    reissued = await desk.reissue(changed_items=True)

    assert mentions(str(refused.value), "items --changed-items")
    assert reissued.parts[0].items[0].item_no == "BR103218"


async def test_an_order_id_of_two_merchants_needs_the_merchant() -> None:
    """The error names both."""
    desk = Desk()
    await desk.fail()
    await desk.fail(merchant_id=OTHER_MERCHANT)

    with pytest.raises(AmbiguousOrder) as refused:
        await desk.reissue()
    reissued = await desk.reissue(merchant_id=OTHER_MERCHANT)

    assert mentions(str(refused.value), f"{MERCHANT}/A-1 {OTHER_MERCHANT}/A-1 --merchant")
    assert {part.request.merchant_id for part in reissued.parts} == {OTHER_MERCHANT}


async def test_an_order_that_was_unresolved_and_then_failed_is_one_order() -> None:
    """Its `parked` event names no merchant in its data, and is about the same order as its `failed` event."""
    desk = Desk(impatient_harness())
    desk.harness.ecticket.faults = [LOST_BEFORE]
    dead_letter = await park_unresolved(desk.harness)
    pending = find_pending(dead_letter, derived())
    assert pending is not None
    resolved = resolve(pending, Resolution.FAILED, "never arrived", topics=TOPICS, now=desk.harness.clock())
    desk.harness.reader.read(Outcome(records=resolved.producer_records))
    await desk.topics.put_events()

    reissued = await desk.reissue(order=desk.harness.order().value)

    assert [part.trade_no.value for part in reissued.parts] == [SECOND]


async def test_an_order_that_was_parked_before_its_merchant_was_known_is_one_order() -> None:
    """The shop sent it with a merchant without keys here, and then again with the right one."""
    desk = Desk()
    await desk.harness.run(desk.harness.order(merchant_id="9999999"))
    await desk.fail()

    reissued = await desk.reissue()

    assert [part.trade_no.value for part in reissued.parts] == [SECOND]


async def test_an_order_that_was_only_parked_is_refused() -> None:
    """Nothing failed, with or without a known merchant."""
    desk = Desk()
    await desk.harness.run(desk.harness.order(merchant_id="9999999"))
    await desk.topics.put_events()

    with pytest.raises(NotReissuable, match="A-1"):
        await desk.reissue()


async def test_another_orders_record_at_the_same_coordinates_is_refused() -> None:
    """The topic was recreated since."""
    desk = Desk()
    record = await desk.fail()
    other = replace(desk.harness.order(order_id="B-1"), offset=record.offset)
    desk.topics.delete(TOPICS.orders_paid)
    desk.topics.put(other)

    with pytest.raises(NotReissuable, match="A-1"):
        await desk.reissue()

    assert desk.writer.written == []


# --- events are not signed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [IssueStatus.ISSUED, IssueStatus.IN_PROGRESS, None])
async def test_a_forged_failure_of_an_order_that_ecticket_has_buys_nothing(status: IssueStatus | None) -> None:
    """Whatever the events say, ECTicket knows the number; the refusal names it, in a dry run too."""
    desk = Desk()
    await desk.issue()
    desk.harness.ecticket.results[derived()] = status, None  # type: ignore[assignment]  # a status that is not readable
    await desk.forge("failed", derived(), stage="confirm")

    for dry_run in (True, False):
        with pytest.raises(NotReissuable, match=f"Tickets may exist under {derived()}"):
            await desk.reissue(dry_run=dry_run)

    assert desk.writer.written == []


async def test_events_that_contradict_each_other_are_refused() -> None:
    """Issued and then failed: the adapter publishes no such thing."""
    desk = Desk()
    await desk.issue()
    await desk.forge("issued", derived())
    await desk.forge("failed", derived(), stage="confirm")
    desk.harness.ecticket.results[derived()] = IssueStatus.FAILED, "sold out"

    with pytest.raises(NotReissuable, match=f"as issued and as failed under {derived()}"):
        await desk.reissue()


@pytest.mark.parametrize(
    "forged",
    [
        {"trade_no": "OTHER1"},
        {"trade_no": "OTHER1", "part": 0},
        {"trade_no": "OTHER1", "part": -1},
        {"trade_no": "OTHER1", "part": 2, "parts": 1},
        {"trade_no": "OTHER1", "part": 2, "parts": 2},
        {"trade_no": SECOND},
        {"trade_no": derive_trade_no(MERCHANT, "A-1", 1, reissue=3)},
        {"trade_no": "no number"},
        {"trade_no_kind": "free"},
        {"trade_no": "OTHER1", "orderref": f"{TOPICS.issuances}/0/1"},
    ],
    ids=str,
)
async def test_a_forged_failure_hides_no_number_of_the_part(forged: dict[str, object]) -> None:
    """The order was issued, its events are gone, and the forger names another number, part, kind or record."""
    desk = Desk()
    await desk.issue()
    desk.topics.delete(TOPICS.issuances)
    await desk.forge("failed", **({"trade_no": derived()} | forged), stage="confirm")  # type: ignore[arg-type]

    with pytest.raises(NotReissuable):
        await desk.reissue()

    assert desk.writer.written == []


async def test_a_number_of_an_earlier_reissue_is_queried_without_its_events() -> None:
    """It was bought under the second number; a forged failure of the third one would lead to the fourth."""
    desk = Desk()
    await desk.fail()
    desk.harness.ecticket.has(SECOND)
    await desk.forge("failed", derive_trade_no(MERCHANT, "A-1", 1, reissue=2), stage="submit")

    with pytest.raises(NotReissuable, match=f"Tickets may exist under {SECOND}"):
        await desk.reissue()


async def test_a_number_is_queried_as_the_kind_that_any_event_names() -> None:
    """The part was issued under a FreeTradeNo before the mapping changed."""
    desk = Desk()
    await desk.fail()
    desk.harness.ecticket.has("GIFT1", TradeNoKind.FREE)
    await desk.forge("delayed", "GIFT1", trade_no_kind="free")
    await desk.forge("failed", "GIFT1", trade_no_kind="merchant", stage="submit")

    with pytest.raises(NotReissuable, match="Tickets may exist under GIFT1"):
        await desk.reissue()


@pytest.mark.parametrize("trouble", ["silent", "maintenance", "knows_everything"])
async def test_nothing_is_reissued_without_evidence(trouble: str) -> None:
    """ECTicket does not answer, refuses every query, or knows even a random number."""
    desk = Desk()
    await desk.fail()
    setattr(desk.harness.ecticket, trouble, True)

    with pytest.raises(NotReissuable, match=derived()):
        await desk.reissue()
    setattr(desk.harness.ecticket, trouble, False)

    assert desk.writer.written == []
    assert [part.trade_no.value for part in (await desk.reissue()).parts] == [SECOND]


async def test_a_failed_job_is_evidence_of_its_own() -> None:
    """Status 2: no known number of the merchant is needed."""
    desk = Desk(Harness(known_trade_no=None))
    await desk.issue()
    await desk.forge("failed", derived(), stage="confirm")
    desk.harness.ecticket.results[derived()] = IssueStatus.FAILED, "sold out"

    assert [part.trade_no.value for part in (await desk.reissue()).parts] == [SECOND]


async def test_what_was_sent_a_moment_ago_is_not_reissued() -> None:
    """ECTicket does not show it yet; the deferred record says when it may have been sent."""
    desk = Desk()
    await desk.fail()
    sent = replace(desk.harness.order(), topic=TOPICS.orders_deferred, timestamp=datetime.now(UTC))
    at = rfc3339(datetime.now(UTC)).encode()
    desk.topics.put(with_headers(sent, ("ecticket-order-id", b"A-1"), ("ecticket-possibly-sent-at", at)))

    with pytest.raises(NotReissuable, match="recently"):
        await desk.reissue()
