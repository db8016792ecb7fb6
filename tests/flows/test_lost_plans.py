"""Orders whose plan was signed under a key that this process does not know: they are queried, and not sent again."""

from __future__ import annotations

from operations.test_reissue import ORDER_REF, _read

from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.reissue import NotReissued, final_failures, reissue
from adapter.operations.replay import NotReplayed, replay
from adapter.protocol.credentials import Credentials, Merchant
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, NOT_SENT, REFUSED
from adapter.testing.fakes import TOPICS, FakeMerchants, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import header
from flows.harness import SERIAL, Harness, line

REPLACED = Merchant(
    merchant_id=MERCHANT, credentials=Credentials(hash_key="n" * 16, hash_iv="m" * 16), known_trade_no="LONGAGO1"
)


def start_with_replaced_keys(harness: Harness) -> None:
    """A process that starts after the merchant's keys were replaced, and never knew the old ones."""
    harness.merchants.add(REPLACED)
    harness.signer = RecordSigner(KeyRing(harness.merchants))
    harness.use()


async def reissued(harness: Harness) -> Record:
    """The deferred record of an order that was refused, and that `reissue` gives its second number."""
    harness.ecticket.faults = [REFUSED]
    record = harness.order()
    published = await harness.run(record)
    work = (await harness.submit.prepare(record)).subject
    parts = await harness.hook_runner.parts(work.order, harness.submit._plan)  # type: ignore[union-attr, arg-type]  # a fresh order
    failed = final_failures(_read(published.events), "A-1")
    assert not isinstance(failed, NotReissued)
    again = reissue(
        record,
        parts,
        failed,
        ORDER_REF,
        prefix="",
        topic=TOPICS.orders_deferred,
        now=harness.clock(),
        settled=0,
        signer=harness.signer,
    )
    return harness.reader.published(again.producer_record)


async def failed_next_to_a_deferred_part(harness: Harness, *, attempts: int) -> Record:
    """The deferred record of an order of two parts: the first was published as failed, the second was never sent."""
    harness.ecticket.refuses_repeats = True
    harness.ecticket.faults = [REFUSED, *[NOT_SENT] * attempts]
    published = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    while "failed" not in published.types:
        published = await harness.work(published.deferred_records[0])
    harness.ecticket.faults = []
    return published.deferred_records[0]


async def test_a_part_that_was_published_as_failed_is_not_issued_later() -> None:
    """Without its plan the order is mapped again, and its first part would get the number that is free again."""
    harness = Harness(MERCHANT)
    record = await failed_next_to_a_deferred_part(harness, attempts=2000)
    start_with_replaced_keys(harness)

    published = await harness.run(record)

    assert [event.type for event in published.events] == ["parked"]
    assert header(published.dead_letter, "ecticket-reason") == "unresolved"
    assert harness.ecticket.tickets.total() == 0


async def test_what_was_reissued_is_not_issued_under_its_first_number() -> None:
    """Tickets exist under the second number, which only the plan names; the first one is free at ECTicket."""
    harness = Harness(MERCHANT)
    record = await reissued(harness)
    harness.ecticket.visible_after = 3600.0
    harness.ecticket.faults = [LOST_AFTER]
    while not harness.ecticket.issues[derive_trade_no(MERCHANT, "A-1", 1, reissue=1)]:
        record = (await harness.work(record)).deferred_record
    harness.ecticket.visible_after = 0.0
    start_with_replaced_keys(harness)

    published = await harness.run(record)

    assert header(published.dead_letter, "ecticket-reason") == "unresolved"
    assert harness.ecticket.tickets.total() == 1


async def test_a_reissue_that_was_never_sent_is_not_sent_under_the_first_number() -> None:
    """The shop may have heard that the first number failed."""
    harness = Harness(MERCHANT)
    record = await reissued(harness)
    start_with_replaced_keys(harness)

    published = await harness.run(record)

    assert header(published.dead_letter, "ecticket-reason") == "unresolved"
    assert harness.ecticket.tickets.total() == 0


async def test_a_record_that_is_handed_on_keeps_that_its_plan_was_lost() -> None:
    """This process signs the next record, which then holds neither the plan nor the number of parts with events."""
    harness = Harness(MERCHANT)
    record = await failed_next_to_a_deferred_part(harness, attempts=2000)
    start_with_replaced_keys(harness)

    prepared = await harness.submit.prepare(record)
    (handed_on,) = harness.submit.hand_off(record, prepared.subject, FakeRecordContext(record)).records
    published = await harness.run(harness.reader.published(handed_on))

    assert dict(handed_on.headers)["ecticket-plan-lost"] == b"true"
    assert header(published.dead_letter, "ecticket-reason") == "unresolved"
    assert harness.ecticket.tickets.total() == 0


async def test_a_dead_letter_with_such_a_plan_is_not_replayed_without_its_key() -> None:
    """A replay would sign it under today's key, and forget what the plan says; the message names the setting."""
    harness = Harness(MERCHANT)
    harness.ecticket.refuses_repeats = True
    harness.ecticket.faults = [REFUSED, *[NOT_SENT] * 100_000]
    published = await harness.run(harness.order(line(), line("SPA", 1, **SERIAL)))
    book = FakeMerchants(MERCHANT)
    book.add(REPLACED)

    refused = replay(published.dead_letter, topics=TOPICS, now=harness.clock(), signer=RecordSigner(KeyRing(book)))

    assert isinstance(refused, NotReplayed)
    assert "keys.signing_key" in refused.reason
    assert not isinstance(
        replay(published.dead_letter, topics=TOPICS, now=harness.clock(), signer=harness.signer), NotReplayed
    )
