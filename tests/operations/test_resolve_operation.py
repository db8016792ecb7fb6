"""An issuance resolved without a broker: ECTicket is queried, the events are published once, the rest stays open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from flows.harness import SERIAL, derived, line
from key_words import mentions

from adapter.flows.ports import Ecticket
from adapter.operations.dead_letter_view import DeadLetter, read_dead_letter
from adapter.operations.resolve import PendingIssuance, Resolution, Resolved
from adapter.operations.resolve_issuance import AmbiguousNumber, NotResolved, ResolveOperation, ResolveRequest
from adapter.protocol.credentials import Merchant
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE
from adapter.testing.fakes import TOPICS
from adapter.values import replace

from .memory_topics import MemoryTopics, impatient_harness, park_confirmation, park_unresolved

WHY = "seen in the vendor console"


class Results:
    """What a person sees."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.resolutions: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def resolved(self, dead_letter: DeadLetter, pending: PendingIssuance, resolved: Resolved) -> None:
        self.resolutions.append((dead_letter.name, resolved.event_names, resolved.remaining))


class Desk:
    """The command's parts around one cluster and one ECTicket in memory."""

    def __init__(self) -> None:
        self.harness = impatient_harness()
        self.topics = MemoryTopics(self.harness)

    async def resolve(
        self,
        resolution: Resolution,
        trade_no: str | None = None,
        *,
        order_id: str | None = None,
        against_ecticket: bool = False,
        unsigned: bool = False,
        dry_run: bool = False,
    ) -> Results:
        """Run the command once."""
        results = Results()
        operation = ResolveOperation(
            store=self.topics.store,
            topics=TOPICS,
            merchants=self.harness.merchants,
            make_signer=lambda: self.harness.signer,
            pick_merchant=self._merchant,
            open_ecticket=self._ecticket,
            settles_after=timedelta(seconds=600),
            observer=results,
        )
        await operation.run(
            ResolveRequest(
                trade_no=trade_no or derived(),
                resolution=resolution,
                why=WHY,
                merchant_id=None,
                order_id=order_id,
                against_ecticket=against_ecticket,
                unsigned=unsigned,
                dry_run=dry_run,
            )
        )
        return results

    def put(self, dead_letter: Record) -> str:
        """Put a dead letter into its topic; returns its name."""
        self.topics.put(dead_letter)
        return read_dead_letter(dead_letter).name

    def _merchant(self, merchant_id: str) -> Merchant:
        merchant = self.harness.merchants.find(merchant_id)
        assert merchant is not None
        return merchant

    @asynccontextmanager
    async def _ecticket(self) -> AsyncIterator[Ecticket]:
        yield self.harness.ecticket


async def test_an_issuance_is_resolved_as_issued_once() -> None:
    """ECTicket reports it as issued; a second command finds no open dead letter."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_AFTER]
    name = desk.put(await park_unresolved(desk.harness))
    desk.harness.ecticket.results[derived()] = IssueStatus.ISSUED, None

    results = await desk.resolve(Resolution.ISSUED)
    with pytest.raises(NotResolved, match=derived()):
        await desk.resolve(Resolution.ISSUED)

    assert results.resolutions == [(name, ("submitted", "issued"), ())]
    assert mentions(results.notes[0], f"{derived()} issued")
    assert desk.topics.take_written().types == ["submitted", "issued"]
    assert await desk.topics.open_names() == set()


async def test_an_issuance_that_ecticket_does_not_know_is_resolved_as_failed() -> None:
    """The control query and a known number prove it; the person's reason is the remark."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_BEFORE]
    desk.put(await park_unresolved(desk.harness))

    await desk.resolve(Resolution.FAILED)

    failed = desk.topics.take_written().event("failed").data
    assert (failed["trade_no"], failed["stage"], failed["remark"]) == (derived(), "submit", WHY)
    assert await desk.topics.open_names() == set()


async def test_a_confirmation_is_resolved_as_failed_when_its_job_failed() -> None:
    """Only `failed` is published, because `submitted` was."""
    desk = Desk()
    desk.put(await park_confirmation(desk.harness))
    desk.harness.ecticket.results[derived()] = IssueStatus.FAILED, "sold out"

    await desk.resolve(Resolution.FAILED)

    published = desk.topics.take_written()
    assert published.types == ["failed"]
    assert published.event("failed").data["stage"] == "confirm"


