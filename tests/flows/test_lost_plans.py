"""Orders whose plan was signed under a key that this process does not know: they are queried, and not sent again."""

from __future__ import annotations

from adapter.flows.reissuing import NotReissued, failures, reissue
from adapter.flows.replay import NotReplayed, replay
from adapter.flows.signatures import RecordSigner
from adapter.flows.signing_keys import KeyRing
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.credentials import Credentials, Merchant
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, NOT_SENT, REFUSED
from adapter.testing.orders import MERCHANT
from adapter.testing.surroundings import TOPICS, Book, RecordContext
from adapter.testing.told import header
from flows.house import SERIAL, House, line
from flows.test_reissuing import WHOSE, _read

REPLACED = Merchant(
    merchant_id=MERCHANT, credentials=Credentials(hash_key="n" * 16, hash_iv="m" * 16), known_trade_no="LONGAGO1"
)


def start_with_replaced_keys(house: House) -> None:
    """A process that starts after the merchant's keys were replaced, and never knew the old ones."""
    house.book.add(REPLACED)
    house.signer = RecordSigner(KeyRing(house.book))
    house.use()


async def reissued(house: House) -> Record:
    """The deferred record of an order that was refused, and that `reissue` gives its second number."""
    house.ecticket.faults = [REFUSED]
    record = house.order()
    told = await house.finish(record)
    work = (await house.submit.prepare(record)).subject
    parts = await house.extensions.parts(work.order, house.submit._plan)  # type: ignore[union-attr, arg-type]  # a fresh order
    failed = failures(_read(told.events), "A-1")
    assert not isinstance(failed, NotReissued)
    again = reissue(
        record,
        parts,
        failed,
        WHOSE,
        prefix="",
        topic=TOPICS.orders_deferred,
        now=house.clock(),
        settled=0,
        signer=house.signer,
    )
    return house.reader.published(again.producer_record)


async def failed_beside_a_deferred_part(house: House, *, attempts: int) -> Record:
    """The deferred record of an order of two parts: the first was published as failed, the second was never sent."""
    house.ecticket.refuses_repeats = True
    house.ecticket.faults = [REFUSED, *[NOT_SENT] * attempts]
    told = await house.work(house.order(line(), line("SPA", 1, **SERIAL)))
    while "failed" not in told.kinds:
        told = await house.work(told.deferred[0])
    house.ecticket.faults = []
    return told.deferred[0]


async def test_a_part_that_was_published_as_failed_is_not_issued_later() -> None:
    """Without its plan the order is mapped again, and its first part would get the number that is free again."""
    house = House(MERCHANT)
    record = await failed_beside_a_deferred_part(house, attempts=2000)
    start_with_replaced_keys(house)

    told = await house.finish(record)

    assert [event.kind for event in told.events] == ["parked"]
    assert header(told.letter, "ecticket-reason") == "unresolved"
    assert house.ecticket.tickets.total() == 0


async def test_what_was_reissued_is_not_issued_under_its_first_number() -> None:
    """Tickets exist under the second number, which only the plan names; the first one is free at ECTicket."""
    house = House(MERCHANT)
    record = await reissued(house)
    house.ecticket.visible_after = 3600.0
    house.ecticket.faults = [LOST_AFTER]
    while not house.ecticket.issues[derive_trade_no(MERCHANT, "A-1", 1, reissue=1)]:
        record = (await house.work(record)).later
    house.ecticket.visible_after = 0.0
    start_with_replaced_keys(house)

    told = await house.finish(record)

    assert header(told.letter, "ecticket-reason") == "unresolved"
    assert house.ecticket.tickets.total() == 1


async def test_a_reissue_that_was_never_sent_is_not_sent_under_the_first_number() -> None:
    """The shop may have heard that the first number failed."""
    house = House(MERCHANT)
    record = await reissued(house)
    start_with_replaced_keys(house)

    told = await house.finish(record)

    assert header(told.letter, "ecticket-reason") == "unresolved"
    assert house.ecticket.tickets.total() == 0


async def test_a_record_that_is_handed_on_keeps_that_its_plan_was_lost() -> None:
    """This process signs the next record, which then holds neither the plan nor the number of parts with events."""
    house = House(MERCHANT)
    record = await failed_beside_a_deferred_part(house, attempts=2000)
    start_with_replaced_keys(house)

    prepared = await house.submit.prepare(record)
    (handed_on,) = house.submit.hand_off(record, prepared.subject, RecordContext(record)).records
    told = await house.finish(house.reader.published(handed_on))

    assert dict(handed_on.headers)["ecticket-plan-lost"] == b"true"
    assert header(told.letter, "ecticket-reason") == "unresolved"
    assert house.ecticket.tickets.total() == 0


async def test_a_dead_letter_with_such_a_plan_is_not_replayed_without_its_key() -> None:
    """A replay would sign it under today's key, and forget what the plan says; the message names the setting."""
    house = House(MERCHANT)
    house.ecticket.refuses_repeats = True
    house.ecticket.faults = [REFUSED, *[NOT_SENT] * 100_000]
    told = await house.finish(house.order(line(), line("SPA", 1, **SERIAL)))
    book = Book(MERCHANT)
    book.add(REPLACED)

    refused = replay(told.letter, topics=TOPICS, now=house.clock(), signer=RecordSigner(KeyRing(book)))

    assert isinstance(refused, NotReplayed)
    assert "keys.signing_key" in refused.why
    assert not isinstance(replay(told.letter, topics=TOPICS, now=house.clock(), signer=house.signer), NotReplayed)