async def test_a_dead_letter_without_a_signature_is_resolved_only_on_demand() -> None:
    """Its writer chose the order, the items and the reference of the event."""
    desk = Desk()
    parked = await park_confirmation(desk.harness)
    name = desk.put(replace(parked, headers=tuple(each for each in parked.headers if each[0] != "ecticket-signature")))
    desk.harness.ecticket.results[derived()] = IssueStatus.ISSUED, None

    with pytest.raises(NotResolved, match="--unsigned"):
        await desk.resolve(Resolution.ISSUED)
    assert await desk.topics.open_names() == {name}
    await desk.resolve(Resolution.ISSUED, unsigned=True)

    assert desk.topics.take_written().types == ["issued"]


@pytest.mark.parametrize(
    ("status", "resolution"),
    [
        (IssueStatus.ISSUED, Resolution.FAILED),
        (IssueStatus.IN_PROGRESS, Resolution.FAILED),
        (IssueStatus.IN_PROGRESS, Resolution.ISSUED),
        (IssueStatus.FAILED, Resolution.ISSUED),
    ],
)
async def test_what_ecticket_contradicts_is_not_published_unless_it_is_demanded(
    status: IssueStatus, resolution: Resolution
) -> None:
    """The error names the number and the option; the dead letter stays open until then."""
    desk = Desk()
    name = desk.put(await park_confirmation(desk.harness))
    desk.harness.ecticket.results[derived()] = status, None

    with pytest.raises(NotResolved) as refused:
        await desk.resolve(resolution)
    still_open = await desk.topics.open_names()
    await desk.resolve(resolution, against_ecticket=True)

    assert mentions(str(refused.value), f"{derived()} --against-ecticket")
    assert still_open == {name}
    assert desk.topics.take_written().types == [resolution.value]


async def test_an_ecticket_that_does_not_answer_proves_nothing() -> None:
    """Neither issued nor failed."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_BEFORE]
    desk.put(await park_unresolved(desk.harness))
    desk.harness.ecticket.silent = True

    for resolution in Resolution:
        with pytest.raises(NotResolved):
            await desk.resolve(resolution)

    assert desk.topics.cluster.transactions == []


async def test_a_dry_run_publishes_nothing() -> None:
    """It reports the events."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_BEFORE]
    name = desk.put(await park_unresolved(desk.harness))

    results = await desk.resolve(Resolution.FAILED, dry_run=True)

    assert results.resolutions == [(name, ("failed",), ())]
    assert desk.topics.cluster.transactions == []
    assert await desk.topics.open_names() == {name}


async def test_the_other_parts_stay_in_a_new_dead_letter() -> None:
    """In the same transaction; the new one is open and can be resolved too."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_BEFORE, LOST_BEFORE]
    desk.put(await park_unresolved(desk.harness, line(), line("SPA", 1, **SERIAL)))

    first = await desk.resolve(Resolution.FAILED)
    rest = read_dead_letter(desk.topics.take_written().dead_letter)
    await desk.resolve(Resolution.FAILED, derived(part=2))

    assert first.resolutions[0][2] == rest.trade_nos == (derived(part=2),)
    assert desk.topics.take_written().event("failed").data["part"] == 2
    assert await desk.topics.open_names() == set()


async def test_a_number_of_two_orders_is_not_resolved_without_the_order() -> None:
    """Both orders were sent with one payment number; the error names them."""
    desk = Desk()
    names = []
    for order_id in ("A-1", "A-2"):
        desk.harness.ecticket.faults = [LOST_BEFORE]
        desk.harness.ecticket.silent = True
        parked = await desk.harness.run(desk.harness.order(order_id=order_id, trade_no="PAID1"))
        names.append(desk.put(parked.dead_letter))
    desk.harness.ecticket.silent = False

    with pytest.raises(AmbiguousNumber) as refused:
        await desk.resolve(Resolution.FAILED, "PAID1")
    await desk.resolve(Resolution.FAILED, "PAID1", order_id="A-2")

    assert mentions(str(refused.value), "A-1 A-2 --order")
    assert await desk.topics.open_names() == {names[0]}


async def test_a_dead_letter_that_another_command_handles_in_the_meantime_is_not_resolved_twice() -> None:
    """The other one is faster while this one reads the events."""
    desk = Desk()
    desk.harness.ecticket.faults = [LOST_BEFORE]
    name = desk.put(await park_unresolved(desk.harness))

    async def other() -> None:
        await desk.resolve(Resolution.FAILED)

    desk.topics.before_read[3] = other
    with pytest.raises(NotResolved, match=name):
        await desk.resolve(Resolution.FAILED)

    assert desk.topics.take_written().types == ["failed"]
